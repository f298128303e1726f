"""Checks of outputs -> the few that a reader wants to see. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evbench.results import STAGES, Check, Grade, Mode
from evbench.verdict.findings import GRADES, MODES, distance


@dataclass(frozen=True)
class CheckSummary:
    """A check that stands for its stage and mode."""

    check: Check
    closest_of: int | None
    """Number of checks that all pass, of which this is the closest to its threshold. None for one beyond it."""


def summarize(checks: Sequence[Check]) -> tuple[CheckSummary, ...]:
    """For each stage and mode all checks beyond their threshold; if there are none, the closest to it."""
    grouped: dict[tuple[Mode, str], list[Check]] = {}
    for check in checks:
        grouped.setdefault((check.mode, check.stage), []).append(check)
    summaries: list[CheckSummary] = []
    for _, some in sorted(grouped.items(), key=lambda item: (MODES.index(item[0][0]), STAGES.index(item[0][1]))):
        beyond = [check for check in some if check.grade != "pass"]
        closest = max(some, key=lambda check: distance(check.value, check.threshold))
        summaries += [CheckSummary(check, None) for check in beyond] or [CheckSummary(closest, len(some))]
    return tuple(summaries)


def stage_grades(checks: Sequence[Check]) -> dict[str, Grade]:
    """Stage -> the worst grade of its checks."""
    grades: dict[str, Grade] = {}
    for check in checks:
        grades[check.stage] = max(grades.get(check.stage, "pass"), check.grade, key=GRADES.index)
    return grades
