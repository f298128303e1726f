"""Two traces on one timeline: as they ran, and with each stage of both beginning at the same place."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evbench.results import LETTERS, STAGES, Side
from evbench.traces.chrome import KNOWN_BY, Event, Trace, nanoseconds
from evbench.traces.lanes import close_up
from evbench.traces.names import named
from evbench.traces.timeline import Timeline

PROCESSES = 1_000_000
"""Added to the numbers of a side's processes."""
IDENTITIES = 2**32
"""Added to the numbers that a side's events are known by to each other."""
WORDS = 2**30
"""First number of a track that had a word for one."""
FIRST_GPU = 5_000_000
"""Place that torch.profiler gives to the first GPU among the processes."""
COMPARISON = 1
"""Number of the process that shows both sides' stages."""
RULER = "evbench ruler"
NANOSECONDS = 1000
"""Of a microsecond. Perfetto counts whole ones, and so does whoever moves an event."""
Move = Callable[[Event], tuple[int, int]]
"""Where an event begins and ends, in nanoseconds."""


@dataclass(frozen=True)
class TraceSide:
    trace: Trace
    timeline: Timeline
    title: str


def merge(sides: Mapping[Side, TraceSide], arguments: Mapping[str, Mapping[str, Any]], aligned: bool) -> Trace:
    """One trace of two.

    Args:
        arguments: stage -> what the comparison found: times, ratio, interval, verdict. Shown with the stage and with its arrow.
        aligned: begin each stage of both sides when the slower of the two is done with the stage before. Nothing moves to an
            earlier time within its side.
    """
    offsets = _aligned(sides) if aligned else _as_it_ran(sides)
    shifts = {side: [round(shift * NANOSECONDS) for shift in offsets[side]] for side in sides}
    moves = {side: _move(trace_side.timeline, shifts[side]) for side, trace_side in sides.items()}
    earliest = min(moves[side](event)[0] for side, trace_side in sides.items() for event in trace_side.trace.events if event["ph"] != "M")
    shifts = {side: [shift - earliest for shift in shifts[side]] for side in sides}
    events = [event for number, side in enumerate(sides, 1) for event in _side(sides[side], side, number, shifts[side])]
    close_up(events)
    events += _comparison(sides, shifts, arguments, aligned)
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


def _side(trace_side: TraceSide, side: Side, number: int, shifts: Sequence[int]) -> list[Event]:
    """Its events, moved, with numbers that are its own."""
    move = _move(trace_side.timeline, shifts)
    processes, threads = _Numbers(PROCESSES * number), _Numbers(WORDS)
    moved = []
    for original in named(trace_side.trace.events, f"{LETTERS[side]} {side}", trace_side.title):
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
    return moved


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


def _comparison(
    sides: Mapping[Side, TraceSide], shifts: Mapping[Side, Sequence[int]], arguments: Mapping[str, Mapping[str, Any]], aligned: bool
) -> list[Event]:
    """A process above all: a track of each side's stages, arrows between them, and a ruler if they are aligned."""
    events: list[Event] = [
        {"ph": "M", "name": "process_name", "pid": COMPARISON, "tid": 0, "args": {"name": "comparison"}},
        {"ph": "M", "name": "process_sort_index", "pid": COMPARISON, "tid": 0, "args": {"sort_index": -1}},
    ]
    tracks: dict[str, int] = {RULER: 1} if aligned else {}
    tracks |= {f"evbench {LETTERS[side]} {side}": number for number, side in enumerate(sides, 2)}
    for name, number in tracks.items():
        events.append({"ph": "M", "name": "thread_name", "pid": COMPARISON, "tid": number, "args": {"name": name}})
        events.append({"ph": "M", "name": "thread_sort_index", "pid": COMPARISON, "tid": number, "args": {"sort_index": number}})
    for index, stage in enumerate(STAGES):
        of_stage = dict(arguments.get(stage, {}))
        spans = {
            side: (trace_side.timeline.stages[stage].start + shifts[side][index] / NANOSECONDS, trace_side.timeline.stages[stage].length)
            for side, trace_side in sides.items()
        }
        if aligned:
            start, length = min(start for start, _ in spans.values()), max(length for _, length in spans.values())
            events.append(_slice(f"{stage}", start, length, tracks[RULER], of_stage))
        # An arrow leads forward in time: Perfetto draws no other.
        for kind, (side, (start, length)) in zip("sf", sorted(spans.items(), key=lambda item: item[1][0]), strict=True):
            track = tracks[f"evbench {LETTERS[side]} {side}"]
            events.append(_slice(f"{stage}, {length / 1e3:.2f} ms traced", start, length, track, of_stage))
            arrow = {"ph": kind, "cat": "evbench", "name": stage, "id": index + 1, "pid": COMPARISON, "tid": track, "ts": start}
            events.append(arrow | {"args": of_stage} | ({"bp": "e"} if kind == "f" else {}))
    return events


def _slice(name: str, start: float, length: float, track: int, arguments: Mapping[str, Any]) -> Event:
    return {"ph": "X", "cat": "evbench", "name": name, "pid": COMPARISON, "tid": track, "ts": start, "dur": length, "args": dict(arguments)}
