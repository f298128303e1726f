"""An examination -> lines for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from evbench.doctor.examine import Examination
from evbench.doctor.findings import MISSING, OK, PROBLEM, VARIANTS, Finding
from evbench.report.render import plain

STYLES = {OK: "green", MISSING: "yellow", PROBLEM: "red"}
LEFT_OUT = "{} more that are ok: --details"


def to_console(examination: Examination, details: bool, height: Callable[[RenderableType], int], most: int) -> RenderableType:
    """All findings with details; else as many as fit. What is ok is left out first, from the end, variants after all else.

    Args:
        height: lines that something takes.
        most: lines that there is room for, without details.
    """
    if details:
        return _screen(examination.findings, 0)
    shown = [finding for finding in examination.findings if not finding.detail]
    fine = sorted((finding for finding in shown if finding.grade == OK), key=lambda finding: finding.area == VARIANTS)
    whole, left_out = _screen(shown, 0), 0
    removable = [*reversed([one for one in fine if one.area != VARIANTS]), *reversed([one for one in fine if one.area == VARIANTS])]
    while height(whole) > most and removable:
        shown.remove(removable.pop(0))
        left_out += 1
        whole = _screen(shown, left_out)
    return whole


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
