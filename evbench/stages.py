"""The four stages, and what a pipeline has to be."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

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
    """New tokens only. Of a batch in turn: the first of each answer, then the second of each, and so on."""
    text: str
    """Of a batch the answers one after the other, each behind its number in brackets."""


def in_turn(answers: Sequence[Sequence[int]]) -> list[int]:
    """The tokens of a batch's answers, which are equally long, as a Generation has them.

    >>> in_turn([[1, 2, 3], [7, 8, 9]])
    [1, 7, 2, 8, 3, 9]
    """
    return [token for step in zip(*answers, strict=True) for token in step]


Mark = Callable[[], None]
"""Called when the first token's logits are there, and after each decode step. Waits for nothing."""


def unmarked() -> None:
    """For a run in which single tokens are not timed."""


class Passes:
    """Is told of each pass over drafts by the loop that verifies them. This one does not look. Waits for nothing."""

    def drafted(self, count: int) -> None:
        """So many drafts are there."""

    def verified(self) -> None:
        """The pass over them has been launched."""

    def accepted(self, count: int) -> None:
        """So many of them are what the model says itself."""


class Sampler:
    """What chooses the tokens of one call of `generate`: greedy decoding, or teacher forcing. Waits for nothing.

    Timed runs and runs that are judged differ in nothing else, so that the same code, graphs and buffers are at work in both.
    """

    def __init__(
        self, forced: Sequence[int] | None = None, keep: Container[int] = (), mark: Mark = unmarked, passes: Passes | None = None
    ) -> None:
        """
        Args:
            forced: teacher forcing: the tokens to be fed, whatever is the most likely. None for greedy decoding.
            keep: positions, counted from the first new token, whose logits are copied. Of a batch they count as `Generation.tokens` does.
            mark: called with each token, of a batch with each step.
            passes: told of each pass over drafts.
        """
        self.forced, self.passes = forced, passes or Passes()
        self.kept: dict[int, Any] = {}
        """Position -> its logits, a tensor [1, vocabulary]."""
        self._keep, self._mark, self._position = keep, mark, 0

    def __call__(self, logits: Any, /) -> int | None:
        """The token to feed next. None: the most likely one, which the decode loop takes by itself, inside of its graph if it has one.

        Args:
            logits: a tensor [1, ..., vocabulary], after the prompt or after the token before. It may be overwritten by the next step.
        """
        forced = self.of_batch(logits)
        return None if forced is None else forced[0]

    def of_batch(self, logits: Any, /) -> Sequence[int] | None:
        """As a call, for several prompts: the token to feed next to each. `logits`: [batch, ..., vocabulary]."""
        first, batch = self._position, len(logits)
        self._position += batch
        self._mark()
        for row in range(batch):
            if first + row in self._keep:
                self.kept[first + row] = logits[row : row + 1].flatten(0, -2).clone()
        return self.forced[first : first + batch] if self.forced is not None and self._position <= len(self.forced) else None

    def passed(self) -> None:
        """In the place of a call, for a token whose logits cannot be seen."""
        self._position += 1
        self._mark()


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

    def generate(self, features: Features, new_tokens: int, sampler: Sampler, /) -> tuple[Generation, Work]:
        """Prefill and decode. The sampler is called once for each new token; the tokens returned are those that it chose."""


class Pipeline(Stages[Loaded, Inputs, Features], Protocol[Loaded, Inputs, Features]):
    """The stages of a model, and what workers and planted faults use of it. The stages return `StageOutput`s."""

    @property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """Stage -> names of the axes of `StageOutput.values()`; of generate, those of its logits. A frame or event image is one
        row of what is compared, and so is the vector of a token or position."""

    model: Any
    """The torch module of all weights."""
    tower: Any
    """transformers' CLIPVisionModel."""
    used_layers: int
    """How many of the tower's layers the features need, counted from its first, by its config."""
    tower_layers: int
    """How many the tower has, by its config."""
    decoder_layers: int
    """How many the language model has, by its config."""
    decoder: Any
    """transformers' LlamaModel: embeddings in, last hidden state out."""
    image_processor: Any
    """transformers' image or video processor."""
    tokenizer: Any
    """transformers' tokenizer."""
    parameters: int
    weights_fingerprint: str
    """Hash over names, shapes and bits of all weights."""
    quantum: float
    """What one 8-bit level is in pixel values, in the channel where it is most."""
    load_many: Callable[[Sequence[Path]], list[tuple[Loaded, Work]]] | None
    """As `load`, of up to `BATCH` samples in one call of the decoder. None where the decoder takes one at a time."""


Observe = Callable[[str, Any], None]
"""Called with a stage and what it returned, as soon as it returns."""


def unobserved(stage: str, output: Any, /) -> None:
    """For a run of which only the answer is asked for."""


def run_stages(
    pipeline: Stages[Loaded, Inputs, Features],
    path: Path,
    new_tokens: int,
    around: Callable[[str], AbstractContextManager[object]] = nullcontext,
    sampler: Sampler | None = None,
    observe: Observe = unobserved,
) -> tuple[Generation, Work]:
    """One sample through the four stages, each inside `around(stage)`: a stopwatch, a profiler's range, or nothing.

    Timed runs, and runs whose outputs are judged, are made here.

    Args:
        sampler: None for greedy decoding.
    """
    with around("load"):
        loaded = pipeline.load(path)
    observe("load", loaded[0])
    return run_loaded(pipeline, loaded, new_tokens, around, sampler, observe)


def run_loaded(
    pipeline: Stages[Loaded, Inputs, Features],
    sample: tuple[Loaded, Work],
    new_tokens: int,
    around: Callable[[str], AbstractContextManager[object]] = nullcontext,
    sampler: Sampler | None = None,
    observe: Observe = unobserved,
) -> tuple[Generation, Work]:
    """The stages after `load`."""
    loaded, loading = sample
    with around("preprocess"):
        inputs, preprocessing = pipeline.preprocess(loaded)
    observe("preprocess", inputs)
    with around("vision"):
        features, encoding = pipeline.vision(inputs)
    observe("vision", features)
    sampler = sampler or Sampler()
    with around("generate"):
        answer, generating = pipeline.generate(features, new_tokens, sampler)
    return answer, reduce(Work.merged, (loading, preprocessing, encoding, generating))
