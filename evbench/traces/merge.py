"""Two traces on one timeline: as they ran, and with each stage of both beginning at the same place."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evbench.results import LETTERS, STAGES, Side
from evbench.traces.chrome import KNOWN_BY, Event, Trace, nanoseconds
from evbench.traces.completeness import stamped
from evbench.traces.lanes import close_up
from evbench.traces.names import named
from evbench.traces.overview import CATEGORY, COMPLETENESS, NANOSECONDS, RULER, Bar, Move, draw, of_run, whole
from evbench.traces.overview import STAGES as STAGE_TRACK
from evbench.traces.timeline import Timeline

PROCESSES = 1_000_000
"""Added to the numbers of a side's processes."""
IDENTITIES = 2**32
"""Added to the numbers that a side's events are known by to each other."""
WORDS = 2**30
"""First number of a track that had a word for one."""
FIRST_ARROW = 2**62
"""Number of an arrow between the sides. Perfetto itself counts those of launches from one, and knows both by one number."""
FIRST_GPU = 5_000_000
"""Place that torch.profiler gives to the first GPU among the processes."""


@dataclass(frozen=True)
class TraceSide:
    trace: Trace
    timeline: Timeline
    title: str


def merge(sides: Mapping[Side, TraceSide], arguments: Mapping[str, Mapping[str, Any]], aligned: bool) -> Trace:
    """One trace of two.

    Args:
        arguments: stage -> what the comparison found: times, ratio, interval, verdict. Shown with the stage.
        aligned: begin each stage of both sides when the slower of the two is done with the stage before. Nothing moves to an
            earlier time within its side.
    """
    offsets = _aligned(sides) if aligned else _as_it_ran(sides)
    shifts = {side: [round(shift * NANOSECONDS) for shift in offsets[side]] for side in sides}
    moves = {side: _move(trace_side.timeline, shifts[side]) for side, trace_side in sides.items()}
    earliest = min(moves[side](event)[0] for side, trace_side in sides.items() for event in trace_side.trace.events if event["ph"] != "M")
    shifts = {side: [shift - earliest for shift in shifts[side]] for side in sides}
    overviews = _overviews(sides, shifts, arguments, aligned)
    events = [event for number, side in enumerate(sides, 1) for event in _side(sides[side], side, number, shifts[side], overviews[side])]
    close_up(events)
    header = {
        key: value for trace_side in sides.values() for key, value in trace_side.trace.header.items() if key not in ("evbench", "traceName")
    }
    header["baseTimeNanoseconds"] = 0  # the clocks of both sides are dropped
    header["evbench"] = {side: trace_side.trace.header.get("evbench", {"variant": trace_side.title}) for side, trace_side in sides.items()}
    return Trace(header, events)


def _as_it_ran(sides: Mapping[Side, TraceSide]) -> dict[Side, list[float]]:
    """Both begin to load at the same time. For each side, how far each stage is moved."""
    return {side: [-trace_side.timeline.stages[STAGES[0]].start] * len(STAGES) for side, trace_side in sides.items()}


def _aligned(sides: Mapping[Side, TraceSide]) -> dict[Side, list[float]]:
    """As above, and each later stage begins at the same time too: when the slower side has reached it."""
    shifts: dict[Side, list[float]] = {side: [] for side in sides}
    place = 0.0
    for number, stage in enumerate(STAGES):
        if number:
            before = STAGES[number - 1]
            place += max(
                trace_side.timeline.stages[stage].start - trace_side.timeline.stages[before].start for trace_side in sides.values()
            )
        for side, trace_side in sides.items():
            shifts[side].append(place - trace_side.timeline.stages[stage].start)
    return shifts


def _move(timeline: Timeline, shifts: Sequence[int]) -> Move:
    """Each moment moves with the stage that began last; what is on the GPU, as a whole with the stage that launched it.

    Args:
        shifts: of each stage, in nanoseconds.
    """
    starts = [span.start for span in timeline.stages.values()]

    def move(event: Event) -> tuple[int, int]:
        begins, ends = nanoseconds(event)
        start = float(event["ts"])
        finish = start + float(event.get("dur", 0.0))
        if (cause := timeline.cause(event)) is not None:
            by = shifts[max(0, bisect_right(starts, float(cause["ts"])) - 1)]
            return begins + by, ends + by
        # What ends where a stage begins ended in the one before.
        first, last = bisect_right(starts, start), max(bisect_right(starts, start), bisect_left(starts, finish))
        return begins + shifts[max(0, first - 1)], ends + shifts[max(0, last - 1)]

    return move


