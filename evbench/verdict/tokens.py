"""Generated tokens of both sides -> whether they are identical in every run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evbench.results import SIDES, Side, SideResult


@dataclass(frozen=True)
class SampleTokens:
    """Generated tokens of one sample."""

    sample: int
    distinct: dict[Side, int]
    """Number of different outputs over all runs."""
    lengths: dict[Side, int]
    """Number of tokens in the last run, of a batch those of one answer."""
    first_difference: int | None
    """Index of the first token that differs in the last runs. None if these are identical."""
    row: int | None = None
    """Of a batch, the number of the sample whose token that is, from 0. None where each sample goes by itself, or none differs."""

    @property
    def identical(self) -> bool:
        """In every run of both sides."""
        return self.first_difference is None and all(count == 1 for count in self.distinct.values())


@dataclass(frozen=True)
class TokenComparison:
    """Over all timed runs and throughput runs of all samples: one run that agrees proves nothing of the others."""

    samples: int
    different: int
    """Number of samples whose tokens are not identical in every run."""
    shown: SampleTokens
    """The first of these; if there are none, the first sample."""


def compare(sides: Mapping[Side, SideResult]) -> TokenComparison:
    """Of two sides with a common sample."""
    ours, theirs = (sides[side].tokens_by_sample() for side in SIDES)
    batch = sides["baseline"].workload.batch
    samples = [_compare(sample, ours[sample], theirs[sample], batch) for sample in sorted(ours.keys() & theirs.keys())]
    different = [found for found in samples if not found.identical]
    return TokenComparison(len(samples), len(different), (different or samples)[0])


def _compare(sample: int, ours: Sequence[tuple[int, ...]], theirs: Sequence[tuple[int, ...]], batch: int) -> SampleTokens:
    distinct: dict[Side, int] = {"baseline": len(set(ours)), "optimized": len(set(theirs))}
    lengths: dict[Side, int] = {"baseline": len(ours[-1]) // batch, "optimized": len(theirs[-1]) // batch}
    first = first_difference(ours[-1], theirs[-1])
    if first is None or batch == 1:
        return SampleTokens(sample, distinct, lengths, first)
    return SampleTokens(sample, distinct, lengths, first // batch, first % batch)


def first_difference(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """Index of the first token that differs, or at which the shorter output ends. None if they are identical."""
    if tuple(ours) == tuple(theirs):
        return None
    pairs = zip(ours, theirs, strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(theirs)))


def distinct_outputs(measured: SideResult) -> tuple[int, int]:
    """Of the first sample: number of different outputs, and of runs."""
    tokens = measured.tokens_by_sample()[0]
    return len(set(tokens)), len(tokens)
