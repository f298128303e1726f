"""Runs -> seconds and log-ratios block by block, and intervals over blocks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from evbench.results import STAGES, Block, Run, Session, Side, SideResult, ThroughputRun
from evbench.verdict.statistics import (
    Interval,
    estimate,
    mean_and_reach,
    median_interval,
    over_invocations,
)

MOST_DISTURBED = 0.2
"""Share of blocks that may be disturbed. With more, the machine is not fit to measure on."""

# What is timed.

Timed = Callable[[Run], float | None]
"""Run -> seconds. None if this run says nothing of it."""


def whole_seconds(run: Run) -> float | None:
    return run.seconds if run.stages is None else None


def stage_seconds(stage: str) -> Timed:
    return lambda run: run.stages[stage].seconds if run.stages is not None else None


def _first_token(run: Run) -> float | None:
    if run.stages is None or run.prefill_seconds is None:
        return None
    return math.fsum(run.stages[stage].seconds for stage in STAGES[:-1]) + run.prefill_seconds


def _further_token(run: Run) -> float | None:
    return statistics.fmean(run.decode_step_seconds) if run.decode_step_seconds else None


INSIDE: dict[str, Timed] = {"first token": _first_token, "prefill": lambda run: run.prefill_seconds, "further token": _further_token}


# Blocks and differences.


def counted_blocks(session: Session) -> dict[int, Block]:
    """The blocks that count, by number. If too many were disturbed none is left out: the result is INVALID anyway."""
    if _too_disturbed(session):
        return {block.number: block for block in session.blocks}
    return {block.number: block for block in session.blocks if not block.disturbances}


def _too_disturbed(session: Session) -> bool:
    return sum(bool(block.disturbances) for block in session.blocks) > MOST_DISTURBED * len(session.blocks)


def runs_in(measured: SideResult, counted: Mapping[int, Block]) -> list[Run]:
    """Those in these blocks."""
    return [run for run in measured.timed() if run.block in counted]


def _values(runs: Iterable[Run], value: Timed) -> list[float]:
    return [seconds for run in runs if (seconds := value(run)) is not None]


def _by_block(measured: SideResult, counted: Mapping[int, Block], value: Timed) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for run in runs_in(measured, counted):
        if (seconds := value(run)) is not None and run.block is not None:
            found.setdefault(run.block, []).append(seconds)
    return found


def _paired(
    sides: Mapping[Side, SideResult],
    counted: Mapping[int, Block],
    value: Timed,
    difference: Callable[[list[float], list[float]], float],
) -> dict[int, float]:
    """Number of a block -> the difference between its two sides."""
    ours, theirs = (_by_block(sides[side], counted, value) for side in ("baseline", "optimized"))
    return _differences(ours, theirs, counted, difference)


def _differences(
    ours: Mapping[int, list[float]],
    theirs: Mapping[int, list[float]],
    counted: Iterable[int],
    difference: Callable[[list[float], list[float]], float],
) -> dict[int, float]:
    return {number: difference(ours[number], theirs[number]) for number in counted if number in ours and number in theirs}


def grouped(differences: Mapping[int, float], group: Callable[[int], int]) -> dict[int, list[float]]:
    """Group of a block -> its differences."""
    found: dict[int, list[float]] = {}
    for number, difference in differences.items():
        found.setdefault(group(number), []).append(difference)
    return found


def interval_between(sides: Mapping[Side, SideResult], counted: Mapping[int, Block], value: Timed) -> Interval | None:
    """Of how many times as much of something the baseline has, block by block. None if there are too few blocks."""
    return _interval_of(_paired(sides, counted, value, _log_ratio), counted, lambda number: counted[number].sample)


def _interval_of(differences: Mapping[int, float], counted: Mapping[int, Block], sample: Callable[[int], int]) -> Interval | None:
    """`sample` is that of a block, by its number."""
    if not differences:
        return None
    interval = estimate(grouped(differences, sample))
    return interval and over_invocations(interval, grouped(differences, lambda number: counted[number].invocation))


def _log_ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.fmean(map(_log, ours)) - statistics.fmean(map(_log, theirs))


def sample_seconds(stream: ThroughputRun) -> float:
    """Of a stream, for each of its samples."""
    return stream.seconds / stream.samples


def counted_throughput_runs(measured: SideResult, session: Session) -> list[ThroughputRun]:
    """Those in blocks that count."""
    counted = counted_blocks(session)
    return [stream for stream in measured.timed_throughput_runs() if stream.block in counted]


def _throughput_by_block(measured: SideResult, session: Session) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for stream in counted_throughput_runs(measured, session):
        if stream.block is not None:
            found.setdefault(stream.block, []).append(sample_seconds(stream))
    return found


def _log(seconds: float) -> float:
    return math.log(max(seconds, 1e-9))  # a stage that does nothing takes less than the clock can tell


def half_width(session: Session, sides: Mapping[Side, SideResult]) -> float | None:
    """Of the interval of the total, relative; of one variant alone, that of its median. None if there is no interval yet."""
    counted = counted_blocks(session)
    if len(sides) == 2:
        interval = interval_between(sides, counted, whole_seconds)
        return None if interval is None else interval.half_width
    timed = [(run, seconds) for run in runs_in(sides["baseline"], counted) if (seconds := whole_seconds(run)) is not None]
    around = _median_interval(timed, counted)
    return None if around is None else (around[1] - around[0]) / 2 / statistics.median(seconds for _, seconds in timed)


def _median_interval(timed: Sequence[tuple[Run, float]], counted: Mapping[int, Block]) -> tuple[float, float] | None:
    """Of a median; no narrower than over the starts, and over the samples, because runs of one resemble each other."""
    around = median_interval([seconds for _, seconds in timed])
    for unit in ("invocation", "sample"):
        groups: dict[int, list[float]] = {}
        for run, seconds in timed:
            if run.block is not None:
                groups.setdefault(getattr(counted[run.block], unit), []).append(seconds)
        medians = [statistics.median(values) for values in groups.values()]
        if around is not None and len(medians) > 1:
            middle, reach = mean_and_reach(medians)
            around = min(around[0], middle - reach), max(around[1], middle + reach)
    return around


def scatter(runs: Sequence[Run]) -> float | None:
    """Coefficient of variation of the last runs of the warm-up. None if there are too few."""
    last = [_log(run.seconds) for run in runs if run.kind == "warmup"][-5:]
    return statistics.stdev(last) if len(last) >= 3 else None