def _side(trace_side: TraceSide, side: Side, number: int, shifts: Sequence[int], overview: Mapping[str, Sequence[Bar]]) -> list[Event]:
    """Its events, moved, with numbers that are its own, and what is drawn above them."""
    move = _move(trace_side.timeline, shifts)
    processes, threads = _Numbers(PROCESSES * number), _Numbers(WORDS)
    moved = []
    recorded = [event for event in trace_side.trace.events if event.get("cat") != CATEGORY]  # what was drawn for it alone is drawn anew
    for original in named(recorded, _named(side), trace_side.title):
        event = original | {"pid": processes.of(original.get("pid"))}
        if not isinstance(original.get("tid"), int):
            event["tid"] = threads.of(original.get("tid"))
        if original["ph"] == "M":
            event.pop("ts", None)
            if original.get("name") == "process_sort_index":
                event["args"] = {"sort_index": PROCESSES * number + (int(original["args"]["sort_index"]) >= FIRST_GPU)}
        else:
            start, finish = move(original)
            event["ts"] = start / NANOSECONDS
            if original["ph"] == "X":
                event["dur"] = max(0, finish - start) / NANOSECONDS
            _identify(event, IDENTITIES * number)
        moved.append(event)
    return moved + draw(overview, processes.of(trace_side.timeline.ranges[0]["pid"]))


def _identify(event: Event, offset: int) -> None:
    """Make the numbers by which events know each other those of one side."""
    if isinstance(event.get("id"), int):
        event["id"] += offset
    if "args" in event:
        numbers = {name: event["args"][name] + offset for name in KNOWN_BY if isinstance(event["args"].get(name), int)}
        event["args"] = event["args"] | numbers


class _Numbers:
    """For processes and threads, some of which have words for numbers."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._known: dict[Any, int] = {}

    def of(self, name: Any) -> int:
        return self._first + self._known.setdefault(name, len(self._known))


def _overviews(
    sides: Mapping[Side, TraceSide], shifts: Mapping[Side, Sequence[int]], arguments: Mapping[str, Mapping[str, Any]], aligned: bool
) -> dict[Side, dict[str, list[Bar]]]:
    """Tracks that are drawn in a process of each side: its stages, with arrows to those of the other one, and its completeness.

    The ruler stands with the first side: in a process of its own there would be nothing else, and Perfetto would show that empty.
    """
    bars = {side: of_run(trace_side.timeline, _move(trace_side.timeline, shifts[side])) for side, trace_side in sides.items()}
    tracks = {side: {f"{_named(side)}: {STAGE_TRACK}": joined} for side, joined in _joined(bars, arguments).items()}
    for side, trace_side in sides.items():
        if (stamp := stamped(trace_side.trace)) is not None:
            tracks[side][f"{_named(side)}: {COMPLETENESS}"] = [whole(stamp, bars[side])]
    if aligned:
        tracks[next(iter(sides))][RULER] = _ruler(bars, arguments)
    return tracks


def _named(side: Side) -> str:
    return f"{LETTERS[side]} {side}"


def _ruler(bars: Mapping[Side, Sequence[Bar]], arguments: Mapping[str, Mapping[str, Any]]) -> list[Bar]:
    """Each stage, as long as the slower side took, with both times."""
    stages = []
    for stage in STAGES:
        both = {side: next(bar for bar in of_side if bar.name == stage) for side, of_side in bars.items()}
        times = ", ".join(f"{LETTERS[side]} {(bar.end - bar.start) / 1e6:.2f} ms" for side, bar in both.items())
        stages.append(replace(whole(f"{stage}: {times} traced", list(both.values())), arguments=arguments.get(stage, {})))
    return stages


def _joined(bars: Mapping[Side, Sequence[Bar]], arguments: Mapping[str, Mapping[str, Any]]) -> dict[Side, list[Bar]]:
    """With an arrow between the two sides of each stage. It leads forward in time: Perfetto draws no other."""
    joined: dict[Side, list[Bar]] = {side: [] for side in bars}
    for side, of_side in bars.items():
        for bar in of_side:
            if bar.name in STAGES:
                first = min(bars, key=lambda other: next(one.start for one in bars[other] if one.name == bar.name))
                arrow = {"bind_id": hex(FIRST_ARROW + STAGES.index(bar.name)), "flow_out" if side == first else "flow_in": True}
                bar = replace(bar, arguments=arguments.get(bar.name, {}), arrow=arrow)
            joined[side].append(bar)
    return joined
