"""A planted fault, and whether the output checks catch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from evbench.choices import Variant
from evbench.results import Check
from evbench.verdict.caches import MIN_RATIO


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
    timing: str = ""
    """Of a fault of time: what it makes shorter for input that was seen."""


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
    seen: Mapping[str, float] = field(default_factory=dict)
    """Timing -> median of its seconds on input that was seen. Empty where it is not compared with unseen input."""
    idle: Idle | None = None
    """Of a fault of time that is none here."""

    @property
    def right(self) -> bool:
        return self.harmless != bool(self.caught) or self.idle is not None


@dataclass(frozen=True)
class Idle:
    """A fault of time that saves none: to remember takes as long as the work. Medians in seconds, of input that was seen."""

    timing: str
    seconds: float
    without: float
    """The same, of the variant without the fault."""


def weighed(outcome: MutantOutcome, timing: str, honest: MutantOutcome) -> MutantOutcome:
    """The outcome of a fault of time. One that was not caught is none if it saves less than is called cached.

    Args:
        timing: what it is to make shorter.
        honest: of the same variant without the fault.
    """
    seconds, without = outcome.seen[timing], honest.seen[timing]
    if outcome.caught or without > MIN_RATIO * seconds:
        return outcome
    return replace(outcome, idle=Idle(timing, seconds, without))
