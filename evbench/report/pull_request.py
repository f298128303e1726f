"""A result and its judgement -> a few lines of Markdown for a pull request. Pure."""

from __future__ import annotations

from evbench.report.facts import facts
from evbench.report.render import Report, Table, file_of, markdown_table, without_empty_columns
from evbench.report.summary import summarize
from evbench.results import Result
from evbench.verdict.judgement import Judgement
from evbench.verdict.reproduction import is_reproducible

MARK = "<!-- evbench report --markdown -->"
"""First line: by it a bot finds its comment again, and evbench a file that it may replace."""
ESCAPED = str.maketrans({character: f"\\{character}" for character in "\\`*_<[]|"})
"""What would be markup in a text that is shown as it is."""


def to_pull_request(result: Result, judgement: Judgement, report: Report) -> str:
    """The verdict, the times, outputs in one line, and how to reproduce it.

    Args:
        report: of the same result.
    """
    summary = summarize(result, judgement, report)
    texts = {"Outputs": summary.texts["Outputs"]} if "Outputs" in summary.texts else {}
    texts |= judgement.flags | {"Machine": facts(result, judgement)["Machine"]}
    lines = [MARK]
    for headline in summary.headlines:
        lines += [f"**{_escaped(headline)}**", ""]
    lines += [_escaped(summary.subject), "", *markdown_table(_escaped_table(without_empty_columns(summary.table))), ""]
    lines += [f"- **{_escaped(name)}**: {_escaped(text)}" for name, text in texts.items()]
    lines += ["", "To reproduce it, on an idle machine of the same kind:", "", f"    {result.command}", ""]
    if is_reproducible(judgement):
        lines += ["Or from the `result.json` of this comparison, which ends by saying whether it was reproduced:", ""]
        lines += ["    evbench verify FOLDER", ""]
    return file_of(lines)


def _escaped_table(table: Table) -> Table:
    return Table(table.title, table.columns, tuple(tuple(map(_escaped, row)) for row in table.rows), table.name)


def _escaped(text: str) -> str:
    return text.translate(ESCAPED)
