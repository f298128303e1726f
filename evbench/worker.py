"""One process per variant: it builds its pipeline once, stays alive, and runs what it is told.

Its own process gives each variant its own allocator, compile caches and memory peaks. It says one thing per command: what was
asked for, or a `Failure`. Whatever libraries print goes to its log file.
"""

from __future__ import annotations

import os
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
from evbench.measure import Place
from evbench.observe import Observation
from evbench.planted import Delay
from evbench.results import Build, Energy, Proof, Run, StreamRun, Trace, Workload, in_a_row
from evbench.traces.chrome import TooLarge
from evbench.traces.record import Order
from evbench.variants import Variant

Reply = TypeVar("Reply")


KEPT = {"float32": "float64", "bfloat16": "float32"}
"""Type of the workload -> type in which the reference's values are kept: so much finer that it adds nothing to the error."""
PATIENCE = 10
"""Seconds that a worker is given to end by itself."""


@dataclass(frozen=True)
class Make:
    """The first command: make this pipeline. Answered by a Build."""

    variant: Variant
    workload: Workload
    delay: Delay | None = None
    """Planted, to see whether evbench finds it."""
    mutant: str | None = None
    """Likewise: name of one of `evbench.pipelines.mutants`."""
    dtype: str | None = None
    """To compute in another type than the workload's, with the same weights."""


@dataclass(frozen=True)
class Measure:
    """Run one sample, timed. Answered by a Run."""

    place: Place
    barriers: bool
    cold_file: bool
    """Whether the input is dropped from the page cache first."""


@dataclass(frozen=True)
class Stream:
    """Run so many samples in a row, timed as a whole: those of the workload, again from the first. Answered by a StreamRun."""

    turn: int
    block: int | None
    samples: int
    cold_files: bool
    """Whether all inputs are dropped from the page cache first."""


@dataclass(frozen=True)
class Repeat:
    """Run samples one after the other for so long, and read the GPU's energy counter. Answered by a Spent."""

    seconds: float
    idle_watts: float | None


@dataclass(frozen=True)
class Spent:
    """What a Repeat drew. None if this GPU does not tell."""

    energy: Energy | None


@dataclass(frozen=True)
class Profile:
    """Run one sample under the profiler and write its trace. Answered by a Traced."""

    order: Order


@dataclass(frozen=True)
class Traced:
    """None if the trace was too large to keep; what to do about it is told then."""

    trace: Trace | None
    told: str


@dataclass(frozen=True)
class Prove:
    """Run samples, untimed, and look whether each choice of the variant is at work. Answered by a Proven."""


@dataclass(frozen=True)
class Proven:
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class Observe:
    """Run one sample, untimed, and keep what each stage made of it. Answered by an Observation."""

    sample: int
    file: Path
    given: Observation | None
    swap: bool


@dataclass(frozen=True)
class Follow:
    """Make of the baseline's input what the reference makes of it. Answered by a Followed."""

    sample: int
    file: Path
    given: Observation


@dataclass(frozen=True)
class Followed:
    """It stands in the file."""


@dataclass(frozen=True)
class Failure:
    """A user's mistake that only the worker could see. It has ended."""

    message: str


class WorkerDied(Exception):
    """A worker ended without an answer. The message names its log."""


class WorkerGaveUp(UserError):
    """A worker ended with a Failure: this variant cannot be run on this input, or there is no memory for it."""


class Worker:
    """The parent's side of one worker process. Use as a context manager: leaving it ends the process."""

    def __init__(self, make: Make, log: Path, environment: dict[str, str] | None = None) -> None:
        self._variant, self._log = make.variant, log
        self._log_before = log.stat().st_size if log.exists() else 0
        self._connection, theirs = Pipe()
        command = [sys.executable, "-m", "evbench.worker", str(theirs.fileno())]
        with log.open("ab") as output:
            # A session of its own: Ctrl-C is the parent's to handle. The child ends when the pipe does.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=os.environ | (environment or {}),
            )
        theirs.close()  # so that a dead child reads as the end of the pipe
        self._send(make)

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

    @property
    def pid(self) -> int:
        return self._process.pid

    def measure(self, order: Measure) -> Run:
        self._send(order)
        return self._receive(Run)

    def stream(self, order: Stream) -> StreamRun:
        self._send(order)
        return self._receive(StreamRun)

    def prove(self) -> tuple[Proof, ...]:
        self._send(Prove())
        return self._receive(Proven).proofs

    def profile(self, order: Order) -> Trace:
        """Raises TooLarge. The worker lives on."""
        self._send(Profile(order))
        traced = self._receive(Traced)
        if traced.trace is None:
            raise TooLarge(traced.told)
        return traced.trace

    def repeat(self, seconds: float, idle_watts: float | None) -> Energy | None:
        self._send(Repeat(seconds, idle_watts))
        return self._receive(Spent).energy

    def observe(self, sample: int, file: Path, given: Observation | None = None, swap: bool = False) -> Observation:
        self._send(Observe(sample, file, given, swap))
        return self._receive(Observation)

    def follow(self, sample: int, file: Path, given: Observation) -> None:
        self._send(Follow(sample, file, given))
        self._receive(Followed)

    def _send(self, command: Make | Measure | Stream | Prove | Profile | Repeat | Observe | Follow) -> None:
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
            raise WorkerGaveUp(reply.message)
        assert isinstance(reply, kind), reply
        return reply

    def _death(self) -> WorkerDied:
        code = self._end(PATIENCE)
        data = self._log.read_bytes()[self._log_before :] if self._log.exists() else b""  # what an earlier worker said is not its cause
        lines = data.decode("utf-8", errors="replace").strip().splitlines()
        last = next((line for line in reversed(lines) if "Error: " in line), lines[-1] if lines else "it said nothing")
        return WorkerDied(f"the worker of {self._variant.name} ended with code {code}: {last} (all of it in {self._log})")


