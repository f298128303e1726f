"""Planted faults and what the output checks found -> a table and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from evbench.report.render import Table, file_of, markdown_table, printable
from evbench.report.units import format_seconds
from evbench.results import Workload
from evbench.verdict.mutation import MutantOutcome


def table(tried: Sequence[MutantOutcome]) -> Table:
    """For a report."""
    rows = []
    for outcome in tried:
        check = outcome.closest
        caught = "; ".join(outcome.caught)
        if outcome.idle is not None:
            idle = outcome.idle
            took, without = format_seconds(idle.seconds), format_seconds(idle.without)
            caught = f"none here, and not counted: on input that was seen {idle.timing} takes {took}, and {without} without it"
        elif check is not None and not outcome.caught:
            caught = f"passes; closest: {check.stage}, {check.mode}: {check.rule}"
        distance = "-" if outcome.distance is None else f"{outcome.distance:.3g}"
        right = "-" if outcome.idle else "yes" if outcome.right else "NO"
        cells = ("-", "-") if check is None else (f"{check.value:.3g}", f"{check.threshold:.3g}")
        kind = "equal computation" if outcome.harmless else "fault"
        rows.append((outcome.name, kind, right, printable(caught), *cells, distance))
    return Table(
        "Faults must fail, and equal computations must pass",
        ("", "kind", "as expected", "caught by", "value", "threshold", "value / threshold"),
        tuple(rows),
    )


def summary(tried: Sequence[MutantOutcome]) -> str:
    """In one line."""
    faults = [outcome for outcome in tried if not outcome.harmless and outcome.idle is None]
    equal = [outcome for outcome in tried if outcome.harmless]
    caught, passed = (sum(outcome.right for outcome in some) for some in (faults, equal))
    return f"{caught} of {len(faults)} faults caught, {passed} of {len(equal)} equal computations passed"


def to_markdown(tried: Sequence[MutantOutcome], left_out: Mapping[str, str], workload: Workload, created: str, command: str) -> str:
    """`left_out`: name of a fault that was not planted -> why."""
    verdict = f"**{'Passed' if all(outcome.right for outcome in tried) else 'FAILED'}: {summary(tried)}**"
    of = f"{workload.model}, {workload.preset or workload.weights}, {workload.dtype} on {workload.device}"
    lines = [
        "# Self-test of the output checks",
        "",
        f"{created}, `{command}`: {of}",
        "",
        *markdown_table(table(tried)),
        "",
        verdict,
        "",
    ]
    if left_out:
        lines += [f"Not planted, and not counted: {_by_reason(left_out)}.", ""]
    return file_of(lines)


def _by_reason(left_out: Mapping[str, str]) -> str:
    reasons = dict.fromkeys(left_out.values())
    return "; ".join(f"{', '.join(name for name, why in left_out.items() if why == reason)} ({reason})" for reason in reasons)


def to_json(tried: Sequence[MutantOutcome]) -> str:
    return json.dumps([asdict(outcome) for outcome in tried], indent=1, allow_nan=False) + "\n"
