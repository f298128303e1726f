"""Results of one variant on one machine, one after another in time -> where its times changed in a step. Pure."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evbench.encoding import to_json
from evbench.results import Machine, Result, Session, Side, SideResult, Workload
from evbench.verdict.blocks import TIMED, counted_blocks, interval_of_median, log_seconds, timed_runs
from evbench.verdict.claims import claim
from evbench.verdict.demands import Demand, DemandOutcome, decide_slower
from evbench.verdict.judgement import CLAIMED, MIN_CLAIM, Judgement, Verdict
from evbench.verdict.ranks import SPREAD
from evbench.verdict.refusal import disturbed_too_often
from evbench.verdict.statistics import FARTHEST, LEVEL, Interval
from evbench.verdict.student import student_quantile

MANY = 10_000
"""Degrees of freedom at which Student's distribution is the normal one."""


@dataclass(frozen=True)
class TimedOnce:
    """A timing in one result."""

    seconds: float
    """Median of its runs."""
    reach: float | None
    """How far its 95% CI reaches from the median, as a logarithm, to the farther side. None if too few runs could bound it."""


@dataclass(frozen=True)
class Entry:
    """One variant in one result."""

    started: str
    """UTC, ISO 8601: names the session."""
    place: str
    """Its folder within the one that was looked through."""
    source: str
    """Commit of evbench, or empty."""
    timings: dict[str, TimedOnce]


@dataclass(frozen=True)
class Step:
    """Between two results, from where on a time is another one."""

    before: Entry
    """The last with the former time."""
    after: Entry
    """The first with the other."""
    interval: Interval
    """Time before the step over the time behind it, as a speedup is: below 1 it became slower."""


@dataclass(frozen=True)
class Series:
    """Results of equal work by one variant on one machine, the earliest first."""

    machine: str
    """Its hardware, and the number of ranks if there were several."""
    variant: str
    workload: Workload
    entries: tuple[Entry, ...] = field(default=())

    def timings(self) -> tuple[str, ...]:
        """Those that all results have."""
        return tuple(name for name in TIMED if all(name in entry.timings for entry in self.entries))


def hardware(machine: Machine) -> str:
    """What stays the same when software is renewed."""
    gpu = f", {machine.gpu.name}" if machine.gpu else ""
    return f"{machine.cpu}, {machine.cores} cores{gpu}"


def ranks_of(session: Session) -> int:
    """How many processes ran it at the same time. They share a machine, so that times of other numbers differ."""
    before, behind = SPREAD.split("{}")
    told = (one.removeprefix(before).removesuffix(behind) for one in session.remarks if one.startswith(before) and one.endswith(behind))
    return next((int(number) for number in told if number.isdecimal()), 1)


def why_left_out(judgement: Judgement, result: Result, side: Side) -> str:
    """Why the times of a side are no part of a history. Empty if they are."""
    if result.command.startswith("evbench selftest"):
        return "of a self-test, in which a side may have been made slower"
    if judgement.verdict is Verdict.INVALID:
        return "; ".join(("INVALID", *judgement.reasons))
    if judgement.verdict is Verdict.OUTPUT_DIFFERS and side == "optimized":
        return "OUTPUT_DIFFERS"
    return "; ".join(disturbed_too_often([result.session(result.variants()[side])]))


def entry(result: Result, measured: SideResult, place: str) -> Entry:
    """Of one side of a result."""
    session = result.session(measured)
    counted, timings = counted_blocks(session), {}
    for name, value in TIMED.items():
        if timed := timed_runs(measured, counted, value):
            middle = statistics.median(seconds for _, seconds in timed)
            around = interval_of_median(timed, counted, measured.workload.samples)
            timings[name] = TimedOnce(middle, None if around is None else _reach(middle, *around))
    return Entry(measured.session, place, session.machine.source or "", timings)


def _reach(middle: float, low: float, high: float) -> float:
    return max(log_seconds(high) - log_seconds(middle), log_seconds(middle) - log_seconds(low))


def gather(found: Sequence[tuple[Result, Side, Entry]]) -> tuple[Series, ...]:
    """Series in the order of machine, work and variant. A session that several results hold counts once."""
    series: dict[tuple[str, str, str], Series] = {}
    seen: set[tuple[str, str, str, str]] = set()
    for result, side, one in sorted(found, key=lambda known: (known[2].started, known[2].place)):
        measured = result.variants()[side]
        ranks = ranks_of(result.session(measured))
        spread = f", {ranks} ranks" if ranks > 1 else ""
        key = hardware(result.session(measured).machine) + spread, _work(measured), measured.variant
        if (*key, one.started) not in seen:
            seen.add((*key, one.started))
            before = series.get(key) or Series(key[0], measured.variant, measured.workload)
            series[key] = dataclasses.replace(before, entries=(*before.entries, one))
    return tuple(series[key] for key in sorted(series))


def _work(measured: SideResult) -> str:
    """Equal for equal work: all but where files lie."""
    content = json.loads(to_json(measured.workload))
    if measured.choices.get("draft", "none") != "none":  # else event images beside the samples are for the other side alone
        content["beside"] = [sample["beside"] for sample in content["samples"]]
    content["samples"] = [[row.sha256 for row in sample.rows()] for sample in measured.workload.samples]
    return json.dumps(content, sort_keys=True)


