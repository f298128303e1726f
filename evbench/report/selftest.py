"""A self-test -> a table and a file."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.report.render import Table, file_of, markdown_table
from evbench.report.units import format_ratios
from evbench.verdict.selftest import PlantedStage, SelfTest


def planted_table(stages: Sequence[PlantedStage]) -> Table:
    """Of a session in which one side was slowed down in one stage."""
    rows = [(found.stage, format_ratios(found.interval.low, found.interval.high), "found" if found.differs else "-") for found in stages]
    return Table("One side was slowed down in one stage", ("", "speedup, simultaneous 95% CIs", "difference"), tuple(rows))


def table(test: SelfTest) -> Table:
    """Of a variant against itself."""
    rows = []
    for trial in test.trials:
        mean = "-" if trial.mean is None else f"{trial.mean.low:.4f}x - {trial.mean.high:.4f}x"
        significant = f"{trial.significant} of {trial.comparisons}"
        rows.append((trial.name, significant, str(trial.claims), f"{trial.noise_floor:.2%}", mean))
    columns = ("", "95% CIs that exclude 1", "claims", "noise floor", "speedup over all, 95% CI")
    return Table("The same variant on both sides", columns, tuple(rows))


def to_markdown(found: Table, passed: bool, summary: str, created: str, command: str) -> str:
    """A self-test as a file."""
    verdict = f"**{'Passed' if passed else 'FAILED'}: {summary}**"
    lines = ["# Self-test", "", f"{created}, `{command}`", "", found.title, "", *markdown_table(found), "", verdict, ""]
    return file_of(lines)
