"""The four stages, and what a pipeline has to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from evbench.results import Work


class StageOutput(Protocol):
    """What a stage hands to the next one."""

    def values(self) -> Any:
        """The array that is judged. `Pipeline.axes` names its axes."""

    def holding(self, values: Any, /) -> Self:
        """A copy with other such values: what this stage of another variant returned for the same input."""


class Prompted(StageOutput, Protocol):
    """What preprocessing hands over."""

    def prompt(self) -> tuple[int, ...]:
        """Token ids of the question, placeholders included."""


BATCH = 8
"""Samples that a decoder gets at most in one call."""
Loaded = TypeVar("Loaded")
Inputs = TypeVar("Inputs")
Features = TypeVar("Features")


@dataclass(frozen=True)
class Generation:
    """What the model answered."""

    tokens: tuple[int, ...]
    """New tokens only."""
    text: str


Mark = Callable[[], None]
"""Called by generate when the first token's logits are there, and after each decode step. Waits for nothing."""


def unmarked() -> None:
    """For a run in which single tokens are not timed."""


class Stages(Protocol[Loaded, Inputs, Features]):
    """Four methods, each of which takes what the one before returned, and says what it did.

    `load` may be called in another thread than the others, and while they run; by one thread at a time.
    """

    def load(self, path: Path, /) -> tuple[Loaded, Work]:
        """Read and decode the input."""

    def preprocess(self, loaded: Loaded, /) -> tuple[Inputs, Work]:
        """Compute pixel values and prompt tokens, on the model's device."""

    def vision(self, inputs: Inputs, /) -> tuple[Features, Work]:
        """Encode the pixels and project them into the language model's space."""

    def generate(self, features: Features, new_tokens: int, mark: Mark, /) -> tuple[Generation, Work]:
        """Prefill and decode, greedily."""


class Pipeline(Stages[Loaded, Inputs, Features], Protocol[Loaded, Inputs, Features]):
    """The stages of a model, and what workers and planted faults use of it. The stages return `StageOutput`s."""

    axes: ClassVar[Mapping[str, tuple[str, ...]]]
    """Stage -> names of the axes of `StageOutput.values()`; of generate, those of `teacher_forced_logits`. A frame or event image is one
    row of what is compared, and so is the vector of a token or position."""
    model: Any
    """The torch module of all weights."""
    tower: Any
    """transformers' CLIPVisionModel."""
    used_layers: int
    """How many of the tower's layers the features need, counted from its first."""
    decoder: Any
    """transformers' LlamaModel: embeddings in, last hidden state out."""
    image_processor: Any
    """transformers' image or video processor."""
    parameters: int
    weights_fingerprint: str
    """Hash over names, shapes and bits of all weights."""
    quantum: float
    """What one 8-bit level is in pixel values, in the channel where it is most."""
    load_many: Callable[[Sequence[Path]], list[tuple[Loaded, Work]]] | None
    """As `load`, of up to `BATCH` samples in one call of the decoder. None where the decoder takes one at a time."""

    def teacher_forced_logits(self, features: Features, tokens: Sequence[int], /) -> Any:
        """The logits after each of `tokens`, had those in front of it been generated: a tensor [tokens, vocabulary]."""


def run_stages(
    pipeline: Stages[Loaded, Inputs, Features],
    path: Path,
    new_tokens: int,
    around: Callable[[str], AbstractContextManager[object]] = nullcontext,
    mark: Mark = unmarked,
) -> tuple[Generation, Work]:
    """One sample through the four stages, each inside `around(stage)`: a stopwatch, a profiler's range, or nothing."""
    with around("load"):
        loaded = pipeline.load(path)
    return run_loaded(pipeline, loaded, new_tokens, around, mark)


def run_loaded(
    pipeline: Stages[Loaded, Inputs, Features],
    sample: tuple[Loaded, Work],
    new_tokens: int,
    around: Callable[[str], AbstractContextManager[object]] = nullcontext,
    mark: Mark = unmarked,
) -> tuple[Generation, Work]:
    """The stages after `load`."""
    loaded, loading = sample
    with around("preprocess"):
        inputs, preprocessing = pipeline.preprocess(loaded)
    with around("vision"):
        features, encoding = pipeline.vision(inputs)
    with around("generate"):
        answer, generating = pipeline.generate(features, new_tokens, mark)
    return answer, reduce(Work.merged, (loading, preprocessing, encoding, generating))
