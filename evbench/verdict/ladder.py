"""From one variant to another, one choice at a time: what has to be compared, and which choice is a speedup. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from evbench.choices import STREAM, Variant
from evbench.errors import UserError, nearest
from evbench.pipelines.registry import KINDS, OWN, PARTS, lossy
from evbench.results import STAGES, Side
from evbench.variants.named import change, conflict, effective
from evbench.verdict.judgement import CLAIMED, MIN_CLAIM, Judgement, Preserved, Timing, Verdict
from evbench.verdict.statistics import Interval

Kind = Literal["rung", "whole", "without", "subset"]
"""The rung below against this one; the lowest against the top; the top with one choice taken back against the top; the lowest against
itself with some of the choices."""
FEWEST_FACTORS, MOST_FACTORS = 2, 5
"""Choices that are combined with each other. Of five half of the combinations are enough, 15 beside none; more take too long."""
CORRECTED: tuple[Kind, ...] = ("rung", "without")
"""Kinds of which there is one for each choice: their intervals are simultaneous."""


@dataclass(frozen=True)
class Step:
    """One comparison."""

    kind: Kind
    name: str
    folder: str
    """Folder of its result: its own name, or that of an earlier step of the same two sides, which are compared once."""
    parts: tuple[str, ...]
    """Parts in which the sides differ. After the first: those that have to change with it."""
    baseline: Variant
    optimized: Variant
    remark: str
    """Why it waited, or why other choices change with it. Empty if neither."""

    def choice(self) -> str:
        """What the upper side has and the lower has not, in words."""
        chosen = [f"{part}={self.optimized.choices()[part]}" for part in self.parts]
        return chosen[0] + (f", and with it {' and '.join(chosen[1:])}" if chosen[1:] else "")

    def stages(self) -> tuple[str, ...]:
        """Stages in which its parts are active."""
        entries = [PARTS[part].entries[self.optimized[part]] for part in self.parts]
        concerned = {stage for part in self.parts for stage in PARTS[part].stages}
        # A model that drafts works in stages of others, too.
        concerned |= {one.stage for entry in entries if entry.drafter for one in entry.evidence}
        return tuple(stage for stage in STAGES if stage in concerned)


@dataclass(frozen=True)
class RungTiming:
    """A timing of both sides, in short."""

    baseline_seconds: float | None
    """Median."""
    optimized_seconds: float | None
    interval: Interval | None
    """Of the speedup. None if nothing may be claimed."""
    claim: Verdict | None
    """Of this comparison alone."""
    claim_threshold: float = MIN_CLAIM
    """No smaller difference is claimed. Older ladders do not tell it."""


@dataclass(frozen=True)
class RungOutcome:
    """Outcome of a comparison."""

    verdict: Verdict | None
    """Of this comparison alone. None if it could not be run."""
    reasons: tuple[str, ...]
    """Of a verdict other than FASTER, SAME and SLOWER; or why it could not be run."""
    preserved: Preserved | None
    """Equivalence of the outputs: the worst grade. None if they were not compared."""
    end_to_end: RungTiming | None
    """With the interval of this comparison alone. None if it could not be run."""
    among_choices: RungTiming | None
    """End-to-end, with an interval that is simultaneous with those of the other choices. None if it could not be run."""
    stages: dict[str, RungTiming]
    """Stages that it concerns."""
    flags: tuple[str, ...]
    """Names of the flags of its report."""
    exit_code: int


@dataclass(frozen=True)
class Rung:
    """A comparison, its outcome, and what may be claimed where it is one of several."""

    step: Step
    outcome: RungOutcome | None
    """None if it was not run yet."""
    claim: Verdict | None
    """Of one choice, what its interval among the choices says: INCONCLUSIVE where a difference shows only alone. None if not run."""

    @property
    def end_to_end(self) -> RungTiming | None:
        """With the interval that the claim follows from."""
        if self.outcome is None:
            return None
        return self.outcome.among_choices if self.step.kind in CORRECTED else self.outcome.end_to_end


# What is compared.


def plan(lower: Variant, upper: Variant, model: str, kind: str, leave_one_out: bool, combined: Sequence[str] = ()) -> tuple[Step, ...]:
    """In the order in which it is run. Of either side, no two choices may exclude each other.

    A part that has no effect on such input is no rung. Samples are looked at one by one, where `prefetch` has none: the upper side has the
    lower one's.

    Args:
        combined: parts whose choices are also combined with each other, without those of the other parts.

    Raises:
        UserError: both have the same choices of what has an effect; or choices cannot be combined as asked.
    """
    if own := next((side.name for side in (lower, upper) if OWN in side.choices()), ""):
        raise UserError(f"{own} is a pipeline of its own, which has no parts to climb by; compare two of its variants instead")
    if losing := {**lossy(lower.choices(), model), **lossy(upper.choices(), model)}:
        part, choice = next(iter(losing.items()))
        compare = f"evbench compare --baseline {lower.name} --optimized {upper.name}"
        raise UserError(
            f"a ladder is of choices that preserve outputs, and {part}={choice} is lossy by design; compare it instead: {compare}"
        )
    idle = {name: lower[name] for name, part in PARTS.items() if part.stages == (STREAM,) and lower[name] != upper[name]}
    upper = change(upper, idle) if idle else upper
    parts = [part for part, choice in effective(lower, model, kind).items() if upper[part] != choice]
    if not parts:
        alike = lower.choices() == upper.choices()
        same = "the same choices" if alike else f"the same choices of what has an effect on {KINDS[kind].title}"
        reason = f"{lower.name} and {upper.name} have {same}: there is no rung between them; give another --from or --to"
        raise UserError(f"{reason}. The effect of prefetch is measured by compare --throughput")
    steps = _going_up(lower, upper, parts)
    steps.append(_step("whole", "whole", tuple(parts), lower, upper, ""))
    if leave_one_out:
        steps += [_leave_out(part, lower, upper, [other for other in parts if other != part]) for part in parts]
    if combined:
        steps += _combined(lower, upper, parts, combined)
    return _once(steps, model, kind)


def _combined(lower: Variant, upper: Variant, parts: Sequence[str], asked: Sequence[str]) -> list[Step]:
    """All combinations of them, of five those of an even number: interactions of two are told apart from those of fewer than three.

    Raises:
        UserError.
    """
    for part in asked:
        if part not in parts:
            raise UserError(f"--interactions {part}: both sides have the same choice of it, or it has no effect; {nearest(part, parts)}")
        if asked.count(part) > 1:
            raise UserError(f"--interactions names {part} twice; name it once")
    factors = _factors(lower, upper, asked)
    if not FEWEST_FACTORS <= len(factors) <= MOST_FACTORS:
        named = f"{len(factors)} choices that can be taken one by one ({', '.join(' with '.join(factor) for factor in factors)})"
        raise UserError(f"--interactions has {named}; name {FEWEST_FACTORS} to {MOST_FACTORS}")
    sizes = range(1, len(factors) + 1) if len(factors) < MOST_FACTORS else range(2, len(factors) + 1, 2)
    steps = []
    for some in itertools.chain.from_iterable(combinations(factors, size) for size in sizes):
        chosen = tuple(part for factor in some for part in factor)
        if (reason := conflict(_with(lower, upper, chosen))) is not None:
            raise UserError(f"--interactions cannot combine {' and '.join(chosen)} alone: {reason}; leave one of them out")
        steps.append(_step("subset", f"with-{'-'.join(chosen)}", chosen, lower, _with(lower, upper, chosen), ""))
    return steps


def _factors(lower: Variant, upper: Variant, asked: Sequence[str]) -> list[tuple[str, ...]]:
    """Each part by itself, but for those that cannot be without others of them: these are one."""
    factors: list[tuple[str, ...]] = []
    for part in asked:
        others = [other for other in asked if other != part]
        sets = itertools.chain.from_iterable(combinations(others, size) for size in range(len(asked)))
        needed = next((some for some in sets if conflict(_with(lower, upper, [part, *some])) is None), ())
        joined = {part, *needed, *(one for factor in factors if {part, *needed} & set(factor) for one in factor)}
        factors = [factor for factor in factors if not joined & set(factor)] + [tuple(one for one in asked if one in joined)]
    return sorted(factors, key=lambda factor: asked.index(factor[0]))


def _going_up(lower: Variant, upper: Variant, parts: Sequence[str]) -> list[Step]:
    steps: list[Step] = []
    below, waiting, waited = lower, list(parts), dict[str, str]()
    while waiting:
        for part in waiting:
            if (reason := conflict(_with(below, upper, [part]))) is not None:
                waited.setdefault(part, f"{part} had to wait: {reason}")
        chosen = _fewest(waiting, 1, _possible(below, upper))
        waiting = [part for part in waiting if part not in chosen]
        above = _with(below, upper, chosen) if waiting else upper
        remark = "; ".join(waited[part] for part in chosen if part in waited)
        steps.append(_step("rung", f"{len(steps) + 1}-{chosen[0]}-{above.choices()[chosen[0]]}", chosen, below, above, remark))
        below = above
    return steps


def _leave_out(part: str, lower: Variant, upper: Variant, others: Sequence[str]) -> Step:
    """What cannot be without the part is taken back with it."""
    also = _fewest(others, 0, _possible(_with(upper, lower, [part]), lower))
    alone = conflict(_with(upper, lower, [part]))
    remark = "" if alone is None else f"{' and '.join(also)} had to be taken back with {part}: {alone}"
    return _step("without", f"without-{part}-{upper.choices()[part]}", (part, *also), _with(upper, lower, [part, *also]), upper, remark)


def _with(variant: Variant, other: Variant, parts: Sequence[str]) -> Variant:
    """The variant, with the other's choices in some parts."""
    return change(variant, {part: other.choices()[part] for part in parts})


