"""The order of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evbench.results import Role


def turns(roles: Sequence[Role], samples: int) -> Iterator[Role]:
    """Each role once per sample, in turn; every second sample in reverse, so that none is always first.

    >>> list(turns(["baseline", "optimized"], 2))
    ['baseline', 'optimized', 'optimized', 'baseline']
    """
    for sample in range(samples):
        yield from roles if sample % 2 == 0 else reversed(roles)
