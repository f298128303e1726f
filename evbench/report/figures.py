"""A result and its judgement -> the figures of a page. Each says what a table of the page says, and nothing in it is foreign text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evbench.report.drawing import ADDED, INK, MUTED, OPTIMIZED, PAPER, SAVED, colour, sheet, to_svg
from evbench.report.markup import Markup, element
from evbench.report.summary import memory_kind, memory_of_stages
from evbench.report.timings import shown_interval
from evbench.report.units import format_bytes, format_claimed, format_ratio, format_seconds, unit_of
from evbench.results import Result, Side
from evbench.verdict.judgement import CLAIMED, Judgement, Timing
from evbench.verdict.metrics import MEMORY
from evbench.verdict.series import PlacedRun, decode_steps, mean_end_to_end, runs_in_order
from evbench.verdict.statistics import Distribution

ROW = 0.42
"""Inches of one row of bars."""
RATIOS = (0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
"""Ticks of a wide axis of speedups."""
MOST_TICKS = 6
STEPS = (1, 2, 5, 10)
"""Between ticks: 1x is one of them."""


@dataclass(frozen=True)
class Bar:
    """One of a group."""

    value: float
    text: str
    low: float | None = None
    high: float | None = None
    """Ends of its whisker. None for none."""


def speedups(judgement: Judgement) -> Markup | None:
    """With their intervals. None where none may be shown."""
    shown = [timing for timing in (judgement.end_to_end, *judgement.stages, *judgement.tokens) if shown_interval(timing, judgement)]
    if not shown:
        return None
    figure, (axes,) = sheet(0.7 + 0.8 * ROW * len(shown))
    axes.set_xscale("log")
    axes.axvline(1.0, color=INK, linewidth=1.2)
    for place, timing in enumerate(shown):
        _speedup(axes, place, timing, judgement)
    _name_rows(axes, [timing.name for timing in shown])
    intervals = [found for timing in shown if (found := shown_interval(timing, judgement)) is not None]
    low, high = min(1.0, *(found.low for found in intervals)), max(1.0, *(found.high for found in intervals))
    _ratio_ticks(axes, low, high)
    axes.set_xlabel("speedup (right of 1x: the optimized side is faster)")
    told = "; ".join(f"{timing.name} {format_ratio(found.ratio)}" for timing, found in zip(shown, intervals, strict=True))
    caption = (
        "Speedup of each part, with its 95 % confidence interval. A filled mark is a difference that is claimed, an open one is not. "
        "1x is no change."
    )
    return _figure(figure, "speedups", f"Speedups: {told}", caption)


def _speedup(axes: Axes, place: int, timing: Timing, judgement: Judgement) -> None:
    interval = shown_interval(timing, judgement)
    assert interval is not None
    claimed = timing.claim in CLAIMED
    axes.plot([interval.low, interval.high], [place, place], color=OPTIMIZED, linewidth=2.5)
    axes.plot(interval.ratio, place, "o", color=OPTIMIZED, markerfacecolor=OPTIMIZED if claimed else PAPER, markersize=8)
    text = format_claimed(interval.ratio, claimed)
    behind = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}  # the line of no change does not cross it
    axes.annotate(text, (interval.high, place), (6, 0), textcoords="offset points", va="center", bbox=behind)


def _ratio_ticks(axes: Axes, low: float, high: float) -> None:
    margin = (high / low) ** 0.08
    room = (high / low) ** 0.3  # for the text behind the last interval
    axes.set_xlim(low / margin, high * max(room, 1.002))
    ticks = [tick for tick in RATIOS if low / margin <= tick <= high * margin]
    if len(ticks) > MOST_TICKS:
        ticks = [tick for tick in ticks if f"{tick:g}".strip("0.") == "1"]
    if len(ticks) < 3:
        ticks = [float(tick) for tick in MaxNLocator(4, steps=STEPS).tick_values(low, high) if low / margin <= tick <= high * margin]
    axes.set_xticks(ticks, [f"{tick:.4g}x" for tick in ticks])
    axes.minorticks_off()


def times(judgement: Judgement) -> Markup | None:
    """Median times as bars, with the range of single runs."""
    shown = [timing for timing in (*judgement.stages, judgement.end_to_end) if any(timing.sides.values())]
    if not shown:
        return None
    bars = {timing.name: {side: _time_bar(found) for side, found in timing.sides.items() if found is not None} for timing in shown}
    figure, axes = _grouped(bars, tuple(judgement.end_to_end.sides))
    _seconds_on(axes, max(bar.high or bar.value for row in bars.values() for bar in row.values()))
    caption = "Median time of each stage and of one sample end-to-end. The thin line is from the fastest run to the slowest one."
    return _figure(figure, "times", _told("Median times", bars), caption)


def _time_bar(found: Distribution) -> Bar:
    return Bar(found.median, format_seconds(found.median), found.minimum, found.maximum)


def memory(judgement: Judgement) -> Markup | None:
    """Peak of each stage, of the kind that the summary tells."""
    kind = memory_kind(judgement)
    if kind is None:
        return None
    bars: dict[str, dict[Side, Bar]] = {}
    for stage, metric in memory_of_stages(kind, judgement).items():
        medians = {side: found.median if isinstance(found, Distribution) else found for side, found in metric.sides.items()}
        bars[stage] = {side: Bar(found / 2**30, format_bytes(round(found))) for side, found in medians.items() if found is not None}
    if not any(bars.values()):
        return None
    figure, axes = _grouped(bars, tuple(judgement.end_to_end.sides))
    axes.set_xlabel("GiB")
    return _figure(figure, "memory", _told("Memory", bars), f"Memory of each stage, median over its runs: {MEMORY[kind][0]}.")


def floors(judgement: Judgement) -> Markup | None:
    """How much of each time is physically needed."""
    shares = {name: found for name, found in judgement.floor_shares().items() if found}
    if not shares:
        return None
    bars = {name: {side: Bar(share, f"{share:.1%}") for side, share in found.items()} for name, found in shares.items()}
    figure, axes = _grouped(bars, tuple(judgement.end_to_end.sides))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.set_xlabel("physical floor / median")
    caption = (
        "Roofline: the least time that the work takes by the measured rates of this machine, as a share of the median time. "
        "100 % would be as fast as it can be."
    )
    return _figure(figure, "floors", _told("Share of the physical floor", bars), caption)


def waterfall(result: Result, judgement: Judgement) -> Markup | None:
    """From the baseline's mean to the optimized one."""
    before = mean_end_to_end(result, "baseline")
    if judgement.difference is None or before is None:
        return None
    parts, total = judgement.difference.parts, judgement.difference.total
    figure, (axes,) = sheet(0.6 + ROW * (len(parts) + 2))
    axes.barh(0, before, color=colour("baseline"), height=0.6)
    after, largest = before, before
    for place, part in enumerate(parts, start=1):
        axes.plot([after, after], [place - 0.7, place + 0.3], color=MUTED, linewidth=0.8)
        axes.barh(place, -part.seconds, left=after, color=SAVED if part.seconds > 0 else ADDED, height=0.6)
        text = f"{'saves' if part.seconds > 0 else 'adds'} {format_seconds(abs(part.seconds))}"
        right = max(after, after - part.seconds)
        axes.annotate(text, (right, place), (5, 0), textcoords="offset points", va="center")
        after -= part.seconds
        largest = max(largest, right)
    last = len(parts) + 1
    axes.plot([after, after], [last - 0.7, last + 0.3], color=MUTED, linewidth=0.8)
    axes.barh(last, after, color=colour("optimized"), height=0.6)
    for place, seconds in ((0, before), (last, after)):
        axes.annotate(format_seconds(seconds), (seconds, place), (5, 0), textcoords="offset points", va="center")
    _name_rows(axes, ["baseline", *(part.name for part in parts), "optimized"])
    axes.set_xlim(0, 1.65 * largest)  # room for the text behind the longest bar
    _seconds_on(axes, largest)
    told = "; ".join(f"{part.name} {format_seconds(abs(part.seconds))} {'saved' if part.seconds > 0 else 'added'}" for part in parts)
    label = f"From {format_seconds(before)} to {format_seconds(after)}: {told}"
    caption = f"From the baseline's mean time to the optimized one: {format_seconds(abs(total.seconds))} in all, by part."
    if judgement.claim not in CLAIMED:
        caption += " No difference is claimed: these may be noise."
    return _figure(figure, "waterfall", label, caption)