def _possible(variant: Variant, other: Variant) -> Callable[[Sequence[str]], bool]:
    """Whether the variant can have the other's choices in some parts."""
    return lambda parts: conflict(_with(variant, other, parts)) is None


def _fewest(parts: Sequence[str], least: int, possible: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    """The first in order of the smallest sets of parts that are possible. All of them together always are."""
    return next(some for size in range(least, len(parts) + 1) for some in combinations(parts, size) if possible(some))


def _step(kind: Kind, name: str, parts: tuple[str, ...], baseline: Variant, optimized: Variant, remark: str) -> Step:
    return Step(kind, name, name, parts, baseline, optimized, remark)


def _once(steps: Sequence[Step], model: str, kind: str) -> tuple[Step, ...]:
    """Where two steps are the same comparison of this input, the later one uses the folder of the first."""
    folders: dict[tuple[tuple[str, ...], ...], str] = {}
    made = []
    for step in steps:
        sides = tuple(tuple(effective(measured, model, kind).values()) for measured in (step.baseline, step.optimized))
        made.append(replace(step, folder=folders.setdefault(sides, step.name)))
    return tuple(made)


def factors(steps: Sequence[Step]) -> tuple[tuple[str, ...], ...]:
    """Parts that were combined with each other. Those of which none was ever without the others are one."""
    subsets = [step.parts for step in steps if step.kind == "subset"]
    found: dict[tuple[bool, ...], list[str]] = {}
    for part in dict.fromkeys(part for some in subsets for part in some):
        found.setdefault(tuple(part in some for some in subsets), []).append(part)
    return tuple(map(tuple, found.values()))


def choices(steps: Sequence[Step]) -> int:
    """Number of intervals that are simultaneous: of choices going up, left out, or of pairs that were combined, whichever are more."""
    of_choices = (sum(step.kind == kind for step in steps) for kind in CORRECTED)
    return max(*of_choices, math.comb(len(factors(steps)), 2))


# Outcomes.


def outcome(step: Step, alone: Judgement, among: Judgement) -> RungOutcome:
    """Of a comparison that ended.

    Args:
        alone: what it shows by itself.
        among: what it shows as one of the `choices` of its ladder.
    """
    shown = alone.preserved not in (None, "fail")
    assert alone.verdict is not None
    return RungOutcome(
        alone.verdict,
        alone.reasons,
        alone.preserved,
        _rung_timing(alone.end_to_end, shown),
        _rung_timing(among.end_to_end, shown),
        {timing.name: _rung_timing(timing, shown) for timing in alone.stages if timing.name in step.stages()},
        tuple(alone.flags),
        alone.exit_code,
    )


def failed(reason: str) -> RungOutcome:
    """Of a comparison that could not be run."""
    return RungOutcome(None, (reason,), None, None, None, {}, (), 1)


def _rung_timing(timing: Timing, shown: bool) -> RungTiming:
    """No speedup of sides whose outputs differ, or were not compared."""

    def median(side: Side) -> float | None:
        found = timing.sides.get(side)
        return None if found is None else found.median

    interval, claim = (timing.interval, timing.claim) if shown else (None, None)
    return RungTiming(median("baseline"), median("optimized"), interval, claim, timing.claim_threshold)


def account(steps: Sequence[Step], outcomes: Mapping[str, RungOutcome]) -> tuple[Rung, ...]:
    """Each step with its outcome, by folder. What is claimed before the end is claimed at the end."""
    return tuple(Rung(step, (found := outcomes.get(step.folder)), _claim(step, found)) for step in steps)


def _claim(step: Step, found: RungOutcome | None) -> Verdict | None:
    if found is None or step.kind not in CORRECTED:
        return None if found is None else found.verdict
    if found.among_choices is not None and found.among_choices.claim is not None:
        return found.among_choices.claim
    # Without an interval among the choices nothing is claimed; what keeps a comparison from being judged keeps it so among others.
    return Verdict.INCONCLUSIVE if found.verdict in (*CLAIMED, Verdict.SAME) else found.verdict


def exit_code(rungs: Sequence[Rung]) -> int:
    """That of the whole, or 1 if a comparison could not be run. Of a ladder that ended."""
    ended = [rung.outcome for rung in rungs if rung.outcome is not None]
    if any(found.verdict is None for found in ended):
        return 1
    return next(rung.outcome.exit_code for rung in rungs if rung.step.kind == "whole" and rung.outcome is not None)
