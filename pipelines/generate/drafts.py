"""Generation with and without drafts, by each choice of `draft`."""

from __future__ import annotations

from typing import Protocol

import torch

from evbench.choices import Variant
from evbench.pipelines.generate.choices import GAMMA
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.lookup import PromptLookup
from evbench.pipelines.generate.loops import generator
from evbench.pipelines.generate.speculative import SpeculativeLoop
from evbench.pipelines.generate.targets import TARGETS
from evbench.stages import Sampler


class Asked(Protocol):
    """What the language model gets of a sample."""

    def question(self) -> tuple[int, ...]:
        """Token ids of the prompt."""


class Answer(Protocol):
    """Prefill and decoding of a sample."""

    def __call__(self, asked: Asked, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler, /) -> list[int]:
        """The prompt's embeddings, [1, prompt, hidden] -> the new tokens, which the sampler chose."""


def none(language: LanguageModel, variant: Variant) -> Answer:
    loop = generator(language, variant)
    return lambda asked, *given: loop(*given)


def prompt_lookup(language: LanguageModel, variant: Variant) -> Answer:
    """By n-grams over the prompt and the answer so far."""
    gamma = GAMMA[variant["draft"]]
    loop = SpeculativeLoop(language, TARGETS[variant["generate"]](language, variant, gamma), gamma)

    def answer(asked: Asked, embeddings: torch.Tensor, new_tokens: int, sampler: Sampler, /) -> list[int]:
        return loop(embeddings, new_tokens, sampler, PromptLookup(asked.question()))

    return answer
