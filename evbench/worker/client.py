"""The parent's end of a worker process."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Pipe
from pathlib import Path
from types import TracebackType

from evbench.errors import UserError
from evbench.machine import lock
from evbench.results import DEADLINE, Activation, Build, CacheCheck, Energy, Limits, Run, ThroughputRun, Trace
from evbench.traces.chrome import TooLarge
from evbench.worker.capture_outputs import CapturedOutputs
from evbench.worker.messages import (
    TELL,
    ActivationRequest,
    BuildRequest,
    CacheCheckRequest,
    CaptureRequest,
    EnergyRequest,
    Failure,
    LimitsRequest,
    ProfileRequest,
    ReferenceRequest,
    Reply,
    Request,
    Said,
    SayRequest,
    ThroughputRequest,
    TimedRunRequest,
    TraceSpec,
    TryRequest,
    VocabularyRequest,
    reply_type,
)

CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
"""Signals that a process sends to itself, after it may have said why."""
EXIT_SECONDS = 10
"""How long a worker may take to end by itself, before it is killed."""
TELLING_SECONDS = 1.0
"""How long one that hangs may take to write into its log where."""


class WorkerDied(Exception):
    """A worker ended without a reply, or gave none until its deadline and was ended. The message names its log."""


class WorkerGaveUp(UserError):
    """A worker replied with a Failure: this variant cannot be run on this input, or there is no memory for it."""


class OutOfMemory(WorkerGaveUp):
    """There was no memory for it."""


class Worker:
    """The parent's end of one worker process. A context manager: leaving it ends the process.

    Every method raises WorkerGaveUp if the worker replies with a Failure, and WorkerDied if it ends without a reply.

    Args:
        deadline: seconds, by the monotonic clock, after which a worker that has not replied is ended.
    """

    def __init__(self, build: BuildRequest, log: Path, environment: dict[str, str] | None = None, deadline: float = DEADLINE) -> None:
        self._build, self._log, self._deadline = build, log, deadline
        self._log_before = log.stat().st_size if log.exists() else 0
        self._connection, child = Pipe()
        shared = (child.fileno(), *lock.held())
        command = [sys.executable, "-m", "evbench.worker.process", str(os.getpid()), *map(str, shared)]
        with log.open("ab") as output:
            # A session of its own: Ctrl-C is the parent's to handle. The child ends when the pipe does, or with this process.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=shared,
                start_new_session=True,
                env=os.environ | (environment or {}),
            )
        child.close()  # so that a dead child reads as the end of the pipe
        self._send(build)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()
        self._end(EXIT_SECONDS if kind is None else 0)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """May be called by another thread than the one that waits for a reply, which then raises WorkerDied."""
        self._process.kill()

    def built(self) -> Build:
        """Wait until the pipeline is built."""
        return self._receive(self._build)

    def timed_run(self, request: TimedRunRequest) -> Run:
        return self._ask(request)

    def throughput_run(self, request: ThroughputRequest) -> ThroughputRun:
        return self._ask(request)

    def refusal(self, sample: int) -> str:
        """Why a sample cannot be used. Empty if it can."""
        return self._ask(TryRequest(sample)).refusal

    def cache_check(self, request: CacheCheckRequest) -> CacheCheck:
        return self._ask(request)

    def limits(self) -> Limits:
        return self._ask(LimitsRequest())

    def activations(self) -> tuple[Activation, ...]:
        return self.gather_activations()()

    def gather_activations(self) -> Callable[[], tuple[Activation, ...]]:
        """Begin; what is returned waits for them, and has to be called before anything else is asked."""
        request = ActivationRequest()
        self._send(request)
        return lambda: self._receive(request).activations

    def energy(self, seconds: float, idle_watts: float | None) -> Energy | None:
        return self._ask(EnergyRequest(seconds, idle_watts)).energy

    def capture_outputs(self, sample: int, file: Path, baseline: CapturedOutputs | None = None, isolated: bool = False) -> CapturedOutputs:
        return self._ask(CaptureRequest(sample, file, baseline, isolated))

    def capture_reference(self, sample: int, file: Path, baseline: CapturedOutputs) -> None:
        self._ask(ReferenceRequest(sample, file, baseline))

    def say(self, request: SayRequest) -> Said:
        return self._ask(request)

    def vocabulary(self) -> tuple[str, ...]:
        return self._ask(VocabularyRequest()).words

    def profile(self, spec: TraceSpec) -> Trace:
        """Raises TooLarge, after which the worker can still be used."""
        reply = self._ask(ProfileRequest(spec))
        if reply.trace is None:
            raise TooLarge(reply.refusal)
        return reply.trace

    def _ask(self, request: Request[Reply]) -> Reply:
        self._send(request)
        return self._receive(request)

    def _send(self, request: Request[Reply]) -> None:
        try:
            self._connection.send(request)
        except OSError as error:
            raise self._death() from error

    def _receive(self, request: Request[Reply]) -> Reply:
        try:
            if not self._connection.poll(self._deadline):
                raise self._hung(request)
            reply = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(reply, Failure):
            kind = OutOfMemory if reply.out_of_memory else WorkerGaveUp
            raise kind(f"{reply.message} (its traceback is in {self._log})" if reply.logged else reply.message)
        assert isinstance(reply, reply_type(request)), reply
        return reply

    def _hung(self, request: Request[Reply]) -> WorkerDied:
        """End the process, which writes first what it is at into its log: the signal is `evbench.worker.process.TELL`."""
        self._process.send_signal(TELL)
        self._end(TELLING_SECONDS)
        asked = (inspect.getdoc(type(request)) or "").partition("\n")[0].rstrip(".")
        name, place = self._build.variant.name, f"what it was at is in {self._log}"
        took = f"did not answer for {self._deadline:,.0f} s and was ended; it was to: {asked} ({place})"
        return WorkerDied(f"the worker of {name} {took}. If it may take longer, give a higher --deadline")

    def _end(self, seconds: float) -> int:
        """Wait for the process to end by itself, then kill it. Returns its exit code."""
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _death(self) -> WorkerDied:
        code = self._end(EXIT_SECONDS)
        data = self._log.read_bytes()[self._log_before :] if self._log.exists() else b""  # an earlier worker's lines are not its cause
        lines = data.decode("utf-8", errors="replace").strip().splitlines()
        last = next((line for line in reversed(lines) if "Error: " in line), lines[-1] if lines else "it wrote nothing")
        return WorkerDied(f"the worker of {self._build.variant.name} {how_it_ended(code, last)} (all of it in {self._log})")


def how_it_ended(code: int, last: str) -> str:
    """One that was killed had no time to say why: the last line of its log is of something else.

    Args:
        code: negative for a signal, as `subprocess` has it.
        last: line of its log.
    """
    if -code not in set(signal.Signals):
        return f"ended with code {code}: {last}"
    name = signal.Signals(-code).name
    if -code == signal.SIGKILL:
        return f"ended with code {code}: {name}, as the system kills a process when memory runs out, or somebody did"
    return f"ended with code {code}: {name}" + (f"; its log ends with {last!r}" if -code in CRASHES else "")