def tokens(result: Result) -> Markup | None:
    """Time of each decode step over the answer."""
    steps = decode_steps(result)
    if not steps:
        return None
    figure, (axes,) = sheet(2.6)
    unit, size = unit_of(max(step.median for found in steps.values() for step in found))
    for side, found in steps.items():
        numbers = range(2, len(found) + 2)  # the first token is of the prefill
        axes.plot(numbers, [step.median / size for step in found], color=colour(side), linewidth=2, label=side, linestyle=LINES[side])
        lowest, highest = [step.minimum / size for step in found], [step.maximum / size for step in found]
        axes.fill_between(numbers, lowest, highest, color=colour(side), alpha=0.2, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("token of the answer")
    axes.set_ylabel(f"time, {unit}")
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=2)
    told = "; ".join(
        f"{side} from {format_seconds(found[0].median)} to {format_seconds(found[-1].median)}" for side, found in steps.items()
    )
    caption = "Time of each token after the first one: the median over all runs, and around it from the fastest run to the slowest one."
    return _figure(figure, "steps", f"Time for each token, first to last: {told}", caption)


LINES: dict[Side, str] = {"baseline": "--", "optimized": "-"}


def runs(result: Result) -> Markup | None:
    """Every run but first calls, at its place in the session."""
    placed = [run for run in runs_in_order(result) if run.kind != "first"]
    sides = tuple(result.variants())
    figure, panels = sheet(0.7 + 1.7 * len(sides), len(sides))
    for side, axes in zip(sides, panels, strict=True):
        own = [run for run in placed if run.side == side]
        _runs_of(axes, side, own)
    panels[-1].set_xlabel("place in the session")
    ranges = "; ".join(f"{side} {_from_to([run for run in placed if run.side == side])}" for side in sides)
    caption = (
        "Every run in the order in which they happened, so that a drift is seen. Dots are end-to-end, triangles the sum of synchronized "
        "stages; open ones are warm-up and other runs that no block counts, a cross is of a disturbed block. Dotted lines: new processes. "
        "The axes do not begin at zero. First calls are left out."
    )
    if len({measured.session for measured in result.variants().values()}) > 1:
        caption += " The sides were measured apart: a place of one says nothing of the other."
    return _figure(figure, "runs", f"Runs in time order: {ranges}", caption)


