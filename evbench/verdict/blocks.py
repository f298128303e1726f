"""Runs -> seconds and log-ratios block by block, and intervals over blocks. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from evbench.results import SIDES, STAGES, Block, Run, Sample, Session, Side, SideResult, StageRun, ThroughputRun
from evbench.verdict.clusters import clusters
from evbench.verdict.statistics import (
    FEWEST_BLOCKS,
    Interval,
    estimate,
    level_of_each,
    mean_and_reach,
    median_interval,
    over_invocations,
)

END_TO_END, TTFT, PREFILL, TPOT, THROUGHPUT = "end-to-end", "ttft", "prefill", "tpot", "throughput"
"""Names of timings; the others are the stages."""
MOST_DISTURBED = 0.2
"""Share of blocks that may be disturbed. With more, the machine is not fit to measure on."""

# What is timed.

RunValue = Callable[[Run], float | None]
"""Run -> seconds, or another quantity. None if this run does not have it."""


def end_to_end_seconds(run: Run) -> float | None:
    """Only of a run without stage synchronization."""
    return run.seconds if run.stages is None else None


def synchronized_seconds(run: Run) -> float | None:
    """Sum of the stages of a run with stage synchronization."""
    return run.seconds if run.stages is not None else None


def stage_run(run: Run, stage: str) -> StageRun | None:
    """None without stage synchronization, and where another stage does its work."""
    return None if run.stages is None or (stage == "vision" and run.work.encoded_in) else run.stages[stage]


def stage_seconds(stage: str) -> RunValue:
    return lambda run: None if (found := stage_run(run, stage)) is None else found.seconds


def ttft_seconds(run: Run) -> float | None:
    """From the start of load to the first token's logits."""
    if run.stages is None or run.prefill_seconds is None:
        return None
    return math.fsum(run.stages[stage].seconds for stage in STAGES[:-1]) + run.prefill_seconds


def prefill_seconds(run: Run) -> float | None:
    return run.prefill_seconds


def tpot_seconds(run: Run) -> float | None:
    """Mean decode step."""
    return statistics.fmean(run.decode_step_seconds) if run.decode_step_seconds else None


TOKEN_TIMINGS: dict[str, RunValue] = {TTFT: ttft_seconds, PREFILL: prefill_seconds, TPOT: tpot_seconds}
TIMED: dict[str, RunValue] = {END_TO_END: end_to_end_seconds, **{stage: stage_seconds(stage) for stage in STAGES}, **TOKEN_TIMINGS}
"""Name of a timing of single runs -> its seconds."""
FAMILIES: tuple[tuple[str, ...], ...] = ((END_TO_END,), STAGES, tuple(TOKEN_TIMINGS), (THROUGHPUT,))
"""Timings whose intervals are simultaneous. The verdict is of end-to-end alone, and throughput is a question of its own."""


def family_size(timing: str) -> int:
    """Number of simultaneous intervals of which that of this timing is one."""
    return next(len(family) for family in FAMILIES if timing in family)


# Blocks and differences.


def counted_blocks(session: Session) -> dict[int, Block]:
    """The blocks that count, by number: those that nothing disturbed. There may be none."""
    return {block.number: block for block in session.blocks if not block.disturbances}


def too_disturbed(session: Session) -> bool:
    return sum(bool(block.disturbances) for block in session.blocks) > MOST_DISTURBED * len(session.blocks)


def counted_runs(measured: SideResult, counted: Mapping[int, Block]) -> list[Run]:
    """Timed runs in these blocks."""
    return [run for run in measured.timed() if run.block in counted]


def counted_throughput_runs(measured: SideResult, counted: Mapping[int, Block]) -> list[ThroughputRun]:
    """Throughput runs in these blocks."""
    return [run for run in measured.timed_throughput_runs() if run.block in counted]


def values(runs: Iterable[Run], value: RunValue) -> list[float]:
    """Of the runs that have it."""
    return [found for run in runs if (found := value(run)) is not None]


def mean(runs: Iterable[Run], value: RunValue) -> float:
    """Over the runs that have it, one at least."""
    return statistics.fmean(values(runs, value))


def by_block(measured: SideResult, counted: Mapping[int, Block], value: RunValue) -> dict[int, list[float]]:
    """Number of a block -> the values of its runs."""
    found: dict[int, list[float]] = {}
    for run in counted_runs(measured, counted):
        if (seconds := value(run)) is not None and run.block is not None:
            found.setdefault(run.block, []).append(seconds)
    return found


def seconds_per_sample(run: ThroughputRun) -> float:
    return run.seconds / run.samples


def throughput_by_block(measured: SideResult, counted: Mapping[int, Block]) -> dict[int, list[float]]:
    """Number of a block -> seconds for each sample of its throughput runs."""
    found: dict[int, list[float]] = {}
    for run in counted_throughput_runs(measured, counted):
        if run.block is not None:
            found.setdefault(run.block, []).append(seconds_per_sample(run))
    return found


def paired(
    sides: Mapping[Side, SideResult],
    counted: Mapping[int, Block],
    value: RunValue,
    difference: Callable[[list[float], list[float]], float],
) -> dict[int, float]:
    """Number of a block -> the difference between its two sides."""
    ours, theirs = (by_block(sides[side], counted, value) for side in SIDES)
    return differences(ours, theirs, counted, difference)


