"""Files of a folder that are derived from its result: `verdict.json`, `report.md` and `report.html`."""

from __future__ import annotations

from pathlib import Path

from evbench.encoding import to_json, write_whole
from evbench.report.comparison import describe
from evbench.report.matplotlib_hints import without_hints
from evbench.report.render import Report, to_markdown
from evbench.results import Result
from evbench.verdict.judgement import Judgement

JUDGED, REPORT, PAGE = "verdict.json", "report.md", "report.html"


def write(result: Result, judgement: Judgement, folder: Path, page: Path | None = None) -> Report:
    """Write them, each whole or not at all. Returns what the report says. Raises OSError.

    Args:
        page: where the page is written, in the place of `report.html` in the folder.
    """
    report = describe(result, judgement)
    write_whole(folder / JUDGED, to_json(judgement, indent=1) + "\n")
    write_whole(folder / REPORT, to_markdown(report, result.created, result.command))
    write_whole(folder / PAGE if page is None else page, _drawn(result, judgement, report))
    return report


def _drawn(result: Result, judgement: Judgement, report: Report) -> str:
    with without_hints():
        from evbench.report.page import to_html  # matplotlib takes half a second, of each command that imported it

        return to_html(result, judgement, report)
