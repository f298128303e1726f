"""The difference of the end-to-end times -> the parts that add up to it, and when a longer startup is paid back. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evbench.results import STAGES, Block, Side, SideResult
from evbench.verdict.blocks import cluster_of, counted_runs, end_to_end_seconds, grouped, mean, paired, stage_seconds, tpot_seconds, values
from evbench.verdict.statistics import BreakEven, break_even

NEW_TOKENS = "number of new tokens"
OVERLAP_AND_SYNC = "overlap and stage synchronization"


@dataclass(frozen=True)
class DifferencePart:
    """What one part contributes."""

    name: str
    seconds: float
    """Mean of the baseline less mean of the optimized side."""
    share: float
    """Of the whole difference."""


@dataclass(frozen=True)
class Difference:
    """Of the mean end-to-end times, and its parts."""

    parts: tuple[DifferencePart, ...]
    total: DifferencePart


def decompose(sides: Mapping[Side, SideResult], counted: Mapping[int, Block]) -> Difference | None:
    """Stages are of runs with synchronization: their sum is longer than the whole by what overlaps without it and by its overhead.

    None if no block counts.
    """
    ours, theirs = (counted_runs(measured, counted) for measured in sides.values())
    if not ours or not theirs:
        return None
    stages = {stage: stage_seconds(stage) for stage in STAGES}
    apart = {stage: seconds for stage, seconds in stages.items() if values(ours, seconds) and values(theirs, seconds)}
    parts = {stage: mean(ours, seconds) - mean(theirs, seconds) for stage, seconds in apart.items()}
    tokens = mean(ours, lambda run: len(run.tokens)) - mean(theirs, lambda run: len(run.tokens))
    if tokens and values(ours, tpot_seconds):
        # Tokens that only one side generated, at the baseline's TPOT: no gain of the optimization.
        parts[NEW_TOKENS] = tokens * mean(ours, tpot_seconds)
        parts["generate"] -= parts[NEW_TOKENS]
    total = mean(ours, end_to_end_seconds) - mean(theirs, end_to_end_seconds)
    parts[OVERLAP_AND_SYNC] = total - math.fsum(parts.values())

    def part(name: str, seconds: float) -> DifferencePart:
        return DifferencePart(name, seconds, seconds / total if total else 0.0)

    return Difference(tuple(part(name, seconds) for name, seconds in parts.items()), part("total", total))


def ratio_of_sums(sides: Mapping[Side, SideResult], counted: Mapping[int, Block]) -> float:
    """End to end, over all counted runs."""
    ours, theirs = (math.fsum(values(counted_runs(measured, counted), end_to_end_seconds)) for measured in sides.values())
    return ours / theirs


def paid_back(sides: Mapping[Side, SideResult], counted: Mapping[int, Block], extra: float, *, faster: bool) -> BreakEven:
    """When `extra` seconds of startup and compile time are paid back. Only a side that is FASTER pays anything back."""
    if extra > 0 and not faster:
        return BreakEven(None, None, None)
    workload = sides["baseline"].workload

    def of_sample(ours: Sequence[float], theirs: Sequence[float]) -> float:
        return (statistics.fmean(ours) - statistics.fmean(theirs)) / workload.batch

    return break_even(extra, grouped(paired(sides, counted, end_to_end_seconds, of_sample), cluster_of(counted, workload.samples)))
