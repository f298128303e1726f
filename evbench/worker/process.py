"""One process for each side: it builds its pipeline once, stays alive, and replies to requests.

A process of its own gives each variant its own allocator, compile caches and memory peaks. It sends one reply to each request, or a
`Failure`. What libraries print goes to its log file.
"""

from __future__ import annotations

import sys
import time
import traceback
from multiprocessing.connection import Connection

from evbench.errors import UserError
from evbench.worker.messages import BuildRequest, Failure


def serve(connection: Connection) -> None:
    """Build, then reply to requests until the parent closes the pipe."""
    request: BuildRequest = connection.recv()
    import torch

    try:
        _serve(connection, request)
    except EOFError:
        return
    except UserError as error:
        connection.send(Failure(str(error)))
    except OSError as error:  # a full disk, an input that went away
        traceback.print_exc()
        connection.send(Failure(f"{request.variant.name}: {error.filename or 'file system'}: {error.strerror}; mend that and run again"))
    except torch.OutOfMemoryError:
        connection.send(Failure(f"{request.variant.name}: out of GPU memory; use a smaller --preset, or a GPU with more"))


def _serve(connection: Connection, request: BuildRequest) -> None:
    start = time.perf_counter()
    from evbench.worker.build import build_pipeline

    pipeline, built = build_pipeline(request, start)
    connection.send(built)
    from evbench.worker.handlers import HANDLERS, WorkerState
    from evbench.worker.instruments import instruments
    from evbench.worker.kept_rows import KeptRows

    state = WorkerState(pipeline, request.variant, request.workload, instruments(request.workload.device), KeptRows())
    while True:
        command = connection.recv()
        connection.send(HANDLERS[type(command)](state, command))


if __name__ == "__main__":
    # Under its importable name, so that the messages are the classes that the parent knows.
    from evbench.worker import process

    process.serve(Connection(int(sys.argv[1])))
