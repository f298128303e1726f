"""One process per variant: it builds its pipeline once, stays alive, and runs what it is told.

Its own process gives each variant its own allocator, compile caches and memory peaks. It says one thing per command: what was
asked for, or a `Failure`. Whatever libraries print goes to its log file.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from evbench.errors import UserError
from evbench.results import Build, Kind, Run, Workload
from evbench.variants import Variant

Reply = TypeVar("Reply")


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
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, variant, workload, log), daemon=True)
        self._process.start()
        theirs.close()  # so that a dead child reads as the end of the pipe

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()
        if kind is None:
            self._process.join(timeout=10)
        self._process.kill()
        self._process.join()

    def built(self) -> Build:
        """Wait until the pipeline stands."""
        return self._receive(Build)

    def measure(self, kind: Kind, turn: int) -> Run:
        self._send(Measure(kind, turn))
        return self._receive(Run)

    def profile(self, file: Path, new_tokens: int) -> Path:
        self._send(Profile(file, new_tokens))
        return Path(self._receive(str))

    def _send(self, command: Measure | Profile) -> None:
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
        self._process.join(timeout=10)
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self._log.exists() else []
        last = lines[-1] if lines else "it said nothing"
        return WorkerDied(f"the worker of {self._variant.name} ended with code {self._process.exitcode}: {last} (all of it in {self._log})")


def serve(connection: Connection, variant: Variant, workload: Workload, log: Path) -> None:
    """The child's side: build, then answer commands until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _redirect_output(log)
    import torch

    try:
        pipeline, build = _build(variant, workload)
        connection.send(build)
        _answer(connection, pipeline, workload)
    except EOFError:
        return
    except UserError as error:
        connection.send(Failure(str(error)))
    except torch.OutOfMemoryError:
        connection.send(Failure(f"{variant.name}: out of GPU memory; use a smaller --preset, or a GPU with more"))


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


def _redirect_output(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, sys.stdout.fileno() if sys.stdout else 1)
    os.dup2(file, sys.stderr.fileno() if sys.stderr else 2)
    os.close(file)
