"""Seen against unseen input of one side: few pairs of runs, and more where these look as if something were remembered."""

from __future__ import annotations

from typing import Protocol

from evbench.results import CacheCheck
from evbench.verdict.caches import suspected
from evbench.worker.messages import CacheCheckRequest

PAIRS = 4
"""Of runs, in one request."""
ROUNDS = 3
"""Requests at most."""


class CacheSource(Protocol):
    """A worker that runs a sample in pairs of seen and unseen input."""

    def cache_check(self, request: CacheCheckRequest) -> CacheCheck: ...


def check(worker: CacheSource, seed: int, sample: int = 0) -> CacheCheck:
    """Of one sample: what is remembered of it is remembered of others.

    Args:
        seed: of the session. Both sides are given the same unseen input.
    """
    found = worker.cache_check(CacheCheckRequest(sample, seed * ROUNDS, PAIRS))
    for further in range(1, ROUNDS):
        if not suspected(found):
            break
        more = worker.cache_check(CacheCheckRequest(sample, seed * ROUNDS + further, PAIRS))
        unchanged = {stage: max(share, more.unchanged.get(stage, 0.0)) for stage, share in found.unchanged.items()}
        found = CacheCheck(found.pairs + more.pairs, found.other_bytes and more.other_bytes, unchanged)
    return found