def serve(connection: Connection) -> None:
    """The child's side: build, then answer commands until the parent closes the pipe."""
    make = connection.recv()
    import torch

    try:
        pipeline, build = _build(make)
        connection.send(build)
        _answer(connection, pipeline, make.variant, make.workload)
    except EOFError:
        return
    except UserError as error:
        connection.send(Failure(str(error)))
    except OSError as error:  # a full disk, an input that went away
        traceback.print_exc()
        connection.send(Failure(f"{make.variant.name}: {error.filename or 'file system'}: {error.strerror}; mend that and run again"))
    except torch.OutOfMemoryError:
        connection.send(Failure(f"{make.variant.name}: out of GPU memory; use a smaller --preset, or a GPU with more"))


def _answer(connection: Connection, pipeline: Any, variant: Variant, workload: Workload) -> None:
    from evbench.evidence import gather, prove
    from evbench.measure import measure
    from evbench.observe import follow, observe
    from evbench.stages import run_stages
    from evbench.stream import measure_stream

    paths = [Path(sample.path) for sample in workload.samples]
    using = _instruments(workload.device)
    while True:
        command = connection.recv()
        if isinstance(command, Measure):
            path = paths[command.place.sample]
            if command.cold_file:
                drop_from_page_cache(path)
            connection.send(measure(pipeline, path, workload.new_tokens, command.place, command.barriers, using))
        elif isinstance(command, Stream):
            if command.cold_files:
                for path in paths:
                    drop_from_page_cache(path)
            row = [paths[sample] for sample in in_a_row(command.samples, len(paths))]
            connection.send(measure_stream(pipeline, variant.feed, row, workload.new_tokens, command.turn, command.block, using))
        elif isinstance(command, Profile):
            connection.send(_trace(pipeline, paths[0], command.order, using))
        elif isinstance(command, Prove):
            evidence = gather(pipeline, variant.feed, paths, workload.new_tokens, using)
            connection.send(Proven(prove(variant, workload.kind, workload.device, evidence)))
        elif isinstance(command, Observe):
            path = paths[command.sample]
            connection.send(observe(pipeline, path, workload.new_tokens, command.file, command.given, command.swap))
        elif isinstance(command, Follow):
            follow(pipeline, paths[command.sample], command.file, command.given, KEPT[workload.dtype])
            connection.send(Followed())
        else:
            connection.send(Spent(_spend(command, lambda: run_stages(pipeline, paths[0], workload.new_tokens), using.synchronize)))


def _trace(pipeline: Any, path: Path, order: Order, using: Any) -> Traced:
    from evbench.traces.record import profile

    try:
        return Traced(profile(pipeline, path, order, using), "")
    except TooLarge as error:
        return Traced(None, str(error))


def _spend(command: Repeat, once: Callable[[], object], synchronize: Callable[[], None]) -> Energy | None:
    from evbench import gpu
    from evbench.energy import spend

    handle = gpu.first_visible()
    return None if handle is None else spend(once, synchronize, command.seconds, command.idle_watts, handle)


def _instruments(device: str) -> Any:
    from evbench.measure import CudaStream, HostStream, Instruments
    from evbench.memory import CudaMemory, HostMemory
    from evbench.preparations import Counter

    clock, counter = time.perf_counter_ns, Counter(device)
    if device == "cpu":
        return Instruments(clock, _synchronizer(device), HostMemory(), HostStream(clock), counter.count, lambda: None)
    import torch

    return Instruments(clock, _synchronizer(device), CudaMemory(), CudaStream(), counter.count, torch.cuda.memory_reserved)


def drop_from_page_cache(path: Path) -> None:
    """Of the operating system, so that the next read is from the disk. Files that are mapped or dirty may stay (posix_fadvise(2))."""
    for file in [path] if path.is_file() else path.iterdir():
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _build(make: Make) -> tuple[Any, Build]:
    start = time.perf_counter()
    import torch

    from evbench.pipelines.build import build
    from evbench.planted import plant
    from evbench.preparations import cached_files

    device = make.workload.device
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "the driver shows a GPU, but this PyTorch cannot use it; install a build that fits the driver, or run with --device cpu"
        )
    cached = cached_files()
    if make.dtype is not None:
        # Else a GPU multiplies float32 matrices with ten bits of mantissa.
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    pipeline = build(make.variant, make.workload, make.dtype)
    _synchronizer(device)()
    seconds = time.perf_counter() - start
    made = Build(seconds, pipeline.parameters, pipeline.weights_fingerprint, torch.get_num_threads(), _libraries(), cached)
    if make.delay is not None:
        plant(make.delay, pipeline, _synchronizer(device))
    if make.mutant is not None:
        from evbench.pipelines.mutants import MUTANTS

        MUTANTS[make.mutant].plant(pipeline, [Path(sample.path) for sample in make.workload.samples])
    return pipeline, made


def _libraries() -> dict[str, str | None]:
    import av
    import torch

    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None  # type: ignore[no-untyped-call]
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return {"cuda": torch.version.cuda, "cudnn": None if cudnn is None else str(cudnn), "libavcodec": codec}


def _synchronizer(device: str) -> Callable[[], None]:
    if device == "cuda":
        import torch

        return torch.cuda.synchronize
    return lambda: None


if __name__ == "__main__":
    # Under its importable name, so that the messages are the classes that the parent knows.
    from evbench import worker

    worker.serve(Connection(int(sys.argv[1])))
