"""A planted fault, and whether the output checks catch it."""

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
    """Name of the planted fault. None for an equal computation."""
    harmless: bool
    samples: int
    seen_unseen: bool = False
    """Whether seen and unseen input are compared as well: for faults of time, and for the whole variant, which must remember nothing."""


@dataclass(frozen=True)
class MutantOutcome:
    """Result of the output checks for a case."""

    name: str
    variant: str
    harmless: bool
    caught: tuple[str, ...]
    """Checks that caught it. Empty if everything passed."""
    closest: Check | None
    """The first to blame; where all pass, the one closest to its threshold. None where no check of outputs caught it."""
    distance: float | None
    """Value over threshold: 1 is at the threshold. None where the threshold is zero."""
    checks: tuple[Check, ...]
    """Those beyond their threshold, and those that pass with a warning."""

    @property
    def right(self) -> bool:
        return self.harmless != bool(self.caught)
