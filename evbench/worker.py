"""One process per variant: it builds its pipeline once, stays alive, and runs what it is told.

Its own process gives each variant its own allocator, compile caches and memory peaks. It says one thing per command: what was
asked for, or a `Failure`. Whatever libraries print goes to its log file.
"""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from evbench.errors import UserError
from evbench.results import Build, Kind, Run, Workload
from evbench.variants import Variant

Reply = TypeVar("Reply")


PATIENCE = 10
"""Seconds that a worker is given to end by itself."""


@dataclass(frozen=True)
class Make:
    """The first command: make this pipeline. Answered by a Build."""

    variant: Variant
    workload: Workload


@dataclass(frozen=True)
class Measure:
    """Run one sample, timed. Answered by a Run."""

    kind: Kind
    turn: int


@dataclass(frozen=True)
class Profile:
    """Run one sample under the profiler and write its trace. Answered by the file's path."""

    file: Path
    new_tokens: int


@dataclass(frozen=True)
class Failure:
    """A user's mistake that only the worker could see. It has ended."""

    message: str


class WorkerDied(Exception):
    """A worker ended without an answer. The message names its log."""


class Worker:
    """The parent's side of one worker process. Use as a context manager: leaving it ends the process."""

    def __init__(self, variant: Variant, workload: Workload, log: Path) -> None:
        self._variant, self._log = variant, log
        self._connection, theirs = Pipe()
        command = [sys.executable, "-m", "evbench.worker", str(theirs.fileno())]
        with log.open("ab") as output:
            # A session of its own: Ctrl-C is the parent's to handle. The child ends when the pipe does.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[theirs.fileno()], start_new_session=True
            )
        theirs.close()  # so that a dead child reads as the end of the pipe
        self._send(Make(variant, workload))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()
        self._end(PATIENCE if kind is None else 0)

    def _end(self, patience: float) -> int:
        """Wait for the process to end by itself, then kill it. Returns its exit code."""
        try:
            return self._process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def built(self) -> Build:
        """Wait until the pipeline stands."""
        return self._receive(Build)

    def measure(self, kind: Kind, turn: int) -> Run:
        self._send(Measure(kind, turn))
        return self._receive(Run)

    def profile(self, file: Path, new_tokens: int) -> Path:
        self._send(Profile(file, new_tokens))
        return Path(self._receive(str))

    def _send(self, command: Make | Measure | Profile) -> None:
        try:
            self._connection.send(command)
        except OSError as error:
            raise self._death() from error

    def _receive(self, kind: type[Reply]) -> Reply:
        try:
            reply = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(reply, Failure):
            raise UserError(reply.message)
        assert isinstance(reply, kind), reply
        return reply

    def _death(self) -> WorkerDied:
        code = self._end(PATIENCE)
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self._log.exists() else []
        last = next((line for line in reversed(lines) if "Error: " in line), lines[-1] if lines else "it said nothing")
        return WorkerDied(f"the worker of {self._variant.name} ended with code {code}: {last} (all of it in {self._log})")


def serve(connection: Connection) -> None:
    """The child's side: build, then answer commands until the parent closes the pipe."""
    make = connection.recv()
    import torch

    try:
        pipeline, build = _build(make.variant, make.workload)
        connection.send(build)
        _answer(connection, pipeline, make.workload)
    except EOFError:
        return
    except UserError as error:
        connection.send(Failure(str(error)))
    except OSError as error:  # a full disk, an input that went away
        traceback.print_exc()
        connection.send(Failure(f"{make.variant.name}: {error.filename or 'file system'}: {error.strerror}; mend that and run again"))
    except torch.OutOfMemoryError:
        connection.send(Failure(f"{make.variant.name}: out of GPU memory; use a smaller --preset, or a GPU with more"))


def _answer(connection: Connection, pipeline: Any, workload: Workload) -> None:
    from evbench.measure import Stopwatch, measure
    from evbench.trace import profile

    path, synchronize = Path(workload.input), _synchronizer(workload.device)
    gauge = _memory_gauge(workload.device)
    while True:
        command = connection.recv()
        if isinstance(command, Measure):
            stopwatch = Stopwatch(time.perf_counter_ns, synchronize, gauge)
            connection.send(measure(pipeline, path, workload.new_tokens, command.kind, command.turn, stopwatch))
        else:
            profile(pipeline, path, command.new_tokens, command.file, synchronize)
            connection.send(str(command.file))


def _build(variant: Variant, workload: Workload) -> tuple[Any, Build]:
    start = time.perf_counter()
    import torch

    from evbench.pipelines.build import build

    if workload.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "the driver shows a GPU, but this PyTorch cannot use it; install a build that fits the driver, or run with --device cpu"
        )
    pipeline = build(variant, workload)
    _synchronizer(workload.device)()
    seconds = time.perf_counter() - start
    return pipeline, Build(seconds, pipeline.parameters, pipeline.weights_fingerprint, torch.get_num_threads())


def _synchronizer(device: str) -> Callable[[], None]:
    if device == "cuda":
        import torch

        return torch.cuda.synchronize
    return lambda: None


def _memory_gauge(device: str) -> Any:
    from evbench.memory import CudaMemory, HostMemory

    return CudaMemory() if device == "cuda" else HostMemory()


if __name__ == "__main__":
    # Under its importable name, so that the messages are the classes that the parent knows.
    from evbench import worker

    worker.serve(Connection(int(sys.argv[1])))