def differences(
    ours: Mapping[int, list[float]],
    theirs: Mapping[int, list[float]],
    counted: Iterable[int],
    difference: Callable[[list[float], list[float]], float],
) -> dict[int, float]:
    """Number of a block that both sides have -> the difference between them."""
    return {number: difference(ours[number], theirs[number]) for number in counted if number in ours and number in theirs}


def log_ratio(ours: list[float], theirs: list[float]) -> float:
    """Difference of the means of the logarithms."""
    return statistics.fmean(map(log_seconds, ours)) - statistics.fmean(map(log_seconds, theirs))


def log_seconds(seconds: float) -> float:
    return math.log(max(seconds, 1e-9))  # an empty stage takes less than the clock resolves


def grouped(differences: Mapping[int, float], group: Callable[[int], int]) -> dict[int, list[float]]:
    """Group of a block -> its differences."""
    found: dict[int, list[float]] = {}
    for number, difference in differences.items():
        found.setdefault(group(number), []).append(difference)
    return found


# Intervals.


def interval_between(sides: Mapping[Side, SideResult], counted: Mapping[int, Block], value: RunValue, family: int = 1) -> Interval | None:
    """Of the ratio of the baseline to the optimized side, block by block. None if there are too few blocks.

    Args:
        family: number of simultaneous intervals of which this is one.
    """
    cluster = cluster_of(counted, sides["baseline"].workload.samples)
    return interval_of(paired(sides, counted, value, log_ratio), counted, cluster, family)


def cluster_of(counted: Mapping[int, Block], samples: Sequence[Sample]) -> Callable[[int], int]:
    """Number of a block -> the cluster of its sample."""
    found = clusters(samples)
    return lambda number: found[counted[number].sample]


def interval_of(
    log_ratios: Mapping[int, float], counted: Mapping[int, Block], cluster: Callable[[int], int], family: int = 1
) -> Interval | None:
    """Over blocks of clusters of samples and over invocations, the wider of the two.

    Args:
        log_ratios: number of a block -> its log-ratio.
        cluster: number of a block -> the cluster of its sample.
        family: number of simultaneous intervals of which this is one.
    """
    if not log_ratios:
        return None
    level = level_of_each(family)
    interval = estimate(grouped(log_ratios, cluster), level)
    return interval and over_invocations(interval, grouped(log_ratios, lambda number: counted[number].invocation), level)


def half_width(session: Session, sides: Mapping[Side, SideResult]) -> float | None:
    """Relative half-width of the end-to-end interval; of one variant alone, that of its median. None if there is no interval yet."""
    counted = counted_blocks(session)
    if len(sides) == 2:
        interval = interval_between(sides, counted, end_to_end_seconds)
        return None if interval is None else interval.half_width
    timed = timed_runs(sides["baseline"], counted, end_to_end_seconds)
    around = interval_of_median(timed, counted, sides["baseline"].workload.samples)
    return None if around is None else (around[1] - around[0]) / 2 / statistics.median(seconds for _, seconds in timed)


def timed_runs(measured: SideResult, counted: Mapping[int, Block], value: RunValue) -> list[tuple[Run, float]]:
    """Counted runs that have a value, with it."""
    return [(run, found) for run in counted_runs(measured, counted) if (found := value(run)) is not None]


def interval_of_median(
    timed: Sequence[tuple[Run, float]], counted: Mapping[int, Block], samples: Sequence[Sample]
) -> tuple[float, float] | None:
    """Low and high bound of the 95% CI. No narrower than over invocations, and over clusters of samples, because runs of one resemble each
    other."""
    around = median_interval([seconds for _, seconds in timed])
    for unit in (lambda number: counted[number].invocation, cluster_of(counted, samples)):
        groups: dict[int, list[float]] = {}
        for run, seconds in timed:
            if run.block is not None:
                groups.setdefault(unit(run.block), []).append(seconds)
        medians = [statistics.median(values) for values in groups.values()]
        if around is not None and len(medians) > 1:
            middle, reach = mean_and_reach(medians)
            around = min(around[0], middle - reach), max(around[1], middle + reach)
    return around


def interval_of_mean(
    timed: Sequence[tuple[Run, float]], counted: Mapping[int, Block], samples: Sequence[Sample]
) -> tuple[float, float] | None:
    """Low and high bound of the 95% CI, over clusters of samples or the blocks of one, and no narrower than over invocations. None if there
    are too few blocks of one sample, or one cluster."""
    several, around = len({run.sample for run, _ in timed}) > 1, None
    if not several and len({run.block for run, _ in timed}) < FEWEST_BLOCKS:
        return None
    cluster = cluster_of(counted, samples) if several else lambda number: number
    for unit in (cluster, lambda number: counted[number].invocation):
        groups: dict[int, list[float]] = {}
        for run, seconds in timed:
            if run.block is not None:
                groups.setdefault(unit(run.block), []).append(seconds)
        means = [statistics.fmean(values) for values in groups.values()]
        if len(means) > 1:
            middle, reach = mean_and_reach(means)
            bounds = middle - reach, middle + reach
            around = bounds if around is None else (min(around[0], bounds[0]), max(around[1], bounds[1]))
    return around


def scatter(runs: Sequence[Run]) -> float | None:
    """Coefficient of variation of the last runs of the warm-up. None if there are too few."""
    last = [log_seconds(run.seconds) for run in runs if run.kind == "warmup"][-5:]
    return statistics.stdev(last) if len(last) >= 3 else None
