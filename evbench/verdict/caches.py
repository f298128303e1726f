"""Runs on seen and on unseen input -> whether a side is faster on what it has seen. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from evbench.results import ALLOW_CACHED, CacheCheck, Result, Side, SideResult
from evbench.verdict.student import student_quantile

MIN_RATIO = 1.05
"""Unseen to seen. What is remembered saves more, and smaller differences come from where files and tensors happen to lie."""
MIN_SECONDS = 20e-6
"""As MIN_RATIO, for what takes microseconds."""
SUSPECTED = 1.02
"""Mean ratio from which more pairs are run."""
LEVEL = 0.001
"""Chance at which one timing that is MIN_RATIO apart is called cached. There are five for each side, and most are not apart at all."""


@dataclass(frozen=True)
class SeenUnseen:
    """One timing of one side, over the pairs of its cache check."""

    timing: str
    """A stage, or `prefill`."""
    ratio: float
    """Geometric mean of unseen to seen: above 1, the side is faster on what it has seen."""
    low: float
    """One-sided lower bound of the ratio, at 99.9 %."""
    cached: bool


def examine(check: CacheCheck) -> tuple[SeenUnseen, ...]:
    """Each timing, in the order of the pipeline."""
    found = []
    for timing in check.pairs[0].seen:
        logs = [math.log(pair.unseen[timing] / pair.seen[timing]) for pair in check.pairs]
        saved = statistics.median(pair.unseen[timing] - pair.seen[timing] for pair in check.pairs)
        mean = statistics.fmean(logs)
        reach = math.inf
        if len(logs) > 1:
            reach = student_quantile(1 - LEVEL, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
        low = math.exp(mean - reach)
        found.append(SeenUnseen(timing, math.exp(mean), low, low > MIN_RATIO and saved > MIN_SECONDS))
    return tuple(found)


def suspected(check: CacheCheck) -> bool:
    """Whether more pairs are needed before nothing is said to be remembered."""
    return any(one.ratio > SUSPECTED for one in examine(check))


def examined(sides: Mapping[Side, SideResult]) -> dict[Side, tuple[SeenUnseen, ...]]:
    """Of the sides that were checked."""
    return {side: examine(measured.cache_check) for side, measured in sides.items() if measured.cache_check is not None}


def cached(sides: Mapping[Side, SideResult]) -> list[str]:
    """What each side is faster at on input that it has seen, in words."""
    return [
        f"{side}: {one.timing} takes {one.ratio:.2f}x as long on input that this side has not seen (above {one.low:.2f}x)"
        for side, found in examined(sides).items()
        for one in found
        if one.cached
    ]


def refused(result: Result) -> list[str]:
    """Why nothing may be claimed. Empty if nothing is remembered, or it was allowed."""
    found = cached(result.variants())
    if not found or ALLOW_CACHED in result.rules.allowed:
        return []
    return [f"CACHED: {'; '.join(found)}; turn that cache off, or allow it by --allow {ALLOW_CACHED}"]
