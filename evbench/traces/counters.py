"""What is drawn as curves: memory, clock, power, tokens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynvml

from evbench.machine import gpu
from evbench.traces.chrome import Event, end, slices
from evbench.traces.timeline import Timeline

PAUSE = 0.002
"""Seconds between two readings."""
MEMORY = "[memory]"
"""What torch.profiler calls an allocation."""
HOST, GPU = 0, 1
"""`Device Type` of an allocation."""
Curve = tuple[str, str]
"""Name and unit."""
Reading = tuple[int, Curve, float]
"""Nanoseconds since 1970, the clock of torch.profiler; which curve; value."""


@contextmanager
def read_meanwhile(gauges: Mapping[Curve, Callable[[], float | None]], pause: float = PAUSE) -> Iterator[list[Reading]]:
    """Read the gauges again and again in another thread. Yields the list that they fill."""
    readings: list[Reading] = []
    ended = threading.Event()

    def watch() -> None:
        while True:
            for curve, read in gauges.items():
                if (value := read()) is not None:
                    readings.append((time.time_ns(), curve, value))
            if ended.wait(pause):
                return

    thread = threading.Thread(target=watch, name="evbench-gauges", daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        ended.set()
        thread.join()


def gauges(on_gpu: bool) -> dict[Curve, Callable[[], float | None]]:
    """What can be read on this machine."""
    if not on_gpu:
        return {("memory of the process", "bytes"): _resident}
    handle = gpu.first_visible()
    if handle is None:
        return {}

    def watts() -> float | None:
        milliwatts = gpu.query(pynvml.nvmlDeviceGetPowerUsage, handle)
        return None if milliwatts is None else float(milliwatts) / 1e3

    return {
        ("SM clock", "MHz"): lambda: gpu.query(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
        ("power", "W"): watts,
    }


def _resident() -> float:
    """Size of this process in memory (Linux; proc(5), statm)."""
    return float(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def from_readings(readings: list[Reading], base: int, events: Sequence[Event], pid: Any) -> list[Event]:
    """Those from the first to the last of the events, not those of the time in which the profiler writes its file.

    Args:
        base: the nanoseconds since 1970 that the trace counts from.
    """
    first, last = min(float(event["ts"]) for event in slices(events)), max(end(event) for event in slices(events))
    placed = [counter(curve, (moment - base) / 1e3, pid, value) for moment, curve, value in readings]
    return [event for event in placed if first <= event["ts"] <= last]


def take_memory(events: list[Event], pid: Any) -> None:
    """Make curves of the profiler's allocations: of the GPU's if it has any, else of the host's since recording began."""
    allocations = [event for event in events if event["ph"] == "i" and event.get("name") == MEMORY]
    others = [event for event in events if not (event["ph"] == "i" and event.get("name") == MEMORY)]
    on_gpu = [event for event in allocations if event["args"].get("Device Type") == GPU]
    for event in on_gpu or [event for event in allocations if event["args"].get("Device Type") == HOST]:
        others.append(counter(("memory allocated", "bytes"), event["ts"], pid, event["args"]["Total Allocated"]))
        if on_gpu:
            others.append(counter(("memory reserved", "bytes"), event["ts"], pid, event["args"]["Total Reserved"]))
    events[:] = others


def tokens(timeline: Timeline, pid: Any) -> list[Event]:
    """How many there are: one more when the GPU is done with the prefill, and with each step."""
    if timeline.prefill is None:
        return []
    curve = ("tokens", "produced")  # Perfetto calls a curve by its name and its unit
    found = [counter(curve, timeline.prefill.start, pid, 0)]
    there = timeline.prefill.start
    for number, span in enumerate([timeline.prefill, *timeline.steps], 1):
        there = max(there, max((end(event) for event in timeline.work_in(span)), default=span.end))
        found.append(counter(curve, there, pid, number))
    return found


def counter(curve: Curve, moment: float, pid: Any, value: float) -> Event:
    name, unit = curve
    return {"ph": "C", "name": name, "pid": pid, "tid": 0, "ts": moment, "args": {unit: value}}
