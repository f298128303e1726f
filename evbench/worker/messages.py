"""What a parent and its worker send each other: requests, and one reply to each.

A request names the type of its reply: `TimedRunRequest(Request[Run])` is answered by a `Run`.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from evbench.choices import Variant
from evbench.results import Activation, Build, CacheCheck, Delay, Energy, Limits, Run, ThroughputRun, Trace, Workload
from evbench.worker.capture_outputs import CapturedOutputs
from evbench.worker.measure import RunPosition

Reply = TypeVar("Reply")
TELL = signal.SIGUSR1
"""Sent to a worker that hangs: it writes into its log where each of its threads is."""


class Request(Generic[Reply]):
    """A request to a worker. The type in brackets is that of its reply."""


def reply_type(request: Request[Reply]) -> type[Reply]:
    """The type of the reply to a request.

    >>> reply_type(ActivationRequest())
    <class 'evbench.worker.messages.ActivationReply'>
    """
    bases: tuple[Any, ...] = type(request).__orig_bases__  # type: ignore[attr-defined]
    (found,) = get_args(bases[0])
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Failure:
    """In place of any reply: an error that the user can mend and only the worker could see. The worker has ended."""

    message: str
    logged: bool = False
    """Whether the log of the worker has its traceback."""
    out_of_memory: bool = False


@dataclass(frozen=True)
class BuildRequest(Request[Build]):
    """The first request: build this pipeline."""

    variant: Variant
    workload: Workload
    delay: Delay | None = None
    """Planted into a stage, to see whether evbench finds it."""
    mutant: str | None = None
    """Name of a fault of `evbench.worker.mutants` to plant."""
    dtype: str | None = None
    """To compute in another type than the workload's, with the same weights."""


@dataclass(frozen=True)
class TimedRunRequest(Request[Run]):
    """Run one sample, timed."""

    position: RunPosition
    stage_sync: bool
    """Whether the host waits for the device around each stage, so that each has a time of its own."""
    cold_file: bool
    """Whether the input is dropped from the page cache first."""


@dataclass(frozen=True)
class ThroughputRequest(Request[ThroughputRun]):
    """Run samples back to back, timed as a whole: those of the workload in order, again from the first if they are fewer."""

    turn: int
    block: int | None
    samples: int
    cold_files: bool
    """Whether all inputs are dropped from the page cache first."""


@dataclass(frozen=True)
class TryReply:
    """What was found."""

    refusal: str
    """Why the sample cannot be used. Empty if it can."""


@dataclass(frozen=True)
class TryRequest(Request[TryReply]):
    """Load and preprocess one sample, untimed, to see whether it can be used."""

    sample: int


@dataclass(frozen=True)
class EnergyReply:
    """Energy of repeated runs. None if this GPU has no counter."""

    energy: Energy | None


@dataclass(frozen=True)
class EnergyRequest(Request[EnergyReply]):
    """Repeat one sample for a time, and read the GPU's energy counter."""

    seconds: float
    idle_watts: float | None


@dataclass(frozen=True)
class TraceSpec:
    """What is to be recorded, and where."""

    file: Path
    title: str
    """Name of the process in the trace."""
    new_tokens: int
    of_tokens: int
    """Number of tokens that a timed run generates."""
    modules: bool
    """Whether each module of the model gets ranges of its own, where it is called as such: not inside compiled code."""

    def process_name(self) -> str:
        """The title, and how much of the answer is recorded if it is shortened."""
        return self.title if self.new_tokens == self.of_tokens else f"{self.title}, {self.new_tokens} of {self.of_tokens} new tokens"


@dataclass(frozen=True)
class ProfileReply:
    """A trace, or why it was not kept."""

    trace: Trace | None
    """None if the trace was too large."""
    refusal: str
    """What to do about it. Empty if the trace was kept."""


@dataclass(frozen=True)
class ProfileRequest(Request[ProfileReply]):
    """Run one sample under the profiler and write its trace."""

    spec: TraceSpec


@dataclass(frozen=True)
class CacheCheckRequest(Request[CacheCheck]):
    """Run one sample, untimed by the session, in pairs of input that was seen and input that was not."""

    sample: int
    seed: int
    """Another for each request, so that what is unseen was not seen in an earlier one."""
    pairs: int


@dataclass(frozen=True)
class LimitsRequest(Request[Limits]):
    """Measure the rates of the device, and describe the network."""


@dataclass(frozen=True)
class ActivationReply:
    """Whether each choice of the variant is active, and what shows it."""

    activations: tuple[Activation, ...]


@dataclass(frozen=True)
class ActivationRequest(Request[ActivationReply]):
    """Run samples, untimed, and look whether each choice of the variant is active."""


@dataclass(frozen=True)
class CaptureRequest(Request[CapturedOutputs]):
    """Run one sample as timed runs are, and store the outputs of each stage, with the rows that timed runs left."""

    sample: int
    file: Path
    baseline: CapturedOutputs | None
    """Outputs of the baseline, whose tokens the logits follow. None for the baseline itself."""
    isolated: bool
    """Whether each stage is also run by itself on the baseline's input."""


@dataclass(frozen=True)
class ReferenceReply:
    """The outputs of the reference are in the file."""


@dataclass(frozen=True)
class ReferenceRequest(Request[ReferenceReply]):
    """Run the reference on the baseline's input and tokens."""

    sample: int
    file: Path
    baseline: CapturedOutputs


@dataclass(frozen=True)
class Said:
    """An answer, and what the model says at each place of it."""

    prompt: tuple[int, ...]
    """The question's token ids, with one for each visual token where the model has such."""
    tokens: tuple[int, ...]
    """The answer that was fed: the one that was asked for, or the model's own."""
    predicted: tuple[int, ...]
    """The most likely token after the prompt and the answer's tokens before it, one for each place."""
    drafts: tuple[tuple[int, ...], ...] = ()
    """Behind each token, how a head that drafts for the model would go on, if that was asked for."""


@dataclass(frozen=True)
class SayRequest(Request[Said]):
    """Run one sample, untimed."""

    sample: int
    forced: tuple[int, ...] | None = None
    """Teacher forcing: the answer to be fed. None for greedy decoding."""
    words: int | None = None
    """Only the first so many of the vocabulary can be predicted. None: all."""
    drafts: int = 0
    """Tokens that the model's head is to draft behind each token. It must have one if this is not 0."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's."""

    words: tuple[str, ...]
    """By id. Empty for an id that has none."""


@dataclass(frozen=True)
class VocabularyRequest(Request[Vocabulary]):
    """Ask for the vocabulary."""
