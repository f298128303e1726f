"""Traces to test with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evbench.pipelines.build import build
from evbench.results import STAGES, Trace, Workload
from evbench.traces.chrome import Event
from evbench.variants.named import parse
from evbench.worker.instruments import instruments
from evbench.worker.messages import TraceSpec
from evbench.worker.profile import profile
from tests.examples import CLIP
from tests.scene_files import small_clip

TOKENS = 5
HOST, GPU = 100, 0
"""Processes in a trace that is made by hand."""
STREAM = 7


def profile_tiny(variant: str, file: Path, modules: bool = False, device: str = "cpu") -> Trace:
    """A real one, of a small model."""
    dtype = {"cpu": "float32", "cuda": "bfloat16"}[device]
    workload = Workload("video-llava", "tiny", None, (CLIP,), 8, "inclusive", "What is it?", TOKENS, False, device, dtype, 0, kind="video")
    pipeline: Any = build(parse(variant), workload)
    return profile(pipeline, small_clip(0), TraceSpec(file, variant, TOKENS, TOKENS + 2, modules), instruments(device))


def host_range(name: str, start: float, length: float, number: int = 0) -> Event:
    return {"ph": "X", "cat": "user_annotation", "name": f"evbench/{name}", "pid": HOST, "tid": HOST, "ts": start, "dur": length,
            "args": {"External id": number}}  # fmt: skip


def stages(start: float = 0.0, length: float = 100.0, gap: float = 10.0) -> list[Event]:
    return [host_range(name, start + index * (length + gap), length, index + 1) for index, name in enumerate(STAGES)]


def operation(name: str, start: float, length: float) -> Event:
    return {"ph": "X", "cat": "cpu_op", "name": name, "pid": HOST, "tid": HOST, "ts": start, "dur": length}


def call(correlation: int, start: float, length: float = 1.0, name: str = "cudaLaunchKernel") -> Event:
    return {"ph": "X", "cat": "cuda_runtime", "name": name, "pid": HOST, "tid": HOST, "ts": start, "dur": length,
            "args": {"correlation": correlation}}  # fmt: skip


def kernel(correlation: int, start: float, length: float, name: str = "gemm", **arguments: int) -> Event:
    category = "gpu_memcpy" if "bytes" in arguments else "kernel"
    return {"ph": "X", "cat": category, "name": name, "pid": GPU, "tid": STREAM, "ts": start, "dur": length,
            "args": {"correlation": correlation, **arguments}}  # fmt: skip


def arrow(correlation: int, start: float, end: float) -> list[Event]:
    ends = (("s", HOST, HOST, start), ("f", GPU, STREAM, end))
    return [
        {"ph": kind, "cat": "ac2g", "name": "ac2g", "id": correlation, "pid": process, "tid": track, "ts": moment}
        for kind, process, track, moment in ends
    ]


def launched(correlation: int, called: float, start: float, length: float, name: str = "gemm", **arguments: int) -> list[Event]:
    """A kernel with its call and the arrow between them."""
    return [call(correlation, called), kernel(correlation, start, length, name, **arguments), *arrow(correlation, called, start)]


def one(events: Iterable[Event], **fields: Any) -> Event:
    """The only event with such fields."""
    (found,) = (event for event in events if all(event.get(name) == value for name, value in fields.items()))
    return found
