"""What the processes and tracks of a trace are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evbench.traces.chrome import Event

UNNAMED = "profiler"
"""Process of what torch.profiler records of itself."""


def named(events: Sequence[Event], side: str, variant: str) -> list[Event]:
    """The events, each process named by its side, if there are two, what it is, and the variant: `A baseline GPU 0: baseline`.

    Of a GPU that did nothing the names are left out.
    """
    labels = {event["pid"]: event["args"]["labels"] for event in _names(events, "process_labels")}
    called = {event["pid"] for event in _names(events, "process_name")}
    shown = {event.get("pid"): None for event in events if event["ph"] != "M"}
    shown_events = [event for event in events if event["ph"] != "M" or event.get("pid") in shown]
    found = [
        _process(event["pid"], _title(side, event["pid"], labels, variant)) if _is(event, "process_name") else event
        for event in shown_events
    ]
    found += [_process(process, _title(side, process, labels, variant)) for process in shown if process not in called]
    tracks = {(event.get("pid"), event.get("tid")): None for event in shown_events if isinstance(event.get("tid"), str) and event["tid"]}
    found += [{"ph": "M", "name": "thread_name", "pid": process, "tid": track, "args": {"name": track}} for process, track in tracks]
    return found


def _title(side: str, process: Any, labels: dict[Any, str], variant: str) -> str:
    """Words stand in the place of some processes' numbers."""
    kind = labels.get(process) or (process if isinstance(process, str) and process else UNNAMED)
    return f"{side} {kind}: {variant}".strip()


def _process(process: Any, name: str) -> Event:
    return {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": name}}


def _names(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in events if _is(event, kind)]


def _is(event: Event, kind: str) -> bool:
    return event["ph"] == "M" and event.get("name") == kind
