"""What several ranks did together: how fast all of them were, against one alone, and where the rest is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evbench.results import FailedSample

FORMAT = 1
"""Of ranks.json."""
SPREAD = "spread over {} ranks, which ran at the same time"
"""What a result remarks of the sides that several ranks ran."""


@dataclass(frozen=True)
class Pass:
    """Samples back to back on one rank, once. Times in seconds."""

    samples: int
    seconds: float
    """From the start of the first load to the end of the last generate."""
    load_wait_seconds: float
    """For which the stages waited for samples to be loaded."""


@dataclass(frozen=True)
class Usage:
    """What a rank used in a pass of its own, on average, while all ranks ran. None where it cannot be read."""

    cores: float | None
    """Of the CPU, by its worker."""
    decoder: float | None
    """Share of the time in which the GPU's video decoder (NVDEC) was busy."""
    pcie_in: float | None
    """Bytes per second to the GPU."""
    pcie_out: float | None
    """Bytes per second from it."""


@dataclass(frozen=True)
class RankShare:
    """One rank, its samples, and its pass over them while all ranks ran."""

    rank: int
    node: int
    """Number of its machine."""
    samples: tuple[int, ...]
    """Indices into the samples of the result."""
    together: Pass
    differing: int
    """Samples whose tokens in this pass are not those of their timed runs."""
    compiled: bool
    """Whether something was compiled or captured in the pass, which makes it slower than it need be."""
    usage: Usage | None = None
    """None in results from before it was read."""


@dataclass(frozen=True)
class RankedSession:
    """Content of `ranks.json`."""

    format: int
    evbench: str
    """Version that wrote this."""
    ranks: int
    failed: tuple[FailedSample, ...] = ()
    """Samples that could not be used, and are left out."""
    alone: Pass | None = None
    """Of rank 0 while the others waited, over samples of its own. None until it was measured."""
    seconds: float | None = None
    """Of the pass of all ranks: from when all were ready to when the last had ended. None until it was measured."""
    shares: tuple[RankShare, ...] = ()

    def __post_init__(self) -> None:
        if self.seconds is None:
            return
        if len(self.shares) != self.ranks or self.alone is None:
            raise ValueError(f"it has the passes of {len(self.shares)} of {self.ranks} ranks, which are said to have ended")
        if min(self.seconds, self.alone.seconds, self.alone.samples, sum(share.together.samples for share in self.shares)) <= 0:
            raise ValueError("its passes have no samples, or took no time")


@dataclass(frozen=True)
class Loss:
    """Parts of the time of the pass, of one rank or on average over all: with the efficiency they sum up to 1."""

    efficiency: float
    """Samples that were run, against those that this rank had run if it had been as fast as rank 0 alone all the time."""
    waiting: float
    """Ended, while the slowest rank still ran."""
    loading: float
    """Longer waits for samples to be loaded than alone. Negative for shorter ones."""
    running: float
    """All other stages: slower than alone. Negative for faster ones."""


@dataclass(frozen=True)
class ParallelEfficiency:
    """Derived from a session of ranks."""

    samples_per_second: float
    """Of all ranks together."""
    alone_samples_per_second: float
    speedup: float
    """Of all ranks against one alone."""
    whole: Loss
    by_rank: tuple[Loss, ...]
    slowest: int
    """The rank that ended last."""


def parallel_efficiency(session: RankedSession) -> ParallelEfficiency | None:
    """None until the passes were measured."""
    if session.alone is None or session.seconds is None:
        return None
    losses = tuple(loss_of(share.together, session.alone, session.seconds) for share in session.shares)
    together = sum(share.together.samples for share in session.shares) / session.seconds
    alone = session.alone.samples / session.alone.seconds
    return ParallelEfficiency(
        samples_per_second=together,
        alone_samples_per_second=alone,
        speedup=together / alone,
        whole=average(losses),
        by_rank=losses,
        slowest=slowest(session),
    )


def slowest(session: RankedSession) -> int:
    """The rank that ended last, of a session whose passes were measured."""
    return max(session.shares, key=lambda share: share.together.seconds).rank


def average(losses: Sequence[Loss]) -> Loss:
    """Over all ranks."""
    return Loss(*(sum(values) / len(losses) for values in zip(*map(_values, losses), strict=True)))


def loss_of(together: Pass, alone: Pass, seconds: float) -> Loss:
    """Of one rank, in a pass of all that took so many seconds, against a rank alone."""
    share = together.samples / alone.samples
    slower = together.seconds - share * alone.seconds
    loading = together.load_wait_seconds - share * alone.load_wait_seconds
    return Loss(
        efficiency=share * alone.seconds / seconds,
        waiting=1 - together.seconds / seconds,
        loading=loading / seconds,
        running=(slower - loading) / seconds,
    )


def _values(loss: Loss) -> tuple[float, float, float, float]:
    return loss.efficiency, loss.waiting, loss.loading, loss.running
