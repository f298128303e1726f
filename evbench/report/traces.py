"""Sections of one trace or two -> tables of where the time went. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from evbench.report.render import Table, printable
from evbench.report.units import format_bytes, format_seconds, format_signed
from evbench.results import Section, Used

Sides = Mapping[str, Sequence[Section]]
"""Name of a side -> its trace in numbers. One side, or two."""
WENT, SPENT, ONLY = (
    "Where the time went in the traces, profiler overhead included (a GPU's video decoder is not in a trace)",
    "Time by kernel family",
    "Kernels of one side only",
)
"""Titles."""
TRACED = "traced"
"""Name of the first of these tables."""
LARGEST = 5
"""Number of families, and of names, that are shown of each stage."""
SMALLEST_SHARE = 0.01
"""Of a stage's work. A family below it has no row of its own."""
OTHERS = "all others"


def where_the_time_went(sides: Sides) -> Table:
    """Of each stage: GPU busy, idle, and idle because the host has launched nothing."""
    rows = []
    for name in _names(sides):
        for side, sections in sides.items():
            if (section := _find(sections, name)) is not None:
                rows.append((name, side, format_seconds(section.seconds), *_gpu(section)))
    columns = ("", "side", "time", "GPU busy", "GPU idle", "host-bound")
    return Table(WENT, columns, tuple(rows), TRACED)


def _gpu(section: Section) -> tuple[str, str, str]:
    if section.busy is None or section.host_bound is None:
        return "-", "-", "-"
    share = section.host_bound / section.seconds if section.seconds else 0.0
    return format_seconds(section.busy), format_seconds(section.seconds - section.busy), f"{share:.0%}"


def families(sides: Sides) -> Table:
    """Of each stage the work by kernel family: time, calls, bytes copied."""
    rows: list[tuple[str, ...]] = []
    for name in _names(sides):
        found = {side: _by_family(_find(sections, name)) for side, sections in sides.items()}
        most = Counter({family: max(side.get(family, NOTHING).seconds for side in found.values()) for family in _keys(found)})
        shown = [family for family, seconds in most.most_common(LARGEST) if seconds >= SMALLEST_SHARE * math.fsum(most.values())]
        others = {side: _sum([used for family, used in of.items() if family not in shown]) for side, of in found.items()}
        for family in shown:
            rows.append((name, family, *_compared([side.get(family, NOTHING) for side in found.values()])))
        if any(used.calls for used in others.values()):
            rows.append((name, OTHERS, *_compared(list(others.values()))))
    columns = (
        "",
        "kernel family",
        *(column for side in sides for column in (side, "calls", "bytes copied")),
        *(("difference",) if len(sides) == 2 else ()),
    )
    return Table(SPENT, columns, tuple(rows))


def gone_and_new(sides: Sides) -> Table:
    """Names that only one of two sides has, those with the most time."""
    rows: list[tuple[str, ...]] = []
    for name in _names(sides):
        before, after = ({used.name: used for used in _used(_find(sections, name))} for sections in sides.values())
        for change, these, those in (("gone", before, after), ("new", after, before)):
            only = sorted((used for key, used in these.items() if key not in those), key=lambda used: -used.seconds)
            rows += [(name, change, printable(used.name), format_seconds(used.seconds), f"{used.calls:,}") for used in only[:LARGEST]]
            if more := only[LARGEST:]:
                total = _sum(more)
                rows.append((name, change, f"and {len(more)} more", format_seconds(total.seconds), f"{total.calls:,}"))
    return Table(ONLY, ("", "", "name", "time", "calls"), tuple(rows))


NOTHING = Used("", "", 0.0, 0, 0)


def _compared(sides: Sequence[Used]) -> tuple[str, ...]:
    cells: list[str] = []
    for used in sides:
        cells += (
            [format_seconds(used.seconds), f"{used.calls:,}", format_bytes(used.bytes_copied) if used.bytes_copied else "-"]
            if used.calls
            else ["-"] * 3
        )
    if len(sides) == 2:
        cells.append(format_signed(sides[1].seconds - sides[0].seconds))
    return tuple(cells)


def _by_family(section: Section | None) -> dict[str, Used]:
    grouped: dict[str, list[Used]] = defaultdict(list)
    for used in _used(section):
        grouped[used.family].append(used)
    return {family: _sum(some) for family, some in grouped.items()}


def _sum(some: Sequence[Used]) -> Used:
    # From Python 3.12 on `sum` is as exact, and a report must be the same from any.
    return Used("", "", math.fsum(used.seconds for used in some), sum(used.calls for used in some), sum(used.bytes_copied for used in some))


def _used(section: Section | None) -> tuple[Used, ...]:
    return () if section is None else section.used


def _find(sections: Sequence[Section], name: str) -> Section | None:
    return next((section for section in sections if section.name == name), None)


def _names(sides: Sides) -> list[str]:
    return list(dict.fromkeys(section.name for sections in sides.values() for section in sections))


def _keys(found: Mapping[str, Mapping[str, Used]]) -> list[str]:
    return list(dict.fromkeys(key for side in found.values() for key in side))
