"""One process for each side: it builds its pipeline once, stays alive, and replies to requests.

A process of its own gives each variant its own allocator, compile caches and memory peaks. It sends one reply to each request, or a
`Failure`. What libraries print goes to its log file. It ends when its parent does, whatever it is busy with.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import time
import traceback
from multiprocessing.connection import Connection

from evbench.errors import UserError, is_out_of_memory
from evbench.parent_death import end_forked_with_this, end_with
from evbench.plugins.faults import Blaming, PluginFault
from evbench.worker.messages import TELL, BuildRequest, Failure


def serve(connection: Connection) -> None:
    """Build, then reply to requests until the parent closes the pipe."""
    request: BuildRequest = connection.recv()
    gc.disable()  # while modules are loaded: nothing of theirs is ever freed, and looking for it takes a fifth of the time
    import torch

    try:
        with Blaming(request.variant.plugins):
            _serve(connection, request)
    except EOFError:
        return
    except PluginFault as error:
        connection.send(Failure(str(error), logged=True))
    except UserError as error:
        connection.send(Failure(str(error)))
    except OSError as error:  # a full disk, an input that went away
        traceback.print_exc()
        connection.send(Failure(f"{request.variant.name}: {error.filename or 'file system'}: {error.strerror}; mend that and run again"))
    except (MemoryError, RuntimeError) as error:  # torch's lack of GPU memory is a RuntimeError, too
        if not is_out_of_memory(error):
            raise
        traceback.print_exc()
        where, more = ("GPU memory", "a GPU") if isinstance(error, torch.OutOfMemoryError) else ("memory", "a machine")
        told = f"{request.variant.name}: out of {where}; use a smaller --preset, or {more} with more"
        connection.send(Failure(told, logged=True, out_of_memory=True))


def _serve(connection: Connection, request: BuildRequest) -> None:
    start = time.perf_counter()
    from evbench.worker.build import build_pipeline
    from evbench.worker.handlers import HANDLERS, WorkerState
    from evbench.worker.instruments import instruments
    from evbench.worker.kept_rows import KeptRows

    gc.enable()
    pipeline, built = build_pipeline(request, start)
    connection.send(built)
    workload = request.workload
    state = WorkerState(pipeline, request.variant, workload, instruments(workload.device), KeptRows(batch=workload.batch))
    while True:
        command = connection.recv()
        connection.send(HANDLERS[type(command)](state, command))


def main(parent: int, connection: int, *locks: int) -> None:
    """Serve a parent, given its process number, and descriptors of the pipe and of locks, which are held until this process ends."""
    faulthandler.register(TELL)
    end_with(parent)  # without it a worker would notice only between two requests
    end_forked_with_this()
    for file in locks:
        os.set_inheritable(file, False)  # what this process starts does not hold them
    serve(Connection(connection))


if __name__ == "__main__":
    # Under its importable name, so that the messages are the classes that the parent knows.
    from evbench.worker import process

    process.main(*map(int, sys.argv[1:]))
