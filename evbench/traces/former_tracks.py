"""Traces that were recorded when evbench drew its tracks as threads, with numbers that no thread has, are drawn as they are today."""

from __future__ import annotations

from pathlib import Path

from evbench.traces import overview
from evbench.traces.chrome import Event, Trace
from evbench.traces.completeness import stamped
from evbench.traces.lanes import separate_overlaps
from evbench.traces.timeline import PREFIX, Timeline

STAGES, COMPLETENESS = 9_999_999, 9_999_998
"""Numbers of the threads. The stages had been moved there from the thread that ran them: the first of its process."""


def redrawn(trace: Trace, file: Path) -> Trace:
    """With the stages on the thread that ran them, and tracks to pin. A trace that has no such threads is returned as it is.

    Raises:
        UserError: it has them, and is not one run of evbench.
    """
    if not any(event.get("tid") == STAGES and str(event.get("name")).startswith(PREFIX) for event in trace.events):
        return trace
    events = [_moved(event) for event in trace.events if not _is_drawn(event)]
    separate_overlaps(events)
    timeline = Timeline(events, file)
    bars = overview.of_run(timeline)
    tracks = {overview.STAGES: bars}
    if (stamp := stamped(trace)) is not None:
        tracks[overview.COMPLETENESS] = [overview.whole(stamp, bars)]
    return Trace(trace.header, [*events, *overview.draw(tracks, timeline.ranges[0]["pid"])])


def _is_drawn(event: Event) -> bool:
    """Whether it shows what the trace holds elsewhere: the stamp, and the names of both tracks."""
    return event.get("tid") == COMPLETENESS or (event.get("tid") == STAGES and event["ph"] == "M")


def _moved(event: Event) -> Event:
    """A copy, which may be changed."""
    return event | ({"tid": event["pid"]} if event.get("tid") == STAGES else {})
