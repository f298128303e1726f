"""What parent and worker send each other: requests, and a reply to each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evbench.choices import Variant
from evbench.results import Activation, Delay, Energy, Trace, Workload
from evbench.worker.capture_outputs import CapturedOutputs
from evbench.worker.measure import RunPosition


@dataclass(frozen=True)
class TraceSpec:
    """What is to be recorded."""

    file: Path
    title: str
    """What the process is called in the trace."""
    new_tokens: int
    of_tokens: int
    """That a timed run generates."""
    modules: bool
    """Whether each part of the model gets ranges of its own, where it is called as such: not inside of compiled code."""

    def shown(self) -> str:
        """What the process is called: that an answer is shortened, too."""
        return self.title if self.new_tokens == self.of_tokens else f"{self.title}, {self.new_tokens} of {self.of_tokens} new tokens"


KEPT = {"float32": "float64", "bfloat16": "float32"}
"""Type of the workload -> type in which the reference's values are kept: so much finer that it adds nothing to the error."""


@dataclass(frozen=True)
class BuildRequest:
    """The first command: make this pipeline. Answered by a Build."""

    variant: Variant
    workload: Workload
    delay: Delay | None = None
    """Planted, to see whether evbench finds it."""
    mutant: str | None = None
    """Likewise: name of one of `evbench.worker.mutants`."""
    dtype: str | None = None
    """To compute in another type than the workload's, with the same weights."""


@dataclass(frozen=True)
class TimedRunRequest:
    """Run one sample, timed. Answered by a Run."""

    place: RunPosition
    stage_sync: bool
    cold_file: bool
    """Whether the input is dropped from the page cache first."""


@dataclass(frozen=True)
class ThroughputRequest:
    """Run so many samples in a row, timed as a whole: those of the workload, again from the first. Answered by a StreamRun."""

    turn: int
    block: int | None
    samples: int
    cold_files: bool
    """Whether all inputs are dropped from the page cache first."""


@dataclass(frozen=True)
class EnergyRequest:
    """Run samples one after the other for so long, and read the GPU's energy counter. Answered by a Spent."""

    seconds: float
    idle_watts: float | None


@dataclass(frozen=True)
class EnergyReply:
    """What a Repeat drew. None if this GPU does not tell."""

    energy: Energy | None


@dataclass(frozen=True)
class ProfileRequest:
    """Run one sample under the profiler and write its trace. Answered by a Traced."""

    order: TraceSpec


@dataclass(frozen=True)
class ProfileReply:
    """None if the trace was too large to keep; what to do about it is told then."""

    trace: Trace | None
    told: str


@dataclass(frozen=True)
class ActivationRequest:
    """Run samples, untimed, and look whether each choice of the variant is at work. Answered by a Proven."""


@dataclass(frozen=True)
class ActivationReply:
    activations: tuple[Activation, ...]


@dataclass(frozen=True)
class CaptureRequest:
    """Run one sample, untimed, and keep what each stage made of it. Answered by an Observation."""

    sample: int
    file: Path
    given: CapturedOutputs | None
    swap: bool


@dataclass(frozen=True)
class ReferenceRequest:
    """Make of the baseline's input what the reference makes of it. Answered by a Followed."""

    sample: int
    file: Path
    given: CapturedOutputs


@dataclass(frozen=True)
class ReferenceReply:
    """It stands in the file."""


@dataclass(frozen=True)
class Failure:
    """A user's mistake that only the worker could see. It has ended."""

    message: str
