"""One run, timed stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from evbench.results import Kind, Memory, Run, StageRun
from evbench.stages import Pipeline, run_stages


class MemoryGauge(Protocol):
    """Peak memory between `reset` and `read`."""

    def reset(self) -> None: ...

    def read(self) -> Memory: ...


class Stopwatch:
    """Times a stage between two synchronised boundaries, and reads its peak memory outside of them.

    Order: reset the gauge, synchronize, clock, the stage, synchronize, clock, read the gauge. Clock (nanoseconds, monotonic) and
    synchronizer are arguments, so that tests need neither a GPU nor time.
    """

    def __init__(self, clock: Callable[[], int], synchronize: Callable[[], None], gauge: MemoryGauge) -> None:
        self._clock, self._synchronize, self._gauge = clock, synchronize, gauge
        self.stages: dict[str, StageRun] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._gauge.reset()
        self._synchronize()
        start = self._clock()
        yield
        self._synchronize()
        end = self._clock()
        self.stages[stage] = StageRun((end - start) / 1e9, self._gauge.read())


def measure(pipeline: Pipeline[Any, Any, Any], path: Path, new_tokens: int, kind: Kind, turn: int, stopwatch: Stopwatch) -> Run:
    """One sample through all stages, timed."""
    answer, work = run_stages(pipeline, path, new_tokens, stopwatch)
    return Run(kind, turn, stopwatch.stages, work, answer.tokens, answer.text)
