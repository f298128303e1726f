"""Drafts of another model, which says greedily how the answer may go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.profiler import record_function

from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.speculative import Propose, Target, common


class DraftingModel(Protocol):
    """What drafting needs of it."""

    language: LanguageModel

    def embeddings(self, features: Any, /) -> torch.Tensor:
        """[1, prompt, hidden]."""


class ModelDrafter:
    """Has a KV cache of its own, which is cut back to what was accepted. The host looks at each drafted token."""

    def __init__(self, model: DraftingModel, target: Target, words: int, name: str) -> None:
        """
        Args:
            target: its language model, with the cache.
            words: so many tokens, by id, are the same ones in both vocabularies: no other is drafted.
            name: what traces call it.
        """
        self._model, self._target, self._words, self._name = model, target, words, name
        self._rows = int(model.language.decoder.get_input_embeddings().num_embeddings)

    def begin(self, features: Any, new_tokens: int) -> Propose:
        """For an answer to what its vision stage returned: runs its prefill."""
        with record_function("prefill of the drafting model"):
            embeddings = self._model.embeddings(features)
            self._target.prefill(embeddings, new_tokens)
        prompt, held = embeddings.shape[1], list[int]()  # held: tokens behind the prompt whose keys and values the cache has

        def propose(answer: Sequence[int], count: int) -> list[int]:
            with record_function(f"draft of {self._name}"):
                del held[min(common(held, answer), len(answer) - 1) :]  # the newest is fed in any case, for what is behind it
                for token in answer[len(held) :]:
                    likeliest = self._fed(token, prompt, held)
                drafts = [likeliest]
                while len(drafts) < count:
                    drafts.append(self._fed(drafts[-1], prompt, held))
                return drafts

        return propose

    def _fed(self, token: int, prompt: int, held: list[int]) -> int:
        """The likeliest token behind this one, which is then held."""
        known = token if token < self._rows else 0  # a larger model may say what this one has no row for
        logits = self._target.verify([known], prompt + len(held))
        held.append(token)
        return int(logits[0, -1, : self._words].argmax())
