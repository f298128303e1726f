"""Generation with and without drafts, by each choice of `draft`."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import torch
from torch.profiler import record_function

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.pipelines.generate.choices import GAMMA
from evbench.pipelines.generate.draft_head import DraftHead, HeadDrafter
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.lookup import PromptLookup
from evbench.pipelines.generate.loops import generator
from evbench.pipelines.generate.model_drafter import DraftingModel, ModelDrafter
from evbench.pipelines.generate.speculative import SpeculativeLoop
from evbench.pipelines.generate.targets import TARGETS
from evbench.pipelines.generate.vocabulary import words
from evbench.results import Workload
from evbench.stages import Sampler

SMALL = "small"
"""Preset of the model that drafts."""


class Prompted(Protocol):
    """What preprocessing made of a sample."""

    def prompt(self) -> tuple[int, ...]:
        """Token ids of the question."""


class Asked(Protocol):
    """What the language model gets of a sample."""

    @property
    def inputs(self) -> Any:
        """Prompted: what the features are of."""


class Answer(Protocol):
    """Prefill and decoding of a sample."""

    def __call__(self, asked: Asked, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler, /) -> list[int]:
        """The prompt's embeddings, [1, prompt, hidden] -> the new tokens, which the sampler chose."""


class SmallModel(DraftingModel, Protocol):
    """A drafting model that sees what the target does."""

    tokenizer: Any
    image_processor: Any

    def vision(self, inputs: Any, /) -> tuple[Any, Any]:
        """What preprocessing made -> features, and what was done."""


class Answering(Protocol):
    """The model whose answer it is."""

    language: LanguageModel
    tokenizer: Any
    image_processor: Any

    @property
    def draft_head(self) -> DraftHead:
        """The head that drafts for its weights. Raises UserError if there is none."""


def none(model: Answering, variant: Variant, workload: Workload) -> Answer:
    loop = generator(model.language, variant)
    return lambda asked, *given: loop(*given)


def prompt_lookup(model: Answering, variant: Variant, workload: Workload) -> Answer:
    """By n-grams over the prompt and the answer so far."""
    loop = speculative_loop(model, variant)

    def answer(asked: Asked, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler, /) -> list[int]:
        return loop(embeddings, new_tokens, sampler, PromptLookup(asked.inputs.prompt()))

    return answer


def small(model: Answering, variant: Variant, workload: Workload) -> Answer:
    """By the small model of the same name, from the same pixels. Raises UserError if that is the model itself, or of another vocabulary."""
    if workload.preset == SMALL:
        reason = f"at --preset {SMALL} the target would draft for itself, and all would be accepted"
        raise UserError(f"draft={variant['draft']}: {reason}; give --preset 7b, or another draft")
    loop, drafting = speculative_loop(model, variant), drafting_model(model, variant, workload)
    for what, (ours, theirs) in {
        "vocabulary": (drafting.tokenizer.get_vocab(), model.tokenizer.get_vocab()),
        "size of images": (dict(drafting.image_processor.crop_size), dict(model.image_processor.crop_size)),
    }.items():
        if ours != theirs:
            cure = "use --preset 7b, or draft=lookup-4"
            raise UserError(f"draft={variant['draft']}: the preset {SMALL} has another {what} than this model; {cure}")
    drafter = model_drafter(drafting, variant, len(words(drafting.tokenizer)), "the small model")

    def answer(asked: Asked, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler, /) -> list[int]:
        with record_function("vision of the drafting model"):
            features, _ = drafting.vision(asked.inputs)
        return loop(embeddings, new_tokens, sampler, drafter.begin(features, new_tokens))

    return answer


def head(model: Answering, variant: Variant, workload: Workload) -> Answer:
    """By a head over the model's own last hidden states. Raises UserError if there is none for its weights."""
    loop = speculative_loop(model, variant)
    captured = variant["generate"] == "graph"
    drafter = HeadDrafter(model.language, model.draft_head, loop.target, loop.gamma, captured=captured)

    def answer(asked: Asked, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler, /) -> list[int]:
        drafter.begin(new_tokens)
        return loop(embeddings, new_tokens, sampler, drafter)

    return answer


def drafting_model(model: Answering, variant: Variant, workload: Workload) -> SmallModel:
    """The small model of the same kind, each stage as the variant chooses it."""
    make: Any = type(model)
    drafting: SmallModel = make(alone(variant), dataclasses.replace(workload, preset=SMALL, weights=None, seed=None))
    return drafting


def alone(variant: Variant) -> Variant:
    """The same without drafts: for a model that drafts."""
    return Variant(variant.name, tuple((variant.choices() | {"draft": "none"}).items()), variant.plugins)


def model_drafter(drafting: DraftingModel, variant: Variant, words: int, name: str) -> ModelDrafter:
    """The other arguments are those of ModelDrafter. Each of its passes takes one token."""
    return ModelDrafter(drafting, TARGETS[variant["generate"]](drafting.language, variant, 0), words, name)


def speculative_loop(model: Answering, variant: Variant) -> SpeculativeLoop:
    gamma = GAMMA[variant["draft"]]
    return SpeculativeLoop(model.language, TARGETS[variant["generate"]](model.language, variant, gamma), gamma)
