"""A throughput run: samples back to back, timed as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evbench.pipelines.load.choices import PREFETCH
from evbench.pipelines.load.prefetch import Call, Prefetch, Sample
from evbench.results import ThroughputRun, Work
from evbench.stages import Generation, Pipeline, Sampler, run_loaded
from evbench.worker.compile_counts import since
from evbench.worker.kept_rows import KeptRows
from evbench.worker.measure import Instruments


@dataclass(frozen=True)
class BackToBack:
    """What became of samples that were run back to back, and how long their loading took."""

    generations: tuple[Generation, ...]
    work: tuple[Work, ...]
    load_seconds: float
    load_wait_seconds: float


def run_back_to_back(
    pipeline: Pipeline[Any, Any, Any],
    prefetch: str,
    paths: Sequence[Path],
    new_tokens: int,
    clock: Callable[[], int],
    samplers: Iterable[Sampler] | None = None,
) -> BackToBack:
    """Run all samples, as `prefetch` delivers them.

    Args:
        samplers: one for each sample. None for greedy decoding.

    Raises:
        UserError: a sample cannot be used. No thread is left behind.
    """
    loading: list[int] = []  # of each call, appended by whichever thread makes it
    waited = 0
    generations, work = [], []
    each = iter(samplers if samplers is not None else (Sampler() for _ in paths))
    chosen: Prefetch = PREFETCH.implementation(prefetch)
    with chosen.deliver(_timed(chosen.calls(pipeline, paths), clock, loading)) as samples:
        for _ in paths:
            start = clock()
            sample = next(samples)
            waited += clock() - start
            generation, done = run_loaded(pipeline, sample, new_tokens, sampler=next(each))
            generations.append(generation)
            work.append(done)
    return BackToBack(tuple(generations), tuple(work), sum(loading) / 1e9, waited / 1e9)


def _timed(calls: Iterable[Call], clock: Callable[[], int], loading: list[int]) -> Iterator[Call]:
    def timed(call: Call) -> Call:
        def timed_call() -> list[Sample]:
            start = clock()
            samples = call()
            loading.append(clock() - start)
            return samples

        return timed_call

    return (timed(call) for call in calls)


def measure_throughput(
    pipeline: Pipeline[Any, Any, Any],
    prefetch: str,
    paths: Sequence[Path],
    new_tokens: int,
    turn: int,
    block: int | None,
    using: Instruments,
    kept: KeptRows,
) -> ThroughputRun:
    """The host waits for the device before the first sample is loaded and after the last token, and nowhere else.

    Each sample leaves a row of its logits; no output of other stages is held on to.
    """
    watched = [kept.watch(path, new_tokens) for path in paths]
    before = using.prepared()
    using.synchronize()
    start = using.clock()
    found = run_back_to_back(pipeline, prefetch, paths, new_tokens, using.clock, [one.sampler for one in watched])
    using.synchronize()
    seconds = (using.clock() - start) / 1e9
    run = ThroughputRun(
        turn=turn,
        block=block,
        seconds=seconds,
        samples=len(paths),
        load_seconds=found.load_seconds,
        load_wait_seconds=found.load_wait_seconds,
        compile_counts=since(before, using.prepared()),
        work=found.work,
        tokens=tuple(generation.tokens for generation in found.generations),
    )
    for one, generation in zip(watched, found.generations, strict=True):
        one.ended(generation)
    return run
