"""Seen against unseen input of one side: few pairs of runs, and more where these look as if something were remembered."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from evbench.results import CacheCheck, Run
from evbench.verdict.caches import suspected
from evbench.worker.messages import CacheCheckRequest

PAIRS = 4
"""Of runs, in one request."""
ROUNDS = 3
"""Requests at most."""


class CacheSource(Protocol):
    """A worker that runs a sample in pairs of seen and unseen input."""

    def cache_check(self, request: CacheCheckRequest) -> CacheCheck: ...


def most_ahead(ours: Sequence[Run], theirs: Sequence[Run]) -> int:
    """The sample at which a side is furthest ahead of the other one: something may be remembered of single samples only.

    Args:
        ours, theirs: all runs of both sides. Those that were timed count.
    """
    mine, others = _log_seconds(ours), _log_seconds(theirs)
    both = sorted(mine.keys() & others.keys())
    return max(both, key=lambda sample: others[sample] - mine[sample], default=0)


def _log_seconds(runs: Sequence[Run]) -> dict[int, float]:
    """Sample -> mean logarithm of its times."""
    found = defaultdict[int, list[float]](list)
    for run in runs:
        if run.kind == "timed":
            found[run.sample].append(math.log(run.seconds))
    return {sample: statistics.fmean(logs) for sample, logs in found.items()}


def check(worker: CacheSource, seed: int, sample: int = 0) -> CacheCheck:
    """Of one sample.

    Args:
        seed: of the session. Of one sample, both sides are given the same unseen input.
    """
    found = worker.cache_check(CacheCheckRequest(sample, seed * ROUNDS, PAIRS))
    for further in range(1, ROUNDS):
        if not suspected(found):
            break
        more = worker.cache_check(CacheCheckRequest(sample, seed * ROUNDS + further, PAIRS))
        unchanged = {stage: max(share, more.unchanged.get(stage, 0.0)) for stage, share in found.unchanged.items()}
        found = CacheCheck(found.pairs + more.pairs, found.other_bytes and more.other_bytes, unchanged)
    return found
