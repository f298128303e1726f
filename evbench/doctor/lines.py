"""An examination -> lines for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from evbench.doctor.examine import Examination
from evbench.doctor.findings import GPU, MISSING, OK, PROBLEM, ROOM, SOFTWARE, VARIANTS, Finding
from evbench.report.render import plain

STYLES = {OK: "green", MISSING: "yellow", PROBLEM: "red"}
LEFT_OUT = "{} more with --details"
LEAST_FIRST = (ROOM, SOFTWARE, VARIANTS, GPU)
"""Areas in the order in which they are left out."""


def to_console(examination: Examination, details: bool, height: Callable[[RenderableType], int], most: int) -> RenderableType:
    """All findings with details; else as many as fit, but each problem in any case. What is ok is left out before what is missing.

    Args:
        height: lines that something takes.
        most: lines that there is room for, without details.
    """
    if details:
        return _screen(examination.findings, 0)
    shown = [finding for finding in examination.findings if not finding.detail]
    removable = [
        finding
        for grade in (OK, MISSING)
        for area in LEAST_FIRST
        for finding in reversed(shown)
        if (finding.grade, finding.area) == (grade, area)
    ]
    left_out = 0
    while height(_screen(shown, left_out)) > most and left_out < len(removable):
        shown.remove(removable[left_out])
        left_out += 1
    return _screen(shown, left_out)


def _screen(findings: Sequence[Finding], left_out: int) -> RenderableType:
    parts: list[RenderableType] = []
    width = max(len(finding.subject) for finding in findings)
    for area in dict.fromkeys(finding.area for finding in findings):
        grid = Table.grid(padding=(0, 2))
        grid.add_column(min_width=max(map(len, STYLES)))
        grid.add_column(min_width=width)
        grid.add_column(overflow="fold")
        for finding in findings:
            if finding.area == area:
                text = finding.text + (f" -> {finding.cure}" if finding.cure else "")
                grid.add_row(plain(finding.grade, STYLES[finding.grade]), plain(finding.subject), plain(text))
        parts += [plain(area, "bold"), grid]
    return Group(*parts, *([plain(LEFT_OUT.format(left_out), "dim")] if left_out else []))
