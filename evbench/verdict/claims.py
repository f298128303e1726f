"""An interval -> what may be claimed of a timing. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from evbench.results import Block, Side, SideResult
from evbench.verdict.blocks import (
    END_TO_END,
    THROUGHPUT,
    TIMED,
    counted_runs,
    differences,
    family_size,
    interval_between,
    interval_of,
    log_ratio,
    throughput_by_block,
    values,
)
from evbench.verdict.judgement import MIN_CLAIM, Timing, Verdict
from evbench.verdict.statistics import Distribution, Interval, distribution


def claim(interval: Interval, threshold: float) -> Verdict:
    """FASTER, SLOWER, SAME or INCONCLUSIVE: what the interval says, and nothing else.

    Args:
        threshold: the smallest relative difference that may be claimed.
    """
    if interval.low > 1 + threshold:
        return Verdict.FASTER
    if interval.high < 1 - threshold:
        return Verdict.SLOWER
    # A noise floor keeps from claiming a difference; it does not make two times the same.
    return Verdict.SAME if interval.low >= 1 - MIN_CLAIM and interval.high <= 1 + MIN_CLAIM else Verdict.INCONCLUSIVE


def joint_threshold(*thresholds: float, power: float = 1.0) -> float:
    """The smallest relative difference to claim of a product of ratios that each have such a threshold: noise floors add up as squares.

    Args:
        power: of each ratio in the product.
    """
    return max(MIN_CLAIM, abs(power) * math.hypot(*(threshold for threshold in thresholds if threshold > MIN_CLAIM)))


def timing_of_runs(
    sides: Mapping[Side, SideResult],
    counted: Mapping[Side, Mapping[int, Block]],
    noise_floors: Mapping[str, float],
    *,
    comparable: bool,
    comparisons: int,
) -> Callable[[str], Timing]:
    """Name of a timing of single runs -> the timing.

    Args:
        comparisons: number of comparisons whose end-to-end intervals are simultaneous.
    """

    def timing(name: str) -> Timing:
        value = TIMED[name]
        distributions = {side: distribution(values(counted_runs(measured, counted[side]), value)) for side, measured in sides.items()}
        family = comparisons if name == END_TO_END else family_size(name)
        interval = interval_between(sides, counted["baseline"], value, family) if comparable else None
        return _timing(name, distributions, interval, max(MIN_CLAIM, noise_floors.get(name, 0.0)))

    return timing


def throughput(
    sides: Mapping[Side, SideResult],
    counted: Mapping[Side, Mapping[int, Block]],
    noise_floors: Mapping[str, float],
    *,
    claimable: bool,
) -> Timing | None:
    """Seconds for each sample of the throughput runs of both sides. None if there are none."""
    if not any(measured.timed_throughput_runs() for measured in sides.values()):
        return None
    found = {side: throughput_by_block(measured, counted[side]) for side, measured in sides.items()}
    distributions = {side: distribution([one for block in blocks.values() for one in block]) for side, blocks in found.items()}
    interval = None
    if claimable:
        blocks = counted["baseline"]
        # Each throughput run has the same samples, whichever sample its block is of: they count as blocks of one sample.
        interval = interval_of(differences(found["baseline"], found["optimized"], blocks, log_ratio), blocks, lambda number: 0)
    threshold = max(MIN_CLAIM, noise_floors.get(END_TO_END, 0.0), noise_floors.get(THROUGHPUT, 0.0))
    return _timing(THROUGHPUT, distributions, interval, threshold)


def _timing(name: str, distributions: dict[Side, Distribution | None], interval: Interval | None, threshold: float) -> Timing:
    return Timing(name, distributions, interval, threshold, None if interval is None else claim(interval, threshold))
