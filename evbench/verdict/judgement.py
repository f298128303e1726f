"""Everything that is derived from a result: the verdict, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from evbench.results import Grade, Side
from evbench.verdict.demands import DemandOutcome
from evbench.verdict.statistics import (
    BreakEven,
    Interval,
)

SMALLEST = 0.01
"""No difference below this is claimed, however narrow the interval: it would not matter, and code placement alone can make it."""
TOTAL, THROUGHPUT = "total", "throughput"


class Verdict(StrEnum):
    """Of two sides. The optimized one is ..."""

    FASTER = "FASTER"
    SAME = "SAME"
    SLOWER = "SLOWER"
    INCONCLUSIVE = "INCONCLUSIVE"
    OUTPUT_DIFFERS = "OUTPUT_DIFFERS"
    INVALID = "INVALID"


EXIT_CODES = {
    Verdict.FASTER: 0,
    Verdict.SAME: 0,
    Verdict.SLOWER: 3,
    Verdict.INCONCLUSIVE: 4,
    Verdict.OUTPUT_DIFFERS: 5,
    Verdict.INVALID: 6,
}
UNMET, UNCLEAR = 3, 4
"""Exit codes of a demand."""


@dataclass(frozen=True)
class Spread:
    """Seconds of one side."""

    median: float
    least: float
    most: float
    p90: float | None
    """None if too few runs could bound it."""
    runs: int
    outliers: int


@dataclass(frozen=True)
class Line:
    """One thing that was timed on both sides."""

    name: str
    sides: dict[Side, Spread | None]
    """None where nothing was timed, such as further tokens of an answer of one."""
    interval: Interval | None
    """None if nothing may be said: too few blocks, one side only, or sides that cannot be compared."""
    smallest: float
    """No difference below this is claimed."""
    claim: Verdict | None
    """FASTER, SAME, SLOWER or INCONCLUSIVE."""


@dataclass(frozen=True)
class Part:
    """What one part contributes to the difference of the totals, which is the sum of all parts."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Judgement:
    """Everything derived from a result."""

    verdict: Verdict | None
    """None for one variant alone."""
    reasons: tuple[str, ...]
    """Of a verdict that is none of FASTER, SAME and SLOWER."""
    preserved: Grade | None
    """Whether the outputs were, the worst of all checks. None if they were not compared."""
    flags: dict[str, str]
    """What a reader has to know before believing a number."""
    total: Line
    stages: tuple[Line, ...]
    inside: tuple[Line, ...]
    """First token, prefill and a further token."""
    throughput: Line | None
    """Seconds for each sample of a stream. None if there were no streams. The verdict is of one sample by itself; this claims for itself,
    and nothing where the verdict is refused."""
    steps: dict[Side, Spread | None]
    """Single further tokens."""
    ratio_of_medians: float | None
    ratio_of_totals: float | None
    gain: tuple[Part, ...]
    stage_sync: dict[Side, float]
    """By what share the sum of the stages exceeds the run without barriers."""
    break_even: BreakEven | None
    preparation: dict[Side, float]
    """Seconds until a worker is steady that a later run does not take."""
    disturbed: int
    """Blocks that were run again."""
    demands: tuple[DemandOutcome, ...]
    exit_code: int

    def lines(self) -> tuple[Line, ...]:
        """All that were timed."""
        return (self.total, *self.stages, *self.inside, *(() if self.throughput is None else (self.throughput,)))
