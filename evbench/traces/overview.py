"""Tracks that evbench draws above all others: the stages of a run, its completeness, and a ruler for two.

They are made of async events ("b" and "e"), whose track is called as its first slice is, and nothing else. A thread's track would stand in
Perfetto's tree twice, as the thread and as its slices, both with the number of the thread behind their name: both would be pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evbench.traces.chrome import Event, nanoseconds
from evbench.traces.timeline import Timeline, part_name

CATEGORY = "evbench"
"""Of all that is drawn here. What ran has other ones."""
RULER, STAGES, COMPLETENESS = "ruler", "stages", "completeness"
"""Tracks. Those of one side have it in front: `A baseline: stages`."""
PINNED = (f"^{RULER}$", f"^([AB] [a-z]+: )?{STAGES}$", f"^([AB] [a-z]+: )?{COMPLETENESS}$")
"""Names of tracks that a viewer pins, in this order."""
NANOSECONDS = 1000
"""Of a microsecond. Perfetto counts whole ones."""
Move = Callable[[Event], tuple[int, int]]
"""Where an event begins and ends, in nanoseconds."""


@dataclass(frozen=True)
class Bar:
    """A slice to draw, in nanoseconds."""

    name: str
    start: int
    end: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    arrow: Mapping[str, Any] = field(default_factory=dict)
    """`bind_id` in common with another bar, and `flow_out` on the earlier one or `flow_in` on the later one."""


def of_run(timeline: Timeline, move: Move = nanoseconds) -> list[Bar]:
    """Its stages and what is inside of generate, called as people call them: `load` for `evbench/load`."""
    bars = []
    for event in timeline.ranges:
        arguments = {name: value for name, value in event.get("args", {}).items() if name == "token"}
        bars.append(Bar(part_name(event), *move(event), arguments))
    return bars


def whole(name: str, bars: Sequence[Bar]) -> Bar:
    """One as long as all of them."""
    return Bar(name, min(bar.start for bar in bars), max(bar.end for bar in bars))


def draw(tracks: Mapping[str, Sequence[Bar]], pid: Any) -> list[Event]:
    """The tracks, by name, in the process `pid`. Bars of one track lie inside each other or follow each other."""
    return [event for number, (name, bars) in enumerate(tracks.items(), 1) for event in _draw(name, bars, pid, number)]


def _draw(name: str, bars: Sequence[Bar], pid: Any, number: int) -> list[Event]:
    """At the same moment, what ends stands in front of what begins."""
    track = {"cat": CATEGORY, "pid": pid, "tid": 0, "id2": {"local": hex(number)}}
    events: list[Event] = []
    unfinished: list[tuple[str, int]] = []

    def begin(bar: Bar, end: int) -> None:
        events.append(track | {"ph": "b", "name": bar.name, "ts": bar.start / NANOSECONDS, "args": dict(bar.arguments)} | dict(bar.arrow))
        unfinished.append((bar.name, end))

    def finish(latest: int) -> None:
        called, end = unfinished.pop()
        events.append(track | {"ph": "e", "name": called, "ts": min(end, latest) / NANOSECONDS})

    ordered = sorted(bars, key=lambda bar: (bar.start, -bar.end))
    names_it = Bar(name, ordered[0].start, ordered[0].start)  # without length: nothing of it is seen
    for bar in [names_it, *ordered]:
        # Rounded, one may reach a nanosecond into the next one, or out of the one around it.
        while unfinished and unfinished[-1][1] - 1 <= bar.start:
            finish(bar.start)
        begin(bar, min(bar.end, unfinished[-1][1]) if unfinished else bar.end)
    while unfinished:
        finish(unfinished[-1][1])
    return events
