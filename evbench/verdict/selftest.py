"""A variant against itself: how often evbench finds a difference that is not there, and how large. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evbench.results import STAGES, Delay, Result, Rules
from evbench.verdict.blocks import INSIDE
from evbench.verdict.judge import judge
from evbench.verdict.judgement import THROUGHPUT, TOTAL, Judgement, Line, Verdict
from evbench.verdict.statistics import LEVEL, Interval, estimate, holm

LEAST_REPETITIONS = 10
"""Fewer say nothing of what happens once in twenty times."""
QUANTILE = 0.95
RARE = 0.02
"""A number of false claims that is rarer than this is taken for a fault of the machine, or of evbench."""


@dataclass(frozen=True)
class Trial:
    """What many comparisons of a variant with itself found of one thing that is timed."""

    name: str
    comparisons: int
    significant: int
    """Whose interval does not contain 1."""
    claims: int
    """That said faster or slower, with nothing but the smallest effect of 1 % to keep them from it."""
    floor: float
    """The difference that 95 of 100 stay below."""
    mean: Interval | None
    """Over all comparisons."""


@dataclass(frozen=True)
class SelfTest:
    """All of it."""

    trials: tuple[Trial, ...]
    most: int
    """More comparisons than this whose total is significant happen by chance in less than 2 of 100 self-tests."""
    comparable: bool
    """Whether times could be compared at all. If so the floors hold, also of a machine that fails: it needs them most."""
    passed: bool
    told: str


def repetitions(result: Result, blocks: int) -> list[Judgement]:
    """One session in parts of so many blocks, each judged as a comparison of its own, as if it were all there is."""
    (session,) = result.sessions
    assert result.optimized is not None
    counted = [block for block in session.blocks if not block.disturbances]
    judged = []
    for start in range(0, len(counted) - blocks + 1, blocks):
        part = counted[start : start + blocks]
        numbers = {block.number for block in part}
        sides = [
            dataclasses.replace(
                side,
                runs=tuple(run for run in side.runs if run.kind in ("first", "warmup") or run.block in numbers),
                throughput_runs=tuple(stream for stream in side.throughput_runs if stream.block in numbers),
            )
            for side in (result.baseline, result.optimized)
        ]
        rules = Rules({}, (), (), False, ())
        whole = dataclasses.replace(session, blocks=tuple(part))
        judged.append(judge(dataclasses.replace(result, rules=rules, sessions=(whole,), baseline=sides[0], optimized=sides[1])))
    return judged


def assess(whole: Judgement, judged: Sequence[Judgement]) -> SelfTest:
    """Whether a variant is found to be like itself.

    Args:
        whole: of the whole session, disturbed blocks included.
        judged: of each comparison in it.
    """
    names = (TOTAL, *STAGES, *INSIDE, *((THROUGHPUT,) if whole.throughput is not None else ()))
    trials = tuple(_trial(name, [line for one in judged for line in one.lines() if line.name == name]) for name in names)
    most = most_by_chance(len(judged), RARE)
    total = trials[0]
    refused = next((one for one in (whole, *judged) if one.verdict in (Verdict.INVALID, Verdict.OUTPUT_DIFFERS)), None)
    if refused is not None:
        return SelfTest(trials, most, False, False, f"{refused.verdict}: {'; '.join(refused.reasons)}")
    if total.comparisons < len(judged) or not judged:
        return SelfTest(trials, most, False, False, "too few blocks for an interval")
    if total.significant > most:
        return SelfTest(trials, most, True, False, f"{total.significant} of {total.comparisons} found a difference; {most} may by chance")
    if total.mean is not None and not total.mean.low <= 1 <= total.mean.high:
        told = f"taken together they find a difference that is not there: {total.mean.low:.4f} - {total.mean.high:.4f} times as fast"
        return SelfTest(trials, most, True, False, told)
    often = most_by_chance(len(judged), RARE / len(trials))
    if loud := [trial.name for trial in trials if trial.significant > often]:
        told = f"{' and '.join(loud)}: more than {often} of {len(judged)} found a difference that is not there"
        return SelfTest(trials, most, True, False, told)
    return SelfTest(trials, most, True, True, f"{total.significant} of {total.comparisons} found a difference; up to {most} may by chance")


def _trial(name: str, lines: Sequence[Line]) -> Trial:
    known = [line.interval for line in lines if line.interval is not None]
    logs = [math.log(interval.ratio) for interval in known]
    return Trial(
        name,
        len(known),
        sum(not interval.low <= 1 <= interval.high for interval in known),
        sum(line.claim in (Verdict.FASTER, Verdict.SLOWER) for line in lines),
        math.expm1(float(np.quantile(np.abs(logs), QUANTILE))) if logs else math.inf,
        estimate({index: [value] for index, value in enumerate(logs)}) if len(logs) > 1 else None,
    )


def most_by_chance(comparisons: int, rare: float) -> int:
    """The most that are significant, but for a share `rare` of self-tests of a variant that is like itself: 3 of 20 for 2 %."""
    most, within = 0, (1 - LEVEL) ** comparisons
    while within < 1 - rare:
        most += 1
        within += math.comb(comparisons, most) * LEVEL**most * (1 - LEVEL) ** (comparisons - most)
    return most


@dataclass(frozen=True)
class Found:
    """A stage on a side that was made slower in one."""

    stage: str
    interval: Interval
    p: float
    """Corrected for the number of stages."""

    @property
    def differs(self) -> bool:
        return self.p < LEVEL and not self.interval.low <= 1 <= self.interval.high


def look_for_planted(judged: Judgement) -> tuple[Found, ...]:
    """What the intervals say of each stage. A claim in a report needs a difference above the smallest that is claimed as well."""
    known = {line.name: line.interval for line in judged.stages if line.interval is not None}
    chances = holm({name: interval.p for name, interval in known.items()})
    return tuple(Found(name, interval, chances[name]) for name, interval in known.items())


def find_planted(stages: Sequence[Found], delay: Delay) -> tuple[bool, str]:
    """Whether a planted delay was found in its stage and in no other."""
    found = [stage for stage in stages if stage.differs]
    if not found:
        return False, f"the delay of {delay.share:.1%} in {delay.stage} was not found; more --blocks and --invocations see less"
    if [stage.stage for stage in found] == [delay.stage] and found[0].interval.high < 1:
        return True, f"the delay of {delay.share:.1%} was found in {delay.stage} and in no other stage"
    told = " and ".join(stage.stage for stage in found)
    return False, f"a delay of {delay.share:.1%} was planted in {delay.stage}, and a difference was found in {told}"


def floors(test: SelfTest) -> dict[str, float]:
    return {trial.name: trial.floor for trial in test.trials if math.isfinite(trial.floor)}
