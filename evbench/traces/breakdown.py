"""A trace in numbers: what ran in each stage, for how long, and what the GPU waited for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from evbench.results import Section, Used
from evbench.traces.chrome import Event, correlation, end, slices
from evbench.traces.families import family, short
from evbench.traces.timeline import PREFILL, STEP, Span, Timeline


def sections(timeline: Timeline, events: Sequence[Event]) -> tuple[Section, ...]:
    """Of each stage; of generate its prefill and its decode steps, if the trace has ranges for them."""
    operations = [] if timeline.work else own_times(events)
    return tuple(_section(timeline, name, *spans, operations) for name, spans in _spans(timeline).items())


def _spans(timeline: Timeline) -> dict[str, tuple[Span, Span]]:
    """Name -> when the host launched its work, and when it was done."""
    found = {name: (span, span) for name, span in timeline.stages.items()}
    if timeline.prefill is None:
        return found
    generate, _ = found.pop("generate")
    first = Span(generate.start, timeline.prefill.end)
    rest = Span(first.end, generate.end)
    # The host runs ahead: the prefill ends when the GPU has its last kernel done.
    last = max((end(event) for event in timeline.work_in(first)), default=first.end)
    there = min(max(last, generate.start), generate.end)
    return found | {PREFILL: (first, Span(generate.start, there)), STEP: (rest, Span(there, generate.end))}


def _section(timeline: Timeline, name: str, launched: Span, done: Span, operations: Sequence[tuple[Event, float]]) -> Section:
    if not timeline.work:
        inside = [(event, seconds) for event, seconds in operations if launched.start <= event["ts"] < launched.end]
        return Section(name, done.length / 1e6, None, None, _used(inside))
    work = timeline.work_in(launched)
    busy, host_bound = _gpu_time(timeline, work, done)
    used = _used((event, float(event["dur"]) / 1e6) for event in work)
    return Section(name, done.length / 1e6, busy / 1e6, host_bound / 1e6, used)


def _used(timed: Iterable[tuple[Event, float]]) -> tuple[Used, ...]:
    seconds: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    copied: dict[str, int] = defaultdict(int)
    families: dict[str, str] = {}
    for event, spent in timed:
        name = short(event["name"])
        families.setdefault(name, family(event["name"]))
        seconds[name] += spent
        count[name] += 1
        copied[name] += _bytes(event.get("args", {}).get("bytes"))
    ordered = sorted(seconds, key=lambda name: (-seconds[name], name))
    return tuple(Used(name, families[name], seconds[name], count[name], copied[name]) for name in ordered)


def _bytes(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < 2**63 else 0


def _gpu_time(timeline: Timeline, work: Sequence[Event], span: Span) -> tuple[float, float]:
    """Microseconds in which something ran, and in which nothing did because the host had launched nothing."""
    busy = host_bound = 0.0
    free = span.start
    """Since when nothing has run."""
    for event in sorted(work, key=lambda event: float(event["ts"])):
        start, finish = min(max(float(event["ts"]), span.start), span.end), min(end(event), span.end)
        if start > free:
            host_bound += min(max(_launched(timeline, event) - free, 0.0), start - free)
        busy += max(0.0, finish - max(start, free))
        free = max(free, finish)
    return busy, host_bound + max(0.0, span.end - free)


def _launched(timeline: Timeline, event: Event) -> float:
    """When the host was done with the call that started it. Without such a call: at once."""
    call = timeline.calls.get(correlation(event))
    return float(event["ts"]) if call is None else end(call)


def own_times(events: Sequence[Event]) -> list[tuple[Event, float]]:
    """Operations of the host, and the seconds that each took without the operations inside it."""
    by_track: dict[tuple[Any, Any], list[Event]] = defaultdict(list)
    for event in slices(events):
        if event.get("cat") == "cpu_op":
            by_track[event["pid"], event["tid"]].append(event)
    own: list[tuple[Event, float]] = []
    for track in by_track.values():
        outer: list[tuple[Event, list[float]]] = []  # an operation, and the times of those directly inside it
        for event in sorted(track, key=lambda event: (float(event["ts"]), -float(event["dur"]))):
            while outer and end(outer[-1][0]) <= event["ts"]:
                _close(outer, own)
            if outer:
                outer[-1][1].append(float(event["dur"]))
            outer.append((event, []))
        while outer:
            _close(outer, own)
    return own


def _close(outer: list[tuple[Event, list[float]]], own: list[tuple[Event, float]]) -> None:
    event, inside = outer.pop()
    own.append((event, max(0.0, float(event["dur"]) - sum(inside)) / 1e6))
