"""One variant, or two, at several amounts of work: which points there are, and how the time of each stage grows with the amount. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evbench.errors import UserError, nearest
from evbench.results import Result, Side
from evbench.verdict.judgement import Judgement, Preserved, Verdict
from evbench.verdict.lines import Line, fit
from evbench.verdict.refusal import disturbed_too_often
from evbench.verdict.statistics import Interval

AXES = ("frames", "new-tokens", "batch")
"""Options that a sweep can be over: the amounts of work that a pipeline takes another number of."""
FEWEST, MOST = 2, 64
"""Values of an axis at least, and points of a sweep at most."""
NEAR = 0.5
"""Share of a time that its physical floor is at least, for the time to count as near it."""


@dataclass(frozen=True)
class Axis:
    """An amount of work, and the values that it has."""

    name: str
    """Of AXES."""
    values: tuple[int, ...]
    """Ascending, no two of them equal."""


@dataclass(frozen=True)
class Point:
    """One value of each axis."""

    values: dict[str, int]
    """Name of the axis -> its value."""
    folder: str
    """Of its result, within that of the sweep."""


@dataclass(frozen=True)
class PointTiming:
    """A timing at one point."""

    medians: dict[Side, float]
    """Seconds. Without a side that has no such timing."""
    floor: float | None
    """The least seconds that such work takes on the machine. None if it is not known."""
    interval: Interval | None
    """Of the speedup. None of one variant, and where nothing may be claimed."""
    claim: Verdict | None


@dataclass(frozen=True)
class PointOutcome:
    """What came of one point."""

    verdict: Verdict | None
    """Of a comparison, among those of all points. None of one variant."""
    failed: str
    """Why it could not be run. Empty if it was."""
    left_out: tuple[str, ...]
    """Why its times are no part of a line. Empty if they are."""
    reasons: tuple[str, ...]
    """Of a verdict other than FASTER, SAME and SLOWER."""
    preserved: Preserved | None
    timings: dict[str, PointTiming]
    """In the order of a report, end-to-end first."""


@dataclass(frozen=True)
class MeasuredPoint:
    """A point, and what came of it. None if it was not run yet."""

    point: Point
    outcome: PointOutcome | None


@dataclass(frozen=True)
class Curve:
    """How one timing of one side grows along one axis."""

    axis: str
    fixed: dict[str, int]
    """Values of the other axes."""
    side: Side
    timing: str
    amounts: tuple[int, ...]
    """Along the axis, ascending: those with a time."""
    seconds: tuple[float, ...]
    """Median at each of them."""
    line: Line
    floors: tuple[float, ...]
    """Seconds at each amount. Empty if they are not known at all of them."""
    floor_line: Line | None
    """Through the floors."""

    def shares(self) -> tuple[float, ...]:
        """Floor over median at each amount: 1 is as fast as the machine can be. Empty without floors."""
        return tuple(floor / seconds for floor, seconds in zip(self.floors, self.seconds, strict=True)) if self.floors else ()

    def turns(self) -> tuple[tuple[int, int, bool], ...]:
        """Neighbouring amounts between which it comes near its floor (True) or leaves it (False)."""
        near = [share >= NEAR for share in self.shares()]
        places = itertools.pairwise(zip(self.amounts, near, strict=True)) if near else ()
        return tuple((one, other, after) for (one, before), (other, after) in places if before != after)


# Points.


def read_axes(asked: Sequence[str]) -> tuple[Axis, ...]:
    """`frames=4,8,16` and others, each one axis.

    Raises:
        UserError: an axis is unknown, given twice, has too few values or such as are no amount; or there are too many points.
    """
    axes = tuple(map(_axis, asked))
    if not axes:
        raise UserError(f"a sweep goes over something: give --over, such as --over {AXES[0]}=4,8,12")
    names = [axis.name for axis in axes]
    if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise UserError(f"--over {twice} is given twice; give all its values at once, such as --over {twice}=4,8,12")
    if (count := len(points(axes))) > MOST:
        raise UserError(f"--over has {count} points, and {MOST} are the most; give fewer values")
    return axes


def _axis(text: str) -> Axis:
    name, equals, listed = text.partition("=")
    name = name.strip()
    if name not in AXES:
        raise UserError(f"--over {text!r} names no amount of work; {nearest(name, list(AXES))}")
    values = [_value(name, one) for one in listed.split(",")] if equals else []
    if len(set(values)) < max(FEWEST, len(values)):
        raise UserError(f"--over {text!r} has no {FEWEST} values that all differ; write it such as {name}=4,8,12")
    return Axis(name, tuple(sorted(values)))


def _value(name: str, text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit() and len(text.strip()) < 10):
        raise UserError(f"--over {name}: {text.strip()!r} is no whole number above 0; write it such as {name}=4,8,12")
    return int(text)


def points(axes: Sequence[Axis]) -> tuple[Point, ...]:
    """Each value of each axis with each of the others, the last axis fastest."""
    names = [axis.name for axis in axes]
    combined = (dict(zip(names, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes)))
    return tuple(Point(values, "-".join(f"{name}-{value}" for name, value in values.items())) for values in combined)


def order(of: Sequence[Point]) -> list[Point]:
    """That in which they are run: shuffled, always the same way, so that a machine which slows down makes no slope."""
    shuffled = list(of)
    random.Random(len(shuffled)).shuffle(shuffled)
    return shuffled


# Outcomes.


def outcome(result: Result, judgement: Judgement) -> PointOutcome:
    """Of a point that was run.

    Args:
        judgement: of the result, as one of the comparisons of its sweep.
    """
    left_out = judgement.reasons if judgement.verdict in (Verdict.INVALID, Verdict.OUTPUT_DIFFERS) else ()
    if judgement.verdict is None:
        inactive = (f"no evidence that {', '.join(judgement.inactive)} was active",) if judgement.inactive else ()
        left_out = (*disturbed_too_often(result.sessions), *inactive)
    shown = judgement.verdict is not None and not left_out and judgement.preserved not in (None, "fail")
    timings = {}
    for timing in (judgement.end_to_end, *judgement.stages, *judgement.tokens):
        medians: dict[Side, float] = {side: found.median for side, found in timing.sides.items() if found is not None}
        interval, claim = (timing.interval, timing.claim) if shown else (None, None)
        if medians:
            # One floor for both sides: there is none where a side has another.
            known = {found.get(timing.name) for found in (judgement.floors, *judgement.side_floors.values())}
            floor = known.pop() or None if len(known) == 1 else None
            timings[timing.name] = PointTiming(medians, floor, interval, claim)
    return PointOutcome(judgement.verdict, "", tuple(left_out), judgement.reasons, judgement.preserved, timings)


def failed(reason: str) -> PointOutcome:
    """Of a point that could not be run."""
    return PointOutcome(None, reason, (reason,), (), None, {})


def exit_code(measured: Sequence[MeasuredPoint]) -> int:
    """1 if a point could not be run; else 6 if one is invalid, 5 if outputs differ at one; else 0. Of a sweep that ended."""
    ended = [found.outcome for found in measured if found.outcome is not None]
    if any(found.failed for found in ended):
        return 1
    verdicts = {found.verdict for found in ended}
    invalid = Verdict.INVALID in verdicts or any(found.left_out and found.verdict is None for found in ended)
    return 6 if invalid else 5 if Verdict.OUTPUT_DIFFERS in verdicts else 0


# Curves.


def curves(axes: Sequence[Axis], measured: Sequence[MeasuredPoint]) -> tuple[Curve, ...]:
    """Of each axis, at each value of the others, each side and timing: a line where there are two points or more."""
    known = [(found.point, found.outcome) for found in measured if found.outcome is not None and not found.outcome.left_out]
    sides = list(dict.fromkeys(side for _, one in known for timing in one.timings.values() for side in timing.medians))
    names = list(dict.fromkeys(name for _, one in known for name in one.timings))
    made = []
    for axis in axes:
        for fixed, row in _rows(axis, known).items():
            made += [_curve(axis, dict(fixed), side, name, row) for side in sides for name in names]
    return tuple(curve for curve in made if curve is not None)


def _rows(axis: Axis, known: Sequence[tuple[Point, PointOutcome]]) -> Mapping[tuple[tuple[str, int], ...], list[tuple[int, PointOutcome]]]:
    """Values of the other axes -> (value of this axis, outcome), ascending."""
    rows: dict[tuple[tuple[str, int], ...], list[tuple[int, PointOutcome]]] = {}
    for point, found in sorted(known, key=lambda one: one[0].values[axis.name]):
        others = tuple((name, value) for name, value in point.values.items() if name != axis.name)
        rows.setdefault(others, []).append((point.values[axis.name], found))
    return dict(sorted(rows.items()))


def _curve(axis: Axis, fixed: dict[str, int], side: Side, name: str, row: Sequence[tuple[int, PointOutcome]]) -> Curve | None:
    found = [(amount, timing) for amount, one in row if (timing := one.timings.get(name)) is not None and side in timing.medians]
    amounts, seconds = tuple(amount for amount, _ in found), tuple(timing.medians[side] for _, timing in found)
    line = fit(list(zip(amounts, seconds, strict=True)))
    if line is None:
        return None
    floors = tuple(timing.floor for _, timing in found if timing.floor is not None)
    floors = floors if len(floors) == len(found) else ()
    return Curve(axis.name, fixed, side, name, amounts, seconds, line, floors, fit(list(zip(amounts, floors, strict=False))))
