"""Everything that is derived from a result: the verdict, and what it rests on. It is written to `verdict.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from evbench.results import Grade, Side
from evbench.verdict.caches import SeenUnseen
from evbench.verdict.checks import CheckSummary
from evbench.verdict.context import BlockCounts, Clock, Energy
from evbench.verdict.demands import DemandOutcome
from evbench.verdict.difference import Difference
from evbench.verdict.drafting import DraftedDecoding
from evbench.verdict.loss import LossSummary
from evbench.verdict.metrics import Metric
from evbench.verdict.statistics import BreakEven, Distribution, Interval
from evbench.verdict.tokens import TokenComparison

MIN_CLAIM = 0.01
"""No smaller difference is claimed, however narrow the interval: it would not matter, and code placement alone can cause it."""


class Verdict(StrEnum):
    """Of two sides. The optimized one is ..."""

    FASTER = "FASTER"
    SAME = "SAME"
    SLOWER = "SLOWER"
    INCONCLUSIVE = "INCONCLUSIVE"
    OUTPUT_DIFFERS = "OUTPUT_DIFFERS"
    INVALID = "INVALID"
    LOSSY = "LOSSY"
    """... changes outputs by design, no more than that, and its times may be compared: what they show is `Judgement.claim`."""


Preserved = Literal["pass", "warn", "fail", "lossy"]
"""Whether outputs are preserved. A side that changes them by design is never said to."""
CLAIMED = (Verdict.FASTER, Verdict.SLOWER)
"""Those that claim a difference."""
EXIT_CODES = {
    Verdict.FASTER: 0,
    Verdict.SAME: 0,
    Verdict.SLOWER: 3,
    Verdict.INCONCLUSIVE: 4,
    Verdict.OUTPUT_DIFFERS: 5,
    Verdict.INVALID: 6,
    Verdict.LOSSY: 7,
}
UNMET, UNCLEAR = 3, 4
"""Exit codes of a demand."""


@dataclass(frozen=True)
class Timing:
    """One part of a run that was timed on both sides."""

    name: str
    """`end-to-end`, a stage, `ttft`, `prefill`, `tpot` or `throughput`."""
    sides: dict[Side, Distribution | None]
    """Seconds of single runs. None where nothing was timed, such as decode steps of an output of one token, or where every block was
    disturbed."""
    interval: Interval | None
    """Speedup with its 95% CI; the CIs of the stages are simultaneous, and so are those of the token timings. None if nothing may be
    claimed: too few blocks, one side only, or sides that cannot be compared."""
    claim_threshold: float
    """No smaller difference is claimed: the noise floor, or MIN_CLAIM if that is larger."""
    claim: Verdict | None
    """FASTER, SAME, SLOWER or INCONCLUSIVE: what the interval says. None without one."""


@dataclass(frozen=True)
class Judgement:
    """Everything derived from a result."""

    verdict: Verdict | None
    """None for one variant alone."""
    reasons: tuple[str, ...]
    """Of a verdict other than FASTER, SAME and SLOWER."""
    preserved: Preserved | None
    """Equivalence of the outputs: the worst grade of all checks; lossy where a side changes them by design, and no check fails that it does
    just that. None if they were not compared."""
    flags: dict[str, str]
    """Name -> what a reader has to know before believing a number."""
    exit_code: int
    end_to_end: Timing
    stages: tuple[Timing, ...]
    tokens: tuple[Timing, ...]
    """TTFT, prefill and TPOT."""
    throughput: Timing | None
    """Seconds for each sample of a throughput run. None if there were none. The verdict is of the latency of one sample; this has a claim
    of its own, and none where the verdict is refused."""
    ratio_of_medians: float | None
    """End to end; as `ratio_of_sums`, to compare with the speedup. None if the sides cannot be compared."""
    ratio_of_sums: float | None
    difference: Difference | None
    """Where the difference of the end-to-end times comes from. None if the sides cannot be compared."""
    break_even: BreakEven | None
    metrics: dict[str, Metric]
    """Name -> what was measured of each side beside the timings. See `evbench.verdict.metrics`."""
    energy: dict[Side, Energy]
    """Sides that have an energy counter."""
    demands: tuple[DemandOutcome, ...]
    unequal_work: tuple[str, ...]
    """Fields in which the sides did different work, with both values."""
    inactive: tuple[str, ...]
    """Choices without evidence of being active, with their side."""
    activations_known: bool
    """Whether evidence was collected on every side."""
    machine_differences: dict[str, str]
    """Property -> both values, where the sides were measured on different machines."""
    checks: tuple[CheckSummary, ...]
    """Of the outputs: those beyond their threshold, and for each other stage the closest."""
    grades: dict[str, Grade]
    """Stage -> the worst grade of its checks. Empty if outputs were not compared."""
    token_comparison: TokenComparison | None
    """None for one variant alone."""
    distinct_outputs: dict[Side, tuple[int, int]]
    """Of the first sample: number of different outputs, and of runs."""
    blocks: BlockCounts
    """Of the session of the baseline."""
    overlapping: tuple[Side, ...]
    """Sides whose stages overlap without synchronization, so that single stages are upper bounds."""
    clocks: tuple[Clock, ...]
    """Of the GPU, for each session that has one."""
    seen_unseen: dict[Side, tuple[SeenUnseen, ...]]
    """Sides whose runs on input that they have seen were compared with runs on input that they have not."""
    floors: dict[str, float]
    """Name of a timing -> the seconds that it physically takes at least on this machine, for the baseline's work. Empty if its rates were
    not measured."""
    observations: tuple[str, ...]
    """Of the machine, before and during the runs."""
    loss: LossSummary | None = None
    """What is lost. None if no side is lossy."""
    drafting: dict[Side, DraftedDecoding] = field(default_factory=dict)
    """Of sides that draft."""
    side_floors: dict[Side, dict[str, float]] = field(default_factory=dict)
    """In the place of `floors`, of sides whose weights or cache are quantized, whose tokens are drafted, or whose language model is
    divided: a GPU reads fewer bytes."""

    @property
    def claim(self) -> Verdict | None:
        """What the times show end-to-end: the verdict, but of a lossy comparison FASTER, SAME, SLOWER or INCONCLUSIVE."""
        return self.end_to_end.claim if self.verdict is Verdict.LOSSY else self.verdict

    def timings(self) -> tuple[Timing, ...]:
        """All of them."""
        return (self.end_to_end, *self.stages, *self.tokens, *(() if self.throughput is None else (self.throughput,)))

    def floor_shares(self) -> dict[str, dict[Side, float]]:
        """Timing -> of each side that was timed, its physical floor over its median: 1 is as fast as this machine can be."""
        known = {timing.name: timing.sides for timing in self.timings() if self.floors.get(timing.name)}

        def share(name: str, side: Side, median: float) -> float:
            return self.side_floors.get(side, self.floors)[name] / median

        return {
            name: {side: share(name, side, found.median) for side, found in sides.items() if found is not None}
            for name, sides in known.items()
        }
