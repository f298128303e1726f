"""The planted faults and what came of them -> a table and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from evbench.report.render import Table, markdown_table, printable
from evbench.results import Workload
from evbench.verdict.mutation import MutantOutcome


def table(tried: Sequence[MutantOutcome]) -> Table:
    """For a report."""
    rows = []
    for outcome in tried:
        check = outcome.nearest
        said = "; ".join(outcome.caught)
        if check is not None and not outcome.caught:
            said = f"passes; nearest: {check.stage}, {check.mode}: {check.rule}"
        away = "-" if outcome.distance is None else f"{outcome.distance:.3g}"
        right = "yes" if outcome.right else "NO"
        figures = ("-", "-") if check is None else (f"{check.value:.3g}", f"{check.threshold:.3g}")
        kind = "the same" if outcome.harmless else "fault"
        rows.append((outcome.name, kind, right, printable(said), *figures, away))
    return Table(
        "Faults have to fail, and what computes the same has to pass",
        ("", "is", "right", "caught by", "figure", "line", "of the line"),
        tuple(rows),
    )


def told(tried: Sequence[MutantOutcome]) -> str:
    faults = [outcome for outcome in tried if not outcome.harmless]
    ways = [outcome for outcome in tried if outcome.harmless]
    caught, passed = (sum(outcome.right for outcome in some) for some in (faults, ways))
    return f"{caught} of {len(faults)} faults caught, {passed} of {len(ways)} equal computations passed"


def to_markdown(tried: Sequence[MutantOutcome], workload: Workload, created: str, command: str) -> str:
    verdict = f"**{'Passed' if all(outcome.right for outcome in tried) else 'FAILED'}: {told(tried)}**"
    of = f"{workload.model}, {workload.preset or workload.weights}, {workload.dtype} on {workload.device}"
    lines = [
        "# Self-test of the output checks",
        "",
        f"{created}, `{printable(command)}`: {of}",
        "",
        *markdown_table(table(tried)),
        "",
        verdict,
        "",
    ]
    return "\n".join(lines)


def to_json(tried: Sequence[MutantOutcome]) -> str:
    return json.dumps([asdict(outcome) for outcome in tried], indent=1, allow_nan=False) + "\n"
