"""Series of results over time -> one HTML file, with a figure for each."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from evbench import __version__
from evbench.report import history
from evbench.report.document import document
from evbench.report.drawing import ADDED, OPTIMIZED, SAVED, label_times, sheet, style, to_svg
from evbench.report.markup import Markup, element, items, row_of_figures, table
from evbench.report.render import without_empty_columns
from evbench.report.units import format_ratio, format_seconds, unit_of
from evbench.verdict.blocks import END_TO_END
from evbench.verdict.history import Series, steps
from evbench.verdict.statistics import FARTHEST

PANEL = 1.8
"""Inches of height of the panel of one timing."""
SHOWN = (END_TO_END, "load", "preprocess", "vision", "generate")
"""Timings with a panel."""
MOST_DATES = 5


def page(account: history.Account, folder: str) -> str:
    """The whole page, behind a mark that no other page begins with. A series of one result has no figure."""
    with style():
        drawn = [_figure(series, number) for number, series in enumerate(account.series) if len(series.entries) > 1]
    sections = {
        "Over time": [*row_of_figures(*drawn), items(*history.sentences(account))],
        "Tables": [table(without_empty_columns(found)) for found in history.tables(account)],
        "Notes": [items(*history.notes(account))],
    }
    head = element("header", element("h1", "History"), element("p", f"{folder}: {history.headline(account)}"))
    return f"{history.PAGE_MARK}\n{document('History', head, sections, __version__)}"


def _figure(series: Series, number: int) -> Markup:
    names = [name for name in SHOWN if name in series.timings()]
    figure, panels = sheet(0.7 + PANEL * len(names), len(names))
    for name, axes in zip(names, panels, strict=True):
        _panel(axes, series, name)
    count = len(series.entries)
    places = sorted({round(place * (count - 1) / (min(count, MOST_DATES) - 1)) for place in range(min(count, MOST_DATES))})
    panels[-1].set_xticks(places, [series.entries[place].started[5:10] for place in places])
    panels[-1].set_xlabel("results in the order of time, month and day")
    caption = (
        f"{history.name(series)}. Median of each result with its 95 % confidence interval; a vertical line is a step, with the time "
        "before it over the time behind it."
    )
    told = "; ".join(
        f"{name} {format_seconds(series.entries[0].timings[name].seconds)} to {format_seconds(series.entries[-1].timings[name].seconds)}"
        for name in names
    )
    svg = to_svg(figure, f"series-{number}", f"Times over {count} results: {told}")
    return element("figure", svg, element("figcaption", caption))


def _panel(axes: Axes, series: Series, name: str) -> None:
    times = [entry.timings[name] for entry in series.entries]
    unit, size = unit_of(max(one.seconds for one in times))
    axes.plot(range(len(times)), [one.seconds / size for one in times], "o-", color=OPTIMIZED, markersize=4, linewidth=1)
    for place, one in enumerate(times):
        if one.reach is not None:
            factor = math.exp(min(one.reach, FARTHEST))
            axes.plot([place, place], [one.seconds / factor / size, one.seconds * factor / size], color=OPTIMIZED, linewidth=2)
    for step in steps(series, name):
        place = series.entries.index(step.after)
        axes.axvline(place - 0.5, color=ADDED if step.interval.ratio < 1 else SAVED, linewidth=1.5)
        axes.annotate(format_ratio(step.interval.ratio), (place - 0.5, 1.0), (4, -12), ("data", "axes fraction"), "offset points")
    label_times(axes, name, unit)
