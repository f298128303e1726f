"""A variant against itself (A/A test): how often evbench finds a difference that does not exist, and how large. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evbench.results import STAGES, Delay, Result, Rules
from evbench.verdict.blocks import END_TO_END, THROUGHPUT, TOKEN_TIMINGS, family_size
from evbench.verdict.judge import judge
from evbench.verdict.judgement import CLAIMED, Judgement, Timing, Verdict
from evbench.verdict.statistics import LEVEL, Interval, estimate, level_of_each

MIN_REPETITIONS = 10
"""Fewer cannot show what happens once in twenty times."""
QUANTILE = 0.95
RARE = 0.02
"""A number of false positives that is rarer than this is a fault of the machine, or of evbench."""


@dataclass(frozen=True)
class Trial:
    """One timing over many comparisons of a variant with itself."""

    name: str
    comparisons: int
    significant: int
    """Number whose interval excludes 1."""
    claims: int
    """Number that claimed faster or slower, with the claim threshold of 1 %."""
    noise_floor: float
    """The relative difference that 95 of 100 stay below."""
    mean: Interval | None
    """Over all comparisons."""


@dataclass(frozen=True)
class SelfTest:
    """All of it."""

    trials: tuple[Trial, ...]
    max_significant: int
    """More significant comparisons end to end happen by chance in less than 2 of 100 self-tests."""
    comparable: bool
    """Whether times could be compared at all. If so the noise floors hold, also of a machine that fails: it needs them most."""
    passed: bool
    summary: str


def repetitions(result: Result, blocks: int) -> list[Judgement]:
    """One session in parts of so many blocks, each judged as a comparison of its own."""
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
    """Whether a variant is found to be equal to itself.

    Args:
        whole: of the whole session, disturbed blocks included.
        judged: of each comparison in it.
    """
    names = (END_TO_END, *STAGES, *TOKEN_TIMINGS, *((THROUGHPUT,) if whole.throughput is not None else ()))
    trials = tuple(_trial(name, [timing for one in judged for timing in one.timings() if timing.name == name]) for name in names)
    limit = most_by_chance(len(judged), RARE)
    total = trials[0]
    refused = next((one for one in (whole, *judged) if one.verdict in (Verdict.INVALID, Verdict.OUTPUT_DIFFERS)), None)
    if refused is not None:
        return SelfTest(trials, limit, False, False, f"{refused.verdict}: {'; '.join(refused.reasons)}")
    if total.comparisons < len(judged) or not judged:
        return SelfTest(trials, limit, False, False, "too few blocks for an interval")
    if total.significant > limit:
        return SelfTest(trials, limit, True, False, f"{total.significant} of {total.comparisons} found a difference; {limit} may by chance")
    if total.mean is not None and not total.mean.low <= 1 <= total.mean.high:
        summary = f"together they find a difference that does not exist: speedup {total.mean.low:.4f}x - {total.mean.high:.4f}x"
        return SelfTest(trials, limit, True, False, summary)
    often = {trial.name: most_by_chance(len(judged), RARE / len(trials), level_of_each(family_size(trial.name))) for trial in trials}
    if loud := [f"{trial.name} more than {often[trial.name]}" for trial in trials if trial.significant > often[trial.name]]:
        summary = f"of {len(judged)} comparisons, {' and '.join(loud)} found a difference that does not exist"
        return SelfTest(trials, limit, True, False, summary)
    return SelfTest(
        trials, limit, True, True, f"{total.significant} of {total.comparisons} found a difference; up to {limit} may by chance"
    )


def _trial(name: str, timings: Sequence[Timing]) -> Trial:
    known = [timing.interval for timing in timings if timing.interval is not None]
    logs = [math.log(interval.ratio) for interval in known]
    return Trial(
        name,
        len(known),
        sum(interval.excludes_1 for interval in known),
        sum(timing.claim in CLAIMED for timing in timings),
        math.expm1(float(np.quantile(np.abs(logs), QUANTILE))) if logs else math.inf,
        estimate({index: [value] for index, value in enumerate(logs)}) if len(logs) > 1 else None,
    )


def most_by_chance(comparisons: int, rare: float, level: float = LEVEL) -> int:
    """Number of significant comparisons that is exceeded in a share `rare` of self-tests of an unchanged variant: 3 of 20 for 2 %.

    Args:
        level: how often an interval excludes 1 by chance.
    """
    most, within = 0, (1 - level) ** comparisons
    while within < 1 - rare:
        most += 1
        within += math.comb(comparisons, most) * level**most * (1 - level) ** (comparisons - most)
    return most


@dataclass(frozen=True)
class PlantedStage:
    """A stage of a comparison in which one side was slowed down in one stage."""

    stage: str
    interval: Interval
    """Simultaneous with those of the other stages."""

    @property
    def differs(self) -> bool:
        return self.interval.excludes_1


def look_for_planted(judged: Judgement) -> tuple[PlantedStage, ...]:
    """The interval of each stage. A claim in a report also needs a difference above the claim threshold."""
    return tuple(PlantedStage(timing.name, timing.interval) for timing in judged.stages if timing.interval is not None)


def find_planted(stages: Sequence[PlantedStage], delay: Delay) -> tuple[bool, str]:
    """Whether a planted delay was found in its stage and in no other."""
    found = [stage for stage in stages if stage.differs]
    if not found:
        return False, f"the delay of {delay.share:.1%} in {delay.stage} was not found; more --blocks and --invocations detect less"
    if [stage.stage for stage in found] == [delay.stage] and found[0].interval.high < 1:
        return True, f"the delay of {delay.share:.1%} was found in {delay.stage} and in no other stage"
    stages_found = " and ".join(stage.stage for stage in found)
    return False, f"a delay of {delay.share:.1%} was planted in {delay.stage}, and a difference was found in {stages_found}"


def noise_floors(test: SelfTest) -> dict[str, float]:
    """Name of a timing -> its noise floor."""
    return {trial.name: trial.noise_floor for trial in test.trials if math.isfinite(trial.noise_floor)}
