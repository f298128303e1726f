"""A sweep and what came of its points -> words and tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evbench.report.render import Table, file_of, printable, tables_and_notes
from evbench.report.units import NOT_MEASURED, format_claimed, format_ratios, format_seconds, format_signed
from evbench.results import SIDES, Plan, Side, Workload
from evbench.verdict import sweep
from evbench.verdict.blocks import END_TO_END, TPOT
from evbench.verdict.judgement import CLAIMED
from evbench.verdict.lines import Bounded
from evbench.verdict.sweep import NEAR, Axis, Curve, MeasuredPoint, Point, PointOutcome, PointTiming

BATCH = "batch"
UNITS = {"frames": "frame", "new-tokens": "token", BATCH: "sample"}
"""Axis -> one of its amount."""


@dataclass(frozen=True)
class Account:
    """What the reports of a sweep are made of."""

    axes: tuple[Axis, ...]
    points: tuple[MeasuredPoint, ...]
    variants: Mapping[str, str]
    """Side -> the name of its variant. One variant alone is the baseline."""
    workload: Workload
    """Of the first point."""
    plan: Plan
    started: str
    command: str

    def curves(self) -> tuple[Curve, ...]:
        return sweep.curves(self.axes, self.points)


def in_words(axes: Sequence[Axis]) -> str:
    """As they were asked for."""
    return " and ".join(f"{axis.name}={','.join(map(str, axis.values))}" for axis in axes)


def _place(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def headline(account: Account) -> str:
    """What was measured, and how much of it there is."""
    variants = " against ".join(reversed(list(account.variants.values())))
    ended = [found.outcome for found in account.points if found.outcome is not None]
    left_out = sum(bool(found.left_out) for found in ended)
    text = f"{variants} over {in_words(account.axes)}: {len(ended)} of {len(account.points)} points measured"
    return printable(text + (f", {left_out} of them in no line" if left_out else ""))


def progress(point: Point, found: PointOutcome, done: int, of: int) -> str:
    """In one line, as soon as it ended."""
    return printable(f"{done} of {of} points: {point.folder}: {_told(found)}")


def _told(found: PointOutcome) -> str:
    if found.failed:
        return f"could not be run: {found.failed}"
    if found.left_out:
        return f"{found.verdict or 'measured'}, in no line: {'; '.join(found.left_out)}"
    timing = found.timings.get(END_TO_END)
    seconds = [] if timing is None else [format_seconds(median) for median in timing.medians.values()]
    return f"{found.verdict or 'measured'}: end-to-end {' -> '.join(seconds) or NOT_MEASURED}"


def exit_reason(account: Account, code: int) -> str:
    """Of a sweep that ended."""
    outcomes = {found.point.folder: found.outcome for found in account.points if found.outcome is not None}
    if failed := [name for name, found in outcomes.items() if found.failed]:
        return printable(f"exit {code}: {', '.join(failed)} could not be run")
    if code:
        wrong = [f"{name} {found.verdict or 'INVALID'}" for name, found in outcomes.items() if found.left_out]
        return printable(f"exit {code}: {', '.join(wrong)}")
    return f"exit {code}: all points measured"


def sentences(account: Account) -> tuple[str, ...]:
    """For each axis, how the end-to-end time, each stage and a token grow along it, at the first values of the other axes."""
    found = [curve for curve in first_rows(account.curves()) if curve.timing not in ("ttft", "prefill")]
    return tuple(printable(f"{_name(curve, account)}: {_growth(curve)}.") for curve in found)


def first_rows(curves: Sequence[Curve]) -> list[Curve]:
    """Of each axis, those at the first values of the others."""
    first: dict[str, dict[str, int]] = {}
    return [curve for curve in curves if first.setdefault(curve.axis, curve.fixed) == curve.fixed]


def _name(curve: Curve, account: Account) -> str:
    side = f"{account.variants[curve.side]}, " if len(account.variants) > 1 else ""
    fixed = f" at {_place(curve.fixed)}" if curve.fixed else ""
    return f"{side}{curve.timing} over {curve.axis}{fixed}"


def _growth(curve: Curve) -> str:
    line, unit = curve.line, UNITS[curve.axis]
    slope, rest = line.slope, format_signed(line.intercept.value)
    shortest, longest = format_seconds(min(curve.seconds)), format_seconds(max(curve.seconds))
    span = shortest if shortest == longest else f"{shortest} to {longest}"
    if slope.low is not None and slope.high is not None and slope.low <= 0 <= slope.high:
        grows = f"no growth found (95% CI {format_signed(slope.low)} to {format_signed(slope.high)} a {unit}): {span}"
    else:
        grows = f"{format_signed(slope.value)} a {unit}{_bounds(slope)}, and {rest} whatever the number"
    return "; ".join(filter(None, [grows, floor_in_words(curve)]))


def _bounds(found: Bounded) -> str:
    return "" if found.low is None or found.high is None else f" (95% CI {format_signed(found.low)} to {format_signed(found.high)})"


def floor_in_words(curve: Curve) -> str:
    """Where it is near its floor. Empty where that is not known."""
    shares = curve.shares()
    if not shares:
        return ""
    percents = f"{shares[0]:.0%}" if len(set(shares)) == 1 else f"{min(shares):.0%} to {max(shares):.0%}"
    if turns := curve.turns():
        told = [f"{'comes near' if near else 'leaves'} its floor between {one} and {other}" for one, other, near in turns]
        return f"{', '.join(told)} (floor {percents} of the time)"
    return f"{'near' if min(shares) >= NEAR else 'away from'} its floor throughout (floor {percents} of the time)"


# Tables.


def tables(account: Account) -> tuple[Table, ...]:
    """The lines along each axis, the points, and the median of each timing at each point."""
    curves = account.curves()
    lines = (_lines(axis, [curve for curve in curves if curve.axis == axis.name], account) for axis in account.axes)
    return (*(found for found in lines if found.rows), _points(account), _medians(account))


def _lines(axis: Axis, curves: Sequence[Curve], account: Account) -> Table:
    rows = []
    for curve in curves:
        line = curve.line
        floor = "-" if curve.floor_line is None else format_signed(curve.floor_line.slope.value)
        places = (_place(curve.fixed) or "-", account.variants[curve.side])
        cells = (*_cells(line.slope), *_cells(line.intercept), f"{line.farthest:.1%}" if line.slope.low is not None else "-")
        rows.append((curve.timing, *places, *cells, floor, floor_in_words(curve) or "-"))
    unit = UNITS[axis.name]
    columns = ("timing", "at", "variant", f"a {unit}", "95% CI", "of none", "95% CI", "off the line", f"floor of a {unit}", "detail")
    return Table(f"Over {axis.name}: seconds = number x slope + intercept", columns, tuple(rows))


def _cells(found: Bounded) -> tuple[str, str]:
    bounds = "-" if found.low is None or found.high is None else f"{format_signed(found.low)} to {format_signed(found.high)}"
    return format_signed(found.value), bounds


def _points(account: Account) -> Table:
    rows = []
    for found in account.points:
        one = found.outcome
        timing = None if one is None else one.timings.get(END_TO_END)
        medians = [_median(timing, side) for side in _sides(account)]
        medians += [_median(timing, side, found.point.values[BATCH]) for side in _sides(account) if BATCH in found.point.values]
        preserved = NOT_MEASURED if one is None or one.preserved is None else one.preserved
        told = "not run yet" if one is None else "; ".join((one.failed or str(one.verdict or "measured"), *one.reasons))
        rows.append((_place(found.point.values), *medians, *_speedup(timing), preserved, told))
    names = [account.variants[side] for side in _sides(account)]
    names += [f"{name}, a sample" for name in names if BATCH in (axis.name for axis in account.axes)]
    columns = ("point", *names, "speedup", "95% CI", "outputs", "detail")
    return Table("Points: median end-to-end time", columns, tuple(rows))


def _medians(account: Account) -> Table:
    names = list(dict.fromkeys(name for found in account.points if found.outcome is not None for name in found.outcome.timings))
    rows = []
    for found in account.points:
        for side in _sides(account):
            timings = {} if found.outcome is None else found.outcome.timings
            rows.append((_place(found.point.values), account.variants[side], *(_median(timings.get(name), side) for name in names)))
    return Table("Median times", ("point", "side", *names), tuple(rows))


def _sides(account: Account) -> list[Side]:
    return [side for side in SIDES if side in account.variants]


def _median(timing: PointTiming | None, side: Side, share: int = 1) -> str:
    """`share`: of so many it is that of one."""
    return NOT_MEASURED if timing is None or side not in timing.medians else format_seconds(timing.medians[side] / share)


def _speedup(timing: PointTiming | None) -> tuple[str, str]:
    if timing is None or timing.interval is None:
        return "-", "-"
    interval = timing.interval
    return format_claimed(interval.ratio, timing.claim in CLAIMED), format_ratios(interval.low, interval.high)


def notes(account: Account) -> tuple[str, ...]:
    """What a reader has to know before believing the tables."""
    several = len(account.variants) > 1
    found = [
        f"Each point is a {'comparison' if several else 'run'} of its own; its folder has the report. Points were run in a shuffled order, "
        "so that a machine that slows down meanwhile makes no slope.",
        "A line has the least relative distances from the medians of its points. Its intervals are 95% CIs, each by itself, by Student's "
        "distribution over the points; of two points there are none, of three they are wide. What is no line, such as a step, widens them "
        "too; 'off the line' is the largest distance of a point, as a share of its time.",
        "A floor is the least time that the work takes at the rates of this machine (docs/measurement.md). A time is near it where the "
        f"floor is {NEAR:.0%} of it or more.",
    ]
    if any(curve.timing == TPOT for curve in account.curves()):
        found.append("A time per token (tpot) is of the mean decode step, which attends to more the longer prompt and answer are.")
    if several:
        found.append(
            "Speedups end-to-end have simultaneous 95% CIs over all points, and one in brackets is not claimed. The report of a point has "
            "an interval of its own."
        )
    left_out = [found for found in account.points if found.outcome is not None and found.outcome.left_out]
    found += [f"{one.point.folder} is in no line: {'; '.join(one.outcome.left_out)}." for one in left_out if one.outcome is not None]
    again = [one.point.folder for one in left_out if one.outcome is not None and not one.outcome.failed]
    found += [f"To measure {' or '.join(again)} again, remove its folder and continue with --resume."] if again else []
    return tuple(map(printable, found))


# Files.


def _subject(account: Account) -> str:
    workload, plan = account.workload, account.plan
    model = f"{workload.model}, {workload.preset or workload.weights}, {workload.dtype} on {workload.device}"
    count = len(workload.samples) * workload.batch
    samples = f"{count} samples, " if count > 1 else ""
    return f"{model}; {samples}planned for each point: at least {plan.blocks} blocks over {plan.invocations} invocations"


def to_markdown(account: Account) -> str:
    """The sweep as a file."""
    lines = ["# Sweep", "", f"{account.started}, `{account.command}`: {_subject(account)}", "", f"**{headline(account)}**", ""]
    lines += [*(f"- {sentence}" for sentence in sentences(account)), ""]
    return file_of([*lines, *tables_and_notes(tables(account), notes(account))])
