"""A planted fault that was tried, and whether it was caught."""

from __future__ import annotations

from dataclasses import dataclass

from evbench.choices import Variant
from evbench.results import Check


@dataclass(frozen=True)
class Case:
    """One variant against the baseline."""

    name: str
    variant: Variant
    mutant: str | None
    """What is planted into it."""
    harmless: bool
    samples: int


@dataclass(frozen=True)
class MutantOutcome:
    """What the checks said of a case."""

    name: str
    variant: str
    harmless: bool
    caught: tuple[str, ...]
    """By what. Empty if everything passed."""
    nearest: Check | None
    """The first to blame; where all pass, the one that comes nearest to its line. None where it is no check that caught it."""
    distance: float | None
    """Of the figure from its line: 1 is on it. None where the line is zero."""
    checks: tuple[Check, ...]
    """All that are beyond their line, or pass with a warning."""

    @property
    def right(self) -> bool:
        return self.harmless != bool(self.caught)
