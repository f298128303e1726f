"""The difference of the times of two models -> the parts that add up to it, each with its interval. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evbench.results import STAGES, Run, Sample
from evbench.verdict.blocks import end_to_end_seconds, mean, prefill_seconds, stage_seconds
from evbench.verdict.clusters import clusters
from evbench.verdict.difference import NEW_TOKENS, OVERLAP_AND_SYNC
from evbench.verdict.statistics import mean_and_reach

OUTSIDE = "before prefill and after the last token"


@dataclass(frozen=True)
class DecompositionPart:
    """What one part contributes to a difference."""

    name: str
    seconds: float
    """Baseline less the other model: the mean over the scenes, or over their clusters."""
    low: float | None
    """Of the 95% CI over the scenes, or over the blocks of one scene. None for a single one."""
    high: float | None
    share: float | None
    """Of the difference. None if there may be no difference."""


@dataclass(frozen=True)
class Decomposition:
    """A difference and its parts."""

    parts: tuple[DecompositionPart, ...]
    total: DecompositionPart

    def share(self, name: str) -> float | None:
        return next(part.share for part in self.parts if part.name == name)


Parts = Callable[[Sequence[Run], Sequence[Run]], tuple[dict[str, float], float]]
"""Runs of both models, of one scene or block -> the parts of their difference, and the total."""


def decompose(
    ours: Sequence[Run], theirs: Sequence[Run], samples: Sequence[Sample], parts_of: Parts, *, claimable: bool
) -> Decomposition | None:
    """Over the scenes, or their clusters; of a single one over its blocks. None if no block counts."""
    one, other = _by_unit(ours, samples), _by_unit(theirs, samples)
    found = [parts_of(one[unit], other[unit]) for unit in sorted(one.keys() & other.keys())]
    if not found:
        return None
    totals = [total for _, total in found]
    total = _part("total", totals, None)
    claimed = claimable and total.low is not None and total.high is not None and not total.low <= 0 <= total.high
    of = total.seconds if claimed else None
    return Decomposition(
        tuple(_part(name, [parts[name] for parts, _ in found], of) for name in found[0][0]),
        _part("total", totals, of),
    )


def _by_unit(runs: Sequence[Run], samples: Sequence[Sample]) -> dict[int, list[Run]]:
    cluster = clusters(samples)
    several = len({cluster[run.sample] for run in runs}) > 1
    found: dict[int, list[Run]] = {}
    for run in runs:
        if run.block is not None:
            found.setdefault(cluster[run.sample] if several else run.block, []).append(run)
    return found


def _part(name: str, seconds: Sequence[float], of: float | None) -> DecompositionPart:
    middle = statistics.fmean(seconds)
    share = None if of is None else middle / of
    if len(seconds) == 1:
        return DecompositionPart(name, middle, None, None, share)
    _, reach = mean_and_reach(seconds)
    return DecompositionPart(name, middle, middle - reach, middle + reach, share)


def by_stages(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[dict[str, float], float]:
    """Stages are of runs with synchronization: their sum is longer than the whole by what overlaps without it and by its overhead."""
    parts = {stage: mean(ours, stage_seconds(stage)) - mean(theirs, stage_seconds(stage)) for stage in STAGES}
    total = mean(ours, end_to_end_seconds) - mean(theirs, end_to_end_seconds)
    parts[OVERLAP_AND_SYNC] = total - sum(parts.values())
    return parts, total


def inside_generate(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[dict[str, float], float]:
    """The decode loop takes (decode steps) x TPOT, so its difference is a difference of lengths at the mean TPOT, and a difference of TPOT
    at the mean length.
    """
    steps, tpots = [], []
    for runs in (ours, theirs):
        steps.append(mean(runs, lambda run: float(len(run.decode_step_seconds)) if run.decode_step_seconds is not None else None))
        tpots.append(mean(runs, _decode_loop) / steps[-1] if steps[-1] else None)
    known = next((tpot for tpot in tpots if tpot is not None), 0.0)
    one, other = (known if tpot is None else tpot for tpot in tpots)
    parts = {
        "prefill": mean(ours, prefill_seconds) - mean(theirs, prefill_seconds),
        NEW_TOKENS: (steps[0] - steps[1]) * (one + other) / 2,
        "tpot": (one - other) * (steps[0] + steps[1]) / 2,
    }
    total = mean(ours, stage_seconds("generate")) - mean(theirs, stage_seconds("generate"))
    parts[OUTSIDE] = total - sum(parts.values())
    return parts, total


def _decode_loop(run: Run) -> float | None:
    return sum(run.decode_step_seconds) if run.decode_step_seconds is not None else None