def _runs_of(axes: Axes, side: Side, own: Sequence[PlacedRun]) -> None:
    unit, size = unit_of(max((run.seconds for run in own), default=1.0))
    for synchronized, mark in ((False, "o"), (True, "^")):
        for counted in (False, True):
            some = [run for run in own if run.synchronized is synchronized and _counts(run) is counted and not run.disturbed]
            axes.plot(*_places(some, size), mark, color=colour(side), markerfacecolor=colour(side) if counted else PAPER, markersize=5)
    axes.plot(*_places([run for run in own if run.disturbed], size), "x", color=ADDED, markersize=6)
    for one, other in pairwise(own):
        if one.invocation is not None and other.invocation is not None and one.invocation != other.invocation:
            axes.axvline((one.turn + other.turn) / 2 + 1, color=MUTED, linestyle=":", linewidth=1)
    axes.set_title(side, loc="left", fontsize=12, color=INK)
    axes.set_ylabel(f"time, {unit}")
    axes.grid(axis="y")


def _counts(run: PlacedRun) -> bool:
    return run.kind == "timed"


def _places(some: Sequence[PlacedRun], size: float) -> tuple[list[int], list[float]]:
    return [run.turn + 1 for run in some], [run.seconds / size for run in some]


def _from_to(some: Sequence[PlacedRun]) -> str:
    seconds = [run.seconds for run in some]
    return f"between {format_seconds(min(seconds))} and {format_seconds(max(seconds))}" if seconds else "none"


def _grouped(bars: Mapping[str, Mapping[Side, Bar]], sides: Sequence[Side]) -> tuple[Figure, Axes]:
    """Rows of bars, one for each side."""
    figure, (axes,) = sheet(0.8 + ROW * len(bars) * (1.0 + 0.35 * (len(sides) - 1)))
    height = 0.8 / len(sides)
    for number, side in enumerate(sides):
        places = [place + (number - (len(sides) - 1) / 2) * height for place, row in enumerate(bars.values()) if side in row]
        own = [row[side] for row in bars.values() if side in row]
        axes.barh(places, [bar.value for bar in own], color=colour(side), height=0.9 * height, label=side)
        for place, bar in zip(places, own, strict=True):
            if bar.low is not None and bar.high is not None:
                axes.plot([bar.low, bar.high], [place, place], color=INK, linewidth=1.2)
            axes.annotate(bar.text, (bar.high or bar.value, place), (5, 0), textcoords="offset points", va="center", fontsize=11)
    _name_rows(axes, list(bars))
    axes.set_xlim(0, 1.35 * max(bar.high or bar.value for row in bars.values() for bar in row.values()))
    if len(sides) > 1:
        figure.legend(loc="outside upper left", ncols=2)
    return figure, axes


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """From above to below."""
    axes.set_yticks(range(len(names)), [textwrap.fill(name, 20) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _seconds_on(axes: Axes, largest: float) -> None:
    unit, size = unit_of(largest)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / size:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.set_xlabel(f"time, {unit}")


def _told(what: str, bars: Mapping[str, Mapping[Side, Bar]]) -> str:
    rows = (f"{name} {', '.join(f'{side} {bar.text}' for side, bar in row.items())}" for name, row in bars.items())
    return f"{what}: {'; '.join(rows)}"


def _figure(figure: Figure, name: str, label: str, caption: str) -> Markup:
    return element("figure", to_svg(figure, name, label), element("figcaption", caption))
