"""A self-test -> a table and a page."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.report.render import Table, markdown_table, printable
from evbench.report.units import format_ratios
from evbench.verdict.judgement import TOTAL
from evbench.verdict.selftest import Found, SelfTest


def planted_table(stages: Sequence[Found]) -> Table:
    """For a report."""
    rows = [
        (found.stage, format_ratios(found.interval.low, found.interval.high), f"{found.p:.2g}", "found" if found.differs else "-")
        for found in stages
    ]
    return Table("One side was made slower in one stage", ("", "95 % interval, times as fast", "chance, corrected", ""), tuple(rows))


def table(test: SelfTest) -> Table:
    """For a report."""
    rows = []
    for trial in test.trials:
        mean = "-" if trial.mean is None else f"{trial.mean.low:.4f} - {trial.mean.high:.4f}"
        name = "end to end" if trial.name == TOTAL else trial.name
        rows.append((name, f"{trial.significant} of {trial.comparisons}", str(trial.claims), f"{trial.floor:.2%}", mean))
    columns = ("", "intervals without 1", "claims", "noise floor", "all together, times as fast")
    return Table("The same variant on both sides", columns, tuple(rows))


def to_markdown(found: Table, passed: bool, told: str, created: str, command: str) -> str:
    """What a self-test found, as a file."""
    verdict = f"**{'Passed' if passed else 'FAILED'}: {told}**"
    lines = ["# Self-test", "", f"{created}, `{printable(command)}`", "", found.title, "", *markdown_table(found), "", verdict, ""]
    return "\n".join(lines)
