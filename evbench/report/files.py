"""Files of a folder that are derived from its result: `verdict.json` and `report.md`."""

from __future__ import annotations

from pathlib import Path

from evbench.encoding import to_json, write_whole
from evbench.report.comparison import describe
from evbench.report.render import Report, to_markdown
from evbench.results import Result
from evbench.verdict.judgement import Judgement

JUDGED, REPORT = "verdict.json", "report.md"


def write(result: Result, judgement: Judgement, folder: Path) -> Report:
    """Write both, each whole or not at all. Returns what the report says. Raises OSError."""
    report = describe(result, judgement)
    write_whole(folder / JUDGED, to_json(judgement, indent=1) + "\n")
    write_whole(folder / REPORT, to_markdown(report, result.created, result.command))
    return report
