"""A sweep -> one HTML file, with a figure for each axis."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from evbench.report import sweep
from evbench.report.document import document
from evbench.report.drawing import MUTED, PAPER, colour, label_times, sheet, style, to_svg
from evbench.report.markup import Markup, element, items, row_of_figures, table
from evbench.report.render import without_empty_columns
from evbench.report.units import format_seconds, unit_of
from evbench.results import Side
from evbench.verdict.sweep import Axis, Curve

PANEL = 1.7
"""Inches of height of the panel of one timing."""
MARK = "<!-- evbench sweep -->"
"""In front of the page, so that it is not taken for the report of a comparison."""
MARKS: dict[Side, str] = {"baseline": "o", "optimized": "^"}


def page(account: sweep.Account, version: str) -> str:
    """The whole page.

    Args:
        version: of the evbench that measured.
    """
    with style():
        drawn = [_figure(axis, account) for axis in account.axes]
    tables = [table(without_empty_columns(found)) for found in sweep.tables(account)]
    sections = {
        "Cost curves": [*row_of_figures(*drawn), items(*sweep.sentences(account))],
        "Tables": tables,
        "Notes": [items(*sweep.notes(account))],
        "How to reproduce it": [element("pre", element("code", account.command))],
    }
    head = element("header", element("h1", "Sweep"), element("p", sweep.headline(account)), element("p", account.started, class_="quiet"))
    return f"{MARK}\n{document('Sweep', head, sections, version)}"


def _figure(axis: Axis, account: sweep.Account) -> Markup | None:
    """The times along an axis, at the first values of the others. None if there is no line."""
    curves = [curve for curve in sweep.first_rows(account.curves()) if curve.axis == axis.name]
    names = list(dict.fromkeys(curve.timing for curve in curves))
    if not names:
        return None
    figure, panels = sheet(0.7 + PANEL * len(names), len(names))
    for name, axes in zip(names, panels, strict=True):
        _panel(axes, name, [curve for curve in curves if curve.timing == name])
    panels[-1].set_xlabel(axis.name)
    panels[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    fixed = f" at {', '.join(f'{name}={value}' for name, value in curves[0].fixed.items())}" if curves[0].fixed else ""
    marks = " Dots are the baseline, triangles the optimized side." if len(account.variants) > 1 else ""
    caption = (
        f"Median times over {axis.name}{fixed}, with the straight line through them; dotted: the physical floor, where it is known.{marks} "
        "Each panel has its own axis, from zero."
    )
    told = "; ".join(f"{curve.timing} {format_seconds(curve.seconds[0])} to {format_seconds(curve.seconds[-1])}" for curve in curves)
    svg = to_svg(figure, f"over-{axis.name}", f"Times over {axis.name}: {told}")
    return element("figure", svg, element("figcaption", caption))


def _panel(axes: Axes, name: str, curves: Sequence[Curve]) -> None:
    unit, size = unit_of(max(seconds for curve in curves for seconds in curve.seconds))
    for curve in curves:
        ends = curve.amounts[0], curve.amounts[-1]
        axes.plot(ends, [curve.line.at(end) / size for end in ends], color=colour(curve.side), linewidth=1.5)
        seconds = [found / size for found in curve.seconds]
        axes.plot(curve.amounts, seconds, MARKS[curve.side], color=colour(curve.side), markerfacecolor=PAPER, markersize=6)
        if curve.floors:
            axes.plot(curve.amounts, [floor / size for floor in curve.floors], ":", color=MUTED, linewidth=1.2)
    label_times(axes, name, unit)
