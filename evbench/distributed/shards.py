"""Which rank has which samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from evbench.errors import UserError
from evbench.results import Plan, Workload


def shards(samples: int, ranks: int) -> list[tuple[int, ...]]:
    """Indices of the samples of each rank. In turn, so that neighbours, which are often alike, are spread.

    >>> shards(5, 2)
    [(0, 2, 4), (1, 3)]
    """
    return [tuple(range(rank, samples, ranks)) for rank in range(ranks)]


def require_enough(samples: int, ranks: int) -> None:
    """Raises UserError if a rank would have nothing to do."""
    if samples < ranks:
        has = "1 sample" if samples == 1 else f"{samples} samples"
        raise UserError(f"{ranks} ranks are more than {has}: some would have nothing to do; start {samples} at most, or give more samples")


def workload_of(workload: Workload, shard: Sequence[int]) -> Workload:
    """With these samples only."""
    return dataclasses.replace(workload, samples=tuple(workload.samples[sample] for sample in shard))


def per_sample(plan: Plan, workload: Workload) -> int:
    """Blocks that one device would give to each sample."""
    return -(-plan.blocks // len(workload.samples))


def plan_of(plan: Plan, workload: Workload, shard: Sequence[int], traced: bool) -> Plan:
    """The part of a rank in the plan for a workload: each of its samples has as many blocks as one device would give it.

    Args:
        traced: whether this rank records the trace.
    """
    blocks = per_sample(plan, workload) * len(shard)
    return dataclasses.replace(
        plan, blocks=blocks, trace_tokens=plan.trace_tokens if traced else 0, trace_modules=plan.trace_modules and traced
    )
