"""One sample under torch.profiler, in a run of its own: a profiled run is never a timed run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evbench.stages import Pipeline, run_stages

PREFIX = "evbench/"
"""Stages are named ranges in the trace: `evbench/load` and so on."""


def profile(pipeline: Pipeline[Any, Any, Any], path: Path, new_tokens: int, file: Path, synchronize: Callable[[], None]) -> None:
    """Write a Chrome trace (`.json.gz`, opens in Perfetto) of one sample with `new_tokens` decode steps."""
    import torch
    from torch.profiler import ProfilerActivity, record_function

    @contextmanager
    def named(stage: str) -> Iterator[None]:
        with record_function(PREFIX + stage):
            yield
            synchronize()  # a stage's kernels end inside its range

    run_stages(pipeline, path, new_tokens, named)  # the shortened decode must not be seen for the first time
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    with torch.profiler.profile(activities=activities) as profiler:
        run_stages(pipeline, path, new_tokens, named)
    profiler.export_chrome_trace(str(file))
