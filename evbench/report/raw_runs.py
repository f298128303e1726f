"""Runs and decode steps one by one -> tables, for those who cannot see the figures of a page. Pure."""

from __future__ import annotations

from evbench.report.render import Table
from evbench.report.units import NOT_MEASURED, format_range, format_seconds
from evbench.results import Result
from evbench.verdict.series import PlacedRun, decode_steps, runs_in_order

MOST_RUNS = 500
"""Number of runs that are listed: a page is sent to people, and stays small."""


def steps(result: Result) -> Table:
    """Of each token after the first one: median and range over the runs of each side."""
    found = decode_steps(result)
    rows = []
    for step in range(max(map(len, found.values()), default=0)):
        cells: list[str] = []
        for side in found.values():
            known = side[step] if step < len(side) else None
            cells += [NOT_MEASURED] * 2 if known is None else [format_seconds(known.median), format_range(known.minimum, known.maximum)]
        rows.append((str(step + 2), *cells))
    columns = ("token", *(name for side in found for name in (side, f"{side}: min - max")))
    return Table("Time of each token over the answer", columns, tuple(rows))


def runs(result: Result) -> Table:
    """As they happened."""
    columns = ("turn", "side", "kind", "block", "sample", "stage synchronization", "time", "counts")
    found = runs_in_order(result)
    shown = f", the first {MOST_RUNS} of {len(found)}; all are in result.json" if len(found) > MOST_RUNS else ""
    return Table(f"All runs in time order{shown}", columns, tuple(map(_row, found[:MOST_RUNS])))


def _row(run: PlacedRun) -> tuple[str, ...]:
    counts = "no, disturbed" if run.disturbed else "yes" if run.kind == "timed" else "no"
    block = "-" if run.block is None else str(run.block + 1)
    place = (str(run.turn + 1), run.side, run.kind, block, str(run.sample + 1))
    return (*place, "yes" if run.synchronized else "no", format_seconds(run.seconds), counts)
