"""One sample under torch.profiler, in a run of its own: a profiled run is never a timed run."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from evbench.measure import Instruments
from evbench.results import Trace
from evbench.stages import Stages, run_stages

Done = TypeVar("Done")

PREFIX = "evbench/"
"""Stages are named ranges in the trace: `evbench/load` and so on."""
GPU_WORK = ("kernel", "gpu_memcpy", "gpu_memset")
"""Categories of what runs on a stream, as torch.profiler names them."""


def profile(pipeline: Stages[Any, Any, Any], path: Path, new_tokens: int, file: Path, using: Instruments) -> Trace:
    """Write a Chrome trace (`.json.gz`, opens in Perfetto) of one sample with `new_tokens` decode steps."""

    def timed() -> float:
        start = using.clock()
        run_stages(pipeline, path, new_tokens, ranges(using))
        return (using.clock() - start) / 1e9

    timed()  # the shortened decode must not be seen for the first time
    plain = timed()
    profiled = record(timed, file)
    rewrite(file)
    return Trace(file.name, new_tokens, profiled / plain)


def ranges(using: Instruments) -> Callable[[str], AbstractContextManager[None]]:
    """For `run_stages`: each stage as a named range, which its kernels do not outlast."""
    from torch.profiler import record_function

    @contextmanager
    def named(stage: str) -> Iterator[None]:
        with record_function(PREFIX + stage):
            yield
            using.synchronize()  # a stage's kernels end inside its range

    return named


def record(once: Callable[[], Done], file: Path) -> Done:
    """What `once` returns, run under torch.profiler, whose Chrome trace is written to `file`."""
    import torch
    from torch.profiler import ProfilerActivity

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    with torch.profiler.profile(activities=activities) as profiler:
        done = once()
    profiler.export_chrome_trace(str(file))
    return done


def events(file: Path) -> list[dict[str, Any]]:
    """All events of a Chrome trace that the profiler wrote."""
    with gzip.open(file, "rt", encoding="utf-8") as source:
        return list(json.load(source)["traceEvents"])


def rewrite(file: Path) -> None:
    """Put kernels that overlap on one stream onto tracks of their own, in a trace that the profiler wrote."""
    with gzip.open(file, "rt", encoding="utf-8") as source:
        trace = json.load(source)
    separate_overlaps(trace["traceEvents"])
    with gzip.open(file, "wt", encoding="utf-8") as target:
        json.dump(trace, target)


def separate_overlaps(events: list[dict[str, Any]]) -> None:
    """Move each GPU event that starts before the last one on its stream has ended to a further track, its launch arrow with it.

    With dependent launch a kernel may start before the one in front of it has ended (cuBLASLt's splitKreduce does). A track
    cannot show that: Perfetto drops such a slice.
    """
    moved: dict[Any, Any] = {}
    ends: dict[tuple[Any, Any], list[float]] = {}
    for event in sorted((event for event in events if event.get("cat") in GPU_WORK), key=lambda event: float(event["ts"])):
        stream = (event["pid"], event["tid"])
        lanes = ends.setdefault(stream, [])
        lane = next((index for index, end in enumerate(lanes) if end <= event["ts"]), len(lanes))
        lanes[lane : lane + 1] = [event["ts"] + event["dur"]]
        if lane:
            event["tid"] = _track(stream, lane)
            moved[event["args"].get("correlation")] = event["tid"]
    for event in events:
        if event.get("cat") == "ac2g" and event["ph"] == "f" and event["id"] in moved:
            event["tid"] = moved[event["id"]]
    for stream, lanes in ends.items():
        for lane in range(1, len(lanes)):
            name = {"name": f"stream {stream[1]}, overlapping"}
            events.append({"ph": "M", "name": "thread_name", "pid": stream[0], "tid": _track(stream, lane), "args": name})


def _track(stream: tuple[Any, Any], lane: int) -> int:
    """A track number that no stream has."""
    return int(stream[1]) + 1_000_000 * lane
