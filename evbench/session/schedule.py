"""The order of runs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from evbench.results import LETTERS, RunOrder, Side

PATTERNS: dict[RunOrder, tuple[str, ...]] = {"interleaved": ("ABBA", "BAAB"), "reload": ("AAAABBBB", "BBBBAAAA")}
"""A is the baseline, B the optimized side; each letter is a slot of two runs, and of a stream behind them if there are any.

Within ABBA a steady drift cancels, and drawing the pattern by lot keeps either side from being first for a reason. A fixed order
finds differences between a variant and itself: AAABBB in 49 to 87 % of comparisons, ABAB in 53 to 100 % (simulated with a drift of
3 % and a first slot that is 2 % slower; tests/test_simulation.py repeats it).
"""

SLOT = 2
"""Runs of a letter."""
BLOCKED_RUNS = 4
"""Of each side, to confirm that the order of runs does not matter."""


def pattern(sides: Sequence[Side], order: RunOrder, seed: int, block: int) -> str:
    """Of one block, drawn by lot: the same for the same seed and block, so that an interrupted session can go on."""
    if len(sides) == 1:
        return LETTERS[sides[0]] * 2
    return random.Random(f"{seed}/{block}").choice(PATTERNS[order])


def slots(letters: str) -> Iterator[tuple[Side, bool]]:
    """Each run of a block: whose turn it is, and whether with stage synchronization.

    Every slot has one run of either kind. Which is first alternates, because the first after the other side's turn finds its caches
    cold.

    >>> list(slots("AB"))
    [('baseline', False), ('baseline', True), ('optimized', False), ('optimized', True)]
    """
    sides = {letter: side for side, letter in LETTERS.items()}
    stage_sync = dict.fromkeys(LETTERS, False)
    for letter in letters:
        side = sides[letter]
        yield side, stage_sync[side]
        yield side, not stage_sync[side]
        stage_sync[side] = not stage_sync[side]


def block_runs(letters: str, *, throughput: bool) -> list[tuple[Side, bool | None]]:
    """All runs of a block in their order: those of `slots`, and behind each letter a throughput run if there are any, marked by None."""
    runs: list[tuple[Side, bool | None]] = []
    for place, (side, stage_sync) in enumerate(slots(letters), 1):
        runs.append((side, stage_sync))
        if throughput and place % SLOT == 0:
            runs.append((side, None))
    return runs
