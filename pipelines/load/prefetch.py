"""How samples in a row reach the stages after `load`: each loaded when it is asked for, or ahead of them in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evbench.results import Work
from evbench.stages import BATCH, Pipeline

CALLS_AHEAD = 2
"""Calls of the decoder whose samples may be ready, or under way, before they are asked for. It bounds the memory that they need."""
THREAD = "evbench-prefetch"
"""How the name of the thread begins."""

Sample = tuple[Any, Work]
"""What `load` returns."""
Call = Callable[[], list[Sample]]
"""One call of the decoder."""


def one_by_one(pipeline: Pipeline[Any, Any, Any], paths: Sequence[Path]) -> Iterator[Call]:
    """A call for each sample."""

    def load(path: Path) -> list[Sample]:
        return [pipeline.load(path)]

    return (partial(load, path) for path in paths)


def in_batches(pipeline: Pipeline[Any, Any, Any], paths: Sequence[Path]) -> Iterator[Call]:
    """A call for each `BATCH` samples, the last for what remains."""
    assert pipeline.load_many is not None, "the conflict of prefetch=batched refuses a decoder that takes one file at a time"
    return (partial(pipeline.load_many, paths[start : start + BATCH]) for start in range(0, len(paths), BATCH))


@contextmanager
def on_demand(calls: Iterable[Call]) -> Iterator[Iterator[Sample]]:
    """Each call is made when its first sample is asked for."""
    yield (sample for call in calls for sample in call())


@contextmanager
def ahead(calls: Iterable[Call]) -> Iterator[Iterator[Sample]]:
    """Calls are made in a thread, at most CALLS_AHEAD of them before their samples are asked for.

    What a call raises is raised where its first sample is asked for. The thread ends with the block, after the call that it is in;
    calls that it has not begun are not made.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix=THREAD)
    try:
        yield _ahead(pool, iter(calls))
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, calls: Iterator[Call]) -> Iterator[Sample]:
    submitted: deque[Future[list[Sample]]] = deque()

    def submit_next() -> None:
        if (call := next(calls, None)) is not None:
            submitted.append(pool.submit(call))

    for _ in range(CALLS_AHEAD):
        submit_next()
    while submitted:
        samples = deque(submitted.popleft().result())
        while samples:
            if len(samples) == 1:
                submit_next()  # with the last of a call its memory is free for another
            yield samples.popleft()


@dataclass(frozen=True)
class Prefetch:
    """One choice of `prefetch`."""

    calls: Callable[[Pipeline[Any, Any, Any], Sequence[Path]], Iterator[Call]]
    deliver: Callable[[Iterable[Call]], AbstractContextManager[Iterator[Sample]]]
    """Inside the block, all samples in order."""
    samples: int
    """Samples of one call, at most."""


OFF = Prefetch(one_by_one, on_demand, 1)
ON = Prefetch(one_by_one, ahead, 1)
BATCHED = Prefetch(in_batches, ahead, BATCH)
