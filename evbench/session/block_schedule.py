"""Which sample the next block is of, and when there are enough blocks."""

from __future__ import annotations

import math
from collections import Counter

from evbench.session.config import SessionConfig
from evbench.session.side_results import Untimed, session_of, side_results
from evbench.verdict import blocks as verdict_blocks
from evbench.verdict.statistics import FEWEST_BLOCKS

SPARE = 1.2
"""More blocks than the width calls for, so that one estimate more is rarely needed."""
MOST_GROWTH = 4.0
"""Of the number of blocks at once: the first widths are rough."""


def too_few_blocks(blocks: int, clusters: int, precision: float | None) -> str:
    """In words, if so many planned blocks have no interval, whatever is measured. Empty if they have.

    Args:
        clusters: how many samples are independent of each other.
    """
    if clusters > 1 or precision is not None or blocks >= FEWEST_BLOCKS:
        return ""
    return f"--blocks {blocks} are too few for any interval; give {FEWEST_BLOCKS} at least"


class BlockSchedule:
    """The planned blocks, and with `--precision` further ones until the interval is narrow."""

    def __init__(self, config: SessionConfig) -> None:
        self._config = config
        self.wanted = 0
        """Blocks that have to count before the width of the interval is estimated again."""

    def next_sample(self) -> int | None:
        """The sample with the fewest blocks that count. None if there are enough blocks."""
        blocks, samples, planned = self._config.journal.state.blocks, self._config.samples, self._config.planned_blocks
        redo = self._config.redone or not any(block.disturbances for block in blocks)
        counted = Counter(block.sample for block in blocks if not (redo and block.disturbances))
        fewest = min(range(samples), key=lambda sample: (counted[sample], sample))
        # Also of those that something disturbed, every sample has its share.
        if counted[fewest] * samples < planned or (redo and counted.total() % samples):
            return fewest
        return fewest if redo and self._is_too_wide(counted.total()) else None

    def _is_too_wide(self, counted: int) -> bool:
        config, precision = self._config, self._config.plan.precision
        if precision is None or config.journal.state.timed_seconds() >= config.plan.max_seconds:
            return False
        # Stopping at the first block at which the interval happens to be narrow would make it narrow by luck. So it is estimated
        # rarely: from its width follows how many blocks it will take, and these are run first.
        if counted < self.wanted:
            return True
        width = verdict_blocks.half_width(session_of(config, Untimed()), side_results(config, Untimed()))
        if width is not None and width <= precision:
            return False
        growth = MOST_GROWTH if width is None else min(MOST_GROWTH, (width / precision) ** 2)
        self.wanted = max(counted + 1, math.ceil(counted * growth * SPARE))
        return True
