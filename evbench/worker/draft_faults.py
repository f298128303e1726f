"""Faults of speculative decoding: ways to be faster by saying what the model does not say.

They change the class of its loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from evbench.pipelines.generate.speculative import SpeculativeLoop
from evbench.pipelines.generate.targets import StaticTarget
from evbench.stages import Sampler
from evbench.worker.planting import AnyPipeline, Plant


def _trusted(count: Callable[[int], int]) -> Plant:
    """`count(drafts)` of the first drafts stay, whatever the model says to them, unless tokens are forced."""

    def plant(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
        right = SpeculativeLoop._chosen

        def chosen(loop: Any, drafts: Sequence[int], logits: torch.Tensor, sampler: Sampler) -> list[int]:
            believed: list[int] = []
            for place in range(count(len(drafts))):
                forced = sampler(logits[:, place : place + 1])
                believed.append(drafts[place] if forced is None else forced)
                if believed[-1] != drafts[place]:
                    return believed
            return believed + right(loop, drafts[len(believed) :], logits[:, len(believed) :], sampler)

        SpeculativeLoop._chosen = chosen  # type: ignore[method-assign, assignment]

    return plant


every_draft_accepted = _trusted(lambda drafts: drafts)
first_draft_not_verified = _trusted(lambda drafts: min(1, drafts))


def _kept(more: int) -> Plant:
    """In front of each pass but the first the cache is taken to be so many tokens longer than it is: with keys and values of a draft that
    was not accepted, or without those of the last one that was."""

    def plant(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
        right = SpeculativeLoop._position

        def position(loop: Any, prompt: int, tokens: Sequence[int]) -> int:
            place = right(loop, prompt, tokens)
            has_room = place + more + loop.gamma < _slots(loop.target)
            return place + more if len(tokens) > 1 and has_room else place

        SpeculativeLoop._position = position  # type: ignore[method-assign, assignment]

    return plant


def _slots(target: Any) -> int:
    """Of its cache."""
    if isinstance(target, StaticTarget):
        assert target._cache is not None
        return int(target._cache.layers[0].max_cache_len)
    return int(target._state.capacity)


cut_back_one_less = _kept(1)
cut_back_one_more = _kept(-1)
