"""How the samples of a throughput run are loaded: each when it is needed, or ahead of that in a thread of their own (prefetch)."""

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
"""Calls of the decoder whose samples may be ready, or being decoded, before they are needed. It bounds the memory they take."""

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
    """A call for each `BATCH` samples, the last for what is left."""
    assert pipeline.load_many is not None, "evbench.variants.choices.CONFLICTS refuses a decoder that takes one file at a time"
    return (partial(pipeline.load_many, paths[start : start + BATCH]) for start in range(0, len(paths), BATCH))


@contextmanager
def in_turn(calls: Iterable[Call]) -> Iterator[Iterator[Sample]]:
    """Each call is made when its first sample is needed."""
    yield (sample for call in calls for sample in call())


@contextmanager
def ahead(calls: Iterable[Call]) -> Iterator[Iterator[Sample]]:
    """Calls are made in a thread of their own, at most CALLS_AHEAD of them before their samples are needed.

    What a call raises is raised where its first sample is needed. The thread ends with the block, after the call that it is in;
    those that it has not begun are not made.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="evbench-feed")
    try:
        yield _ahead(pool, iter(calls))
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, calls: Iterator[Call]) -> Iterator[Sample]:
    futures: deque[Future[list[Sample]]] = deque()

    def submit_next() -> None:
        if (call := next(calls, None)) is not None:
            futures.append(pool.submit(call))

    for _ in range(CALLS_AHEAD):
        submit_next()
    while futures:
        samples = deque(futures.popleft().result())
        while samples:
            if len(samples) == 1:
                submit_next()  # with the last of a call its memory can be given to another
            yield samples.popleft()


@dataclass(frozen=True)
class Feed:
    """One choice of `feed`."""

    calls: Callable[[Pipeline[Any, Any, Any], Sequence[Path]], Iterator[Call]]
    deliver: Callable[[Iterable[Call]], AbstractContextManager[Iterator[Sample]]]
    """Inside the block, all samples in order."""
    batch_size: int
    """Samples of one call, at most."""


FEEDS: dict[str, Feed] = {
    "in-turn": Feed(one_by_one, in_turn, 1),
    "ahead": Feed(one_by_one, ahead, 1),
    "ahead-in-batches": Feed(in_batches, ahead, BATCH),
}
