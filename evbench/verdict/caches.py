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
"""Mean ratio from which more pairs may be run."""
DOUBTED, TOO_SMALL = 0.80, 0.99
"""More pairs are run only where the mean is above 1 at the first confidence, one-sided, and MIN_RATIO is not out of reach at the second.
What fails here is hardly ever found in twelve pairs either: simulated, it saves a fifth of the pairs, and no cache is lost by it."""
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
        mean, error = _mean_and_error(check, timing)
        saved = statistics.median(pair.unseen[timing] - pair.seen[timing] for pair in check.pairs)
        low = math.exp(mean - _reach(1 - LEVEL, error, check))
        found.append(SeenUnseen(timing, math.exp(mean), low, low > MIN_RATIO and saved > MIN_SECONDS))
    return tuple(found)


def suspected(check: CacheCheck) -> bool:
    """Whether more pairs are needed before nothing is said to be remembered.

    It only ever ends a check that finds nothing: whoever looks several times must not have several chances to find a cache.
    """
    return any(_is_suspected(check, timing) for timing in check.pairs[0].seen)


def _is_suspected(check: CacheCheck, timing: str) -> bool:
    mean, error = _mean_and_error(check, timing)
    if mean <= math.log(SUSPECTED):
        return False
    if math.isinf(error):
        return True
    is_doubted = mean <= _reach(DOUBTED, error, check)
    return not is_doubted and mean + _reach(TOO_SMALL, error, check) > math.log(MIN_RATIO)


def _mean_and_error(check: CacheCheck, timing: str) -> tuple[float, float]:
    """Mean logarithm of unseen to seen, and its standard error: infinite for one pair, of which the scatter is not known."""
    logs = [math.log(pair.unseen[timing] / pair.seen[timing]) for pair in check.pairs]
    return statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf


def _reach(confidence: float, error: float, check: CacheCheck) -> float:
    """Of a one-sided interval."""
    return error if math.isinf(error) else student_quantile(confidence, len(check.pairs) - 1) * error


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
