"""Medians of the runs so far, for whoever waits for a long session. Nothing is claimed of them, and nothing is decided by them."""

from __future__ import annotations

import statistics
from bisect import insort
from collections.abc import Iterable

from evbench.report.units import format_seconds
from evbench.results import STAGES, Run, Side
from evbench.session.progress import MEDIANS
from evbench.verdict.blocks import END_TO_END, TIMED


class LiveMedians:
    """Of the end-to-end time and of each stage, on each side. Values are kept in order: a median of thousands costs no sorting."""

    def __init__(self, runs: dict[Side, list[Run]]) -> None:
        """`runs`: those of an earlier session that is resumed."""
        self._values: dict[Side, dict[str, list[float]]] = {}
        for side, of_side in runs.items():
            self.add(side, (run for run in of_side if run.kind == "timed"))

    def add(self, side: Side, runs: Iterable[Run]) -> None:
        found = self._values.setdefault(side, {name: [] for name in (END_TO_END, *STAGES)})
        for run in runs:
            for name, ordered in found.items():
                if (seconds := TIMED[name](run)) is not None:
                    insort(ordered, seconds)

    def in_words(self) -> str:
        """Behind the name of an activity: `; medians: baseline 483 ms (load 79.7 ms, ...)`. Empty before the first run."""
        sides = [self._of_side(side, found) for side, found in sorted(self._values.items()) if found[END_TO_END]]
        return MEDIANS + ", ".join(sides) if sides else ""

    def _of_side(self, side: Side, found: dict[str, list[float]]) -> str:
        stages = [f"{name} {_median(found[name])}" for name in STAGES if found[name]]
        return f"{side} {_median(found[END_TO_END])}" + (f" ({', '.join(stages)})" if stages else "")


def _median(ordered: list[float]) -> str:
    return format_seconds(statistics.median(ordered[_middle(ordered)]))


def _middle(ordered: list[float]) -> slice:
    """The one or two in the middle: `statistics.median` would sort all of them again."""
    return slice((len(ordered) - 1) // 2, len(ordered) // 2 + 1)
