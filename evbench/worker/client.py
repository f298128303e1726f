"""The parent's end of a worker process."""

from __future__ import annotations

import os
import subprocess
import sys
from multiprocessing.connection import Pipe
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from evbench.errors import UserError
from evbench.results import Activation, Build, Energy, Run, ThroughputRun, Trace
from evbench.traces.chrome import TooLarge
from evbench.worker.capture_outputs import CapturedOutputs
from evbench.worker.messages import (
    ActivationReply,
    ActivationRequest,
    BuildRequest,
    CaptureRequest,
    EnergyReply,
    EnergyRequest,
    Failure,
    ProfileReply,
    ProfileRequest,
    ReferenceReply,
    ReferenceRequest,
    ThroughputRequest,
    TimedRunRequest,
    TraceSpec,
)

Reply = TypeVar("Reply")
PATIENCE = 10
"""Seconds that a worker is given to end by itself."""


class WorkerDied(Exception):
    """A worker ended without an answer. The message names its log."""


class WorkerGaveUp(UserError):
    """A worker ended with a Failure: this variant cannot be run on this input, or there is no memory for it."""


class Worker:
    """The parent's side of one worker process. Use as a context manager: leaving it ends the process."""

    def __init__(self, make: BuildRequest, log: Path, environment: dict[str, str] | None = None) -> None:
        self._variant, self._log = make.variant, log
        self._log_before = log.stat().st_size if log.exists() else 0
        self._connection, theirs = Pipe()
        command = [sys.executable, "-m", "evbench.worker.process", str(theirs.fileno())]
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

    def measure(self, order: TimedRunRequest) -> Run:
        self._send(order)
        return self._receive(Run)

    def stream(self, order: ThroughputRequest) -> ThroughputRun:
        self._send(order)
        return self._receive(ThroughputRun)

    def prove(self) -> tuple[Activation, ...]:
        self._send(ActivationRequest())
        return self._receive(ActivationReply).activations

    def profile(self, order: TraceSpec) -> Trace:
        """Raises TooLarge. The worker lives on."""
        self._send(ProfileRequest(order))
        traced = self._receive(ProfileReply)
        if traced.trace is None:
            raise TooLarge(traced.told)
        return traced.trace

    def repeat(self, seconds: float, idle_watts: float | None) -> Energy | None:
        self._send(EnergyRequest(seconds, idle_watts))
        return self._receive(EnergyReply).energy

    def capture_outputs(self, sample: int, file: Path, given: CapturedOutputs | None = None, swap: bool = False) -> CapturedOutputs:
        self._send(CaptureRequest(sample, file, given, swap))
        return self._receive(CapturedOutputs)

    def capture_reference(self, sample: int, file: Path, given: CapturedOutputs) -> None:
        self._send(ReferenceRequest(sample, file, given))
        self._receive(ReferenceReply)

    def _send(
        self,
        command: BuildRequest
        | TimedRunRequest
        | ThroughputRequest
        | ActivationRequest
        | ProfileRequest
        | EnergyRequest
        | CaptureRequest
        | ReferenceRequest,
    ) -> None:
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
