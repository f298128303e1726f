"""Which samples are independent of each other: those of one sequence are not. Pure.

Windows that are cut out of one recording show the same street, and overlap in time: what one of them gains, its neighbour gains. An
interval that counts each of them claims to have seen more of the world than it has. So the units of every interval over samples are
sequences, each with the mean of its samples (Cameron and Miller, A practitioner's guide to cluster-robust inference, Journal of Human
Resources 50, 2015).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from evbench.results import Sample


def clusters(samples: Sequence[Sample]) -> tuple[int, ...]:
    """For each sample the number of its cluster: that of the first sample of its sequence. A sample of no sequence is one by itself.

    Where all are of one sequence, each is one by itself as well: nothing is said of other sequences then, and `one_sequence` tells.
    """
    if one_sequence(samples):
        return tuple(range(len(samples)))
    first: dict[str, int] = {}
    return tuple(number if one.sequence is None else first.setdefault(one.sequence, number) for number, one in enumerate(samples))


def one_sequence(samples: Sequence[Sample]) -> bool:
    """Whether there are several samples, all of the same sequence."""
    return len(samples) > 1 and len({sample.sequence for sample in samples}) == 1 and samples[0].sequence is not None


def unit(samples: Sequence[Sample]) -> str:
    """What a run is of, and blocks and failures are counted by: "samples", or "batches of 4 samples"."""
    batch = len(samples[0].rows())
    return "samples" if batch == 1 else f"batches of {batch} samples"


def cluster_means(values: Mapping[int, float], samples: Sequence[Sample]) -> list[float]:
    """Of each cluster that has values. `values`: number of a sample -> its value."""
    of = clusters(samples)
    found: dict[int, list[float]] = {}
    for sample, value in values.items():
        found.setdefault(of[sample], []).append(value)
    return [statistics.fmean(some) for some in found.values()]