# Steps.


def steps(series: Series, timing: str) -> tuple[Step, ...]:
    """Where the time of a series changed, in the order of time.

    The split between two results is a step if the ratio of times, before over behind it, has an interval beyond no change by more than
    MIN_CLAIM. Of several, that with the largest difference for its noise is taken, and what lies before and behind it is looked at again.
    Intervals are simultaneous over all splits and timings of the series: of a series without any change, 95 of 100 have no step.
    """
    level = LEVEL / max(1, (len(series.entries) - 1) * len(series.timings()))
    times = [entry.timings[timing] for entry in series.entries]
    places = _splits(times, 0, level)
    while True:
        # A split was found beside times of other levels; what is told of it is of the level before and the one behind.
        bounds = [0, *places, len(times)]
        levels = [times[start:end] for start, end in itertools.pairwise(bounds)]
        intervals = [
            between(*pair, level, [*levels[:place], *levels[place + 2 :]]) for place, pair in enumerate(itertools.pairwise(levels))
        ]
        doubtful = [(_clearness(interval), place) for place, interval in zip(places, intervals, strict=True) if not _is_step(interval)]
        if not doubtful:
            break
        places.remove(min(doubtful)[1])
    found = zip(places, intervals, strict=True)
    return tuple(Step(series.entries[place - 1], series.entries[place], interval) for place, interval in found if interval is not None)


def _splits(times: Sequence[TimedOnce], first: int, level: float) -> list[int]:
    """Places of the results behind a split, ascending. `first`: place of the first of these times."""
    found = [(between(times[:place], times[place:], level), place) for place in range(1, len(times))]
    clear = [(_clearness(interval), place) for interval, place in found if _is_step(interval)]
    if not clear:
        return []
    place = max(clear)[1]
    return [*_splits(times[:place], first, level), first + place, *_splits(times[place:], first + place, level)]


def _is_step(interval: Interval | None) -> bool:
    return interval is not None and claim(interval, MIN_CLAIM) in CLAIMED


def _clearness(interval: Interval | None) -> float:
    """Difference in half-widths of its interval."""
    if interval is None:
        return 0.0
    return abs(math.log(interval.ratio)) / max(math.log(interval.high / interval.low) / 2, 1e-9)


def between(
    before: Sequence[TimedOnce], behind: Sequence[TimedOnce], level: float = LEVEL, others: Sequence[Sequence[TimedOnce]] = ()
) -> Interval | None:
    """Ratio of the times before to those behind. None of one result before and one behind: nothing tells how much such times vary.

    No narrower than by how much results differ from each other (Student's, one variance for all parts), nor than by their own intervals,
    where these are known.

    Args:
        others: parts of the series at other levels, which tell of the variance, too.
    """
    parts = [[log_seconds(one.seconds) for one in part] for part in (before, behind, *others)]
    freedom = sum(map(len, parts)) - len(parts)
    if freedom < 1:
        return None
    difference = statistics.fmean(parts[0]) - statistics.fmean(parts[1])
    variance = sum((one - statistics.fmean(part)) ** 2 for part in parts for one in part) / freedom
    reach = student_quantile(1 - level / 2, freedom) * math.sqrt(variance * (1 / len(before) + 1 / len(behind)))
    own = [(one.reach, len(part)) for part in (before, behind) for one in part]
    if all(one is not None for one, _ in own):
        wider = student_quantile(1 - level / 2, MANY) / student_quantile(1 - LEVEL / 2, MANY)
        reach = max(reach, wider * math.hypot(*((one or 0.0) / count for one, count in own)))
    ratio, low, high = (math.exp(min(max(bound, -FARTHEST), FARTHEST)) for bound in (difference, difference - reach, difference + reach))
    return Interval(ratio, low, high, 1 - level)


def newest(series: Series, timing: str) -> Interval | None:
    """The newest result against the others since the last step. None if there are none."""
    found = steps(series, timing)
    since = 0 if not found else series.entries.index(found[-1].after)
    times = [entry.timings[timing] for entry in series.entries[since:]]
    return between(times[:-1], times[-1:]) if len(times) > 1 else None


def decide(series: Series, demand: Demand) -> DemandOutcome | None:
    """Whether the variant has not become slower: neither by its last step, nor by the newest result. None if there is no result before."""
    if len(series.entries) < 2 or demand.timing not in series.timings():
        return None
    found = steps(series, demand.timing)
    intervals: list[Interval | None] = [found[-1].interval] if found else []
    latest = newest(series, demand.timing)
    if latest is not None or not found:
        intervals.append(latest)
    outcomes = [decide_slower(demand, interval, MIN_CLAIM) for interval in intervals]
    return min(outcomes, key=lambda outcome: (True, None, False).index(outcome.met) * -1)


def exit_code(outcomes: Mapping[str, Sequence[DemandOutcome | None]]) -> int:
    """3 if a demand is not met, 4 if one is undecided, or decided of no series; else 0.

    Args:
        outcomes: text of a demand -> of each series; None of one of which there is nothing to decide.
    """
    met = [[outcome.met for outcome in found if outcome is not None] for found in outcomes.values()]
    if any(False in found for found in met):
        return 3
    return 4 if any(None in found or not found for found in met) else 0
