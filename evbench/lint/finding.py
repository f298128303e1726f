"""What lint says: one line for each thing that it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["mistake", "not told", "note"]
"""mistake: a contradiction, or a way to measure that no speedup follows from. not told: what is missing to judge. note: all else."""
FOUND = 6
"""Exit code where there is a mistake: that of INVALID."""


@dataclass(frozen=True)
class Finding:
    """One of them."""

    kind: Kind
    where: str
    """Side, row or column."""
    written: str
    follows: str
    """From the other figures, by computation, or from how it was measured. Empty if nothing does."""
    advice: str
    """What to do. Empty if nothing is to be done."""

    def line(self) -> str:
        return f"{self.kind}: {'; '.join(filter(None, (f'{self.where}: {self.written}', self.follows, self.advice)))}"


def exit_code(findings: tuple[Finding, ...]) -> int:
    """What is not told, and notes, are no mistakes."""
    return FOUND if any(finding.kind == "mistake" for finding in findings) else 0


def conclusion(findings: tuple[Finding, ...]) -> str:
    """The last line, such as `exit 6: 2 mistakes, 1 not told`."""
    counts = {kind: sum(finding.kind == kind for finding in findings) for kind in ("mistake", "not told", "note")}
    named = [
        f"{counts['mistake'] or 'no'} mistake{'s' if counts['mistake'] != 1 else ''}",
        *([f"{counts['not told']} not told"] if counts["not told"] else []),
        *([f"{counts['note']} note{'s' if counts['note'] != 1 else ''}"] if counts["note"] else []),
    ]
    return f"exit {exit_code(findings)}: {', '.join(named)}"
