"""From one variant to another, one choice at a time: what has to be compared, and which choice is a speedup. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from evbench.choices import STREAM, Variant
from evbench.errors import UserError
from evbench.pipelines.registry import KINDS, PARTS
from evbench.results import STAGES, Grade, Plan, Side, Workload
from evbench.variants.named import change, conflict, effective
from evbench.verdict.judgement import CLAIMED, Judgement, Timing, Verdict
from evbench.verdict.statistics import FEWEST_BLOCKS, LEVEL, Interval, holm

Kind = Literal["rung", "whole", "without"]
"""The rung below against this one; the lowest against the top; the top with one choice taken back against the top."""
CORRECTED: tuple[Kind, ...] = ("rung", "without")
"""Kinds whose claims are corrected for the number of choices, each kind on its own."""


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
        concerned = {stage for part in self.parts for stage in PARTS[part].stages}
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


@dataclass(frozen=True)
class RungOutcome:
    """Outcome of a comparison."""

    verdict: Verdict | None
    """Of this comparison alone. None if it could not be run."""
    reasons: tuple[str, ...]
    """Of a verdict other than FASTER, SAME and SLOWER; or why it could not be run."""
    preserved: Grade | None
    """Equivalence of the outputs: the worst grade. None if they were not compared."""
    end_to_end: RungTiming | None
    """None if it could not be run."""
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
    """The verdict, corrected for the number of choices: INCONCLUSIVE where a difference is significant only alone. None if not run."""


# What is compared.


def plan(lower: Variant, upper: Variant, model: str, kind: str, leave_one_out: bool) -> tuple[Step, ...]:
    """In the order in which it is run. Of either side, no two choices may exclude each other.

    A part that has no effect on such input is no rung. Samples are looked at one by one, where `prefetch` has none: the upper side has the
    lower one's.

    Raises:
        UserError: both have the same choices of what has an effect.
    """
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
    return _once(steps, model, kind)


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


def count(steps: Sequence[Step]) -> dict[Kind, int]:
    """Number of choices of each corrected kind."""
    return {kind: sum(step.kind == kind for step in steps) for kind in CORRECTED}


def least_blocks(steps: Sequence[Step]) -> int:
    """Minimum number of blocks of one sample with which a choice can be claimed among so many."""
    choices = max(count(steps).values())
    blocks = FEWEST_BLOCKS
    while choices * 2.0 ** (1 - blocks) >= LEVEL:  # the smallest p of the signed ranks of so many blocks
        blocks += 1
    return blocks


def too_few(steps: Sequence[Step], workload: Workload, plan: Plan) -> str:
    """In words, if no speedup of a choice could be claimed, whatever is measured. Empty otherwise."""
    least = least_blocks(steps)
    if len(workload.samples) > 1 or plan.precision is not None or plan.blocks >= least:
        return ""
    choices = max(count(steps).values())
    return f"{plan.blocks} blocks are too few to claim a speedup among {choices} choices; it takes at least --blocks {least}"


# Outcomes.


def outcome(step: Step, judged: Judgement) -> RungOutcome:
    """Of a comparison that ended."""
    shown = judged.preserved not in (None, "fail")
    assert judged.verdict is not None
    return RungOutcome(
        judged.verdict,
        judged.reasons,
        judged.preserved,
        _rung_timing(judged.end_to_end, shown),
        {timing.name: _rung_timing(timing, shown) for timing in judged.stages if timing.name in step.stages()},
        tuple(judged.flags),
        judged.exit_code,
    )


def failed(reason: str) -> RungOutcome:
    """Of a comparison that could not be run."""
    return RungOutcome(None, (reason,), None, None, {}, (), 1)


def _rung_timing(timing: Timing, shown: bool) -> RungTiming:
    """No speedup of sides whose outputs differ, or were not compared."""

    def median(side: Side) -> float | None:
        found = timing.sides.get(side)
        return None if found is None else found.median

    return RungTiming(median("baseline"), median("optimized"), timing.interval if shown else None, timing.claim if shown else None)


def account(steps: Sequence[Step], outcomes: Mapping[str, RungOutcome]) -> tuple[Rung, ...]:
    """Each step with its outcome, by folder.

    One that was not run yet counts as one without a difference, so that what is claimed before the end is claimed at the end.
    """
    chances: dict[str, float] = {}
    for kind in CORRECTED:
        chances |= holm({step.name: _chance(outcomes.get(step.folder)) for step in steps if step.kind == kind})
    return tuple(Rung(step, (found := outcomes.get(step.folder)), _claim(found, chances.get(step.name, 0.0))) for step in steps)


def _chance(found: RungOutcome | None) -> float:
    return 1.0 if found is None or found.end_to_end is None or found.end_to_end.interval is None else found.end_to_end.interval.p


def _claim(found: RungOutcome | None, p: float) -> Verdict | None:
    if found is None:
        return None
    return Verdict.INCONCLUSIVE if found.verdict in CLAIMED and p >= LEVEL else found.verdict


def exit_code(rungs: Sequence[Rung]) -> int:
    """That of the whole, or 1 if a comparison could not be run. Of a ladder that ended."""
    ended = [rung.outcome for rung in rungs if rung.outcome is not None]
    if any(found.verdict is None for found in ended):
        return 1
    return next(rung.outcome.exit_code for rung in rungs if rung.step.kind == "whole" and rung.outcome is not None)
