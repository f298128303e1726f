"""Which part of a run each event of a trace belongs to."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from evbench.errors import UserError
from evbench.results import STAGES
from evbench.traces.chrome import CALLS, GPU_WORK, Event, correlation, end, slices

PREFIX = "evbench/"
"""Of the ranges that evbench puts into a trace: `evbench/load` and so on."""
PREFILL, STEP, TEXT = "prefill", "decode", "text"
"""Ranges inside generate: the prefill, each decode step, and what follows the last one."""


@dataclass(frozen=True)
class Span:
    """In microseconds."""

    start: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.start


class Timeline:
    """One run through the four stages.

    What runs on the GPU belongs where the host launched it: kernels lag behind.
    """

    def __init__(self, events: Sequence[Event], named: Path | str) -> None:
        """Raises UserError, with the name of the file, if it is not one run of evbench."""
        everything = slices(events)
        ranges = [event for event in everything if event.get("cat") == "user_annotation" and event["name"].startswith(PREFIX)]
        self.ranges = sorted(ranges, key=lambda event: float(event["ts"]))
        """Stages and what is inside of generate."""
        self.stages = {name: Span(float(event["ts"]), end(event)) for event in self.ranges if (name := part_name(event)) in STAGES}
        _require_one_run([part_name(event) for event in self.ranges if part_name(event) in STAGES], named)
        if any(after.start < before.end for before, after in pairwise(self.stages.values())):
            raise UserError(f"{named}: its stages overlap; give the trace of one variant, recorded by evbench")
        self.steps = [Span(float(event["ts"]), end(event)) for event in self.ranges if part_name(event) == STEP]
        self.prefill = next((Span(float(event["ts"]), end(event)) for event in self.ranges if part_name(event) == PREFILL), None)
        self._named = {event.get("args", {}).get("External id"): event for event in everything if event.get("cat") == "user_annotation"}
        self.calls = {correlation(event): event for event in everything if event.get("cat") in CALLS and correlation(event) is not None}
        self.work = sorted((event for event in everything if event.get("cat") in GPU_WORK), key=self.caused)
        """What ran on the GPU, in the order of its launches."""
        self._causes = [self.caused(event) for event in self.work]
        self._starts = [span.start for span in self.stages.values()]

    def cause(self, event: Event) -> Event | None:
        """What the host did that this is on the GPU for: it belongs where that is. None for what is on the host itself."""
        if event.get("cat") in GPU_WORK:
            return self.calls.get(correlation(event))
        if event.get("cat") == "gpu_user_annotation":
            return self._named.get(event.get("args", {}).get("External id"))
        if event.get("cat") == "ac2g" and event["ph"] == "f":
            return self.calls.get(event.get("id"))
        return None

    def caused(self, event: Event) -> float:
        """The moment by which it belongs to a stage."""
        return float((self.cause(event) or event)["ts"])

    def stage_at(self, moment: float) -> str | None:
        """None between two stages, and outside of all."""
        name = self.segment_at(moment)
        return name if self.stages[name].start <= moment <= self.stages[name].end else None

    def segment_at(self, moment: float) -> str:
        """The stage that began last. Before the first: the first."""
        return STAGES[max(0, bisect_right(self._starts, moment) - 1)]

    def work_in(self, span: Span) -> list[Event]:
        """What was launched then."""
        return self.work[bisect_left(self._causes, span.start) : bisect_left(self._causes, span.end)]


def part_name(event: Event) -> str:
    """`load` for `evbench/load`."""
    return str(event["name"]).removeprefix(PREFIX)


def _require_one_run(found: Sequence[str], named: Path | str) -> None:
    if not found:
        raise UserError(f"{named} is a trace of something else: it has no range {PREFIX}{STAGES[0]}; give one that evbench trace wrote")
    if missing := [stage for stage in STAGES if stage not in found]:
        raise UserError(f"{named} has no range {PREFIX}{missing[0]}: it is cut off, or of something else; record it again")
    if len(found) > len(STAGES):
        raise UserError(f"{named} holds several runs; give the trace of one variant, not one that was merged")
    if tuple(found) != STAGES:
        raise UserError(f"{named}: its stages come in the order {', '.join(found)}; record it again")
