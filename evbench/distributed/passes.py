"""Samples back to back: on rank 0 alone, then on all ranks at once, and there once more to read what they use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from evbench.choices import Variant
from evbench.distributed.group import Ranks
from evbench.distributed.usage import read_usage
from evbench.results import SideResult, ThroughputRun, Workload, cycled
from evbench.session.progress import ProgressListener
from evbench.session.warm_up import MOST_COMPILING, QUIET_RUNS, first_of_each_shape
from evbench.verdict.ranks import Pass, RankShare, Usage
from evbench.worker.client import Worker
from evbench.worker.measure import RunPosition
from evbench.worker.messages import BuildRequest, ThroughputRequest, TimedRunRequest

MOST_ALONE = 100
"""Samples that rank 0 runs alone, while all other devices wait."""
PASSES = "samples back to back"


@dataclass(frozen=True)
class Passes:
    """What one rank did."""

    alone: Pass | None
    """None on all but rank 0."""
    seconds: float
    """Of the pass of all ranks: from when this one heard that all were ready to when it heard that all had ended."""
    run: ThroughputRun
    """This rank's part in it."""
    usage: Usage


def run_passes(ranks: Ranks, variant: Variant, workload: Workload, log: Path, cold_files: bool, listener: ProgressListener) -> Passes:
    """What rank 0 does alone, and what all ranks do at once.

    Args:
        workload: of this rank.

    Raises:
        UserError: the worker gave up.
        WorkerDied: it crashed.
        RankLost: another rank is gone.
    """
    samples = len(workload.samples)
    listener.step(f"{PASSES}: start the worker, build the model", 0, 1)
    with Worker(BuildRequest(variant, workload), log) as worker:
        worker.built()
        _warm(worker, workload)
        ranks.meet()
        alone = None
        if ranks.place.rank == 0:
            listener.step(f"{PASSES}: this rank alone", 0, 1)
            alone = pass_of(worker.throughput_run(ThroughputRequest(0, None, min(samples, MOST_ALONE), cold_files)))
        ranks.meet()
        listener.step(f"{PASSES}: all ranks", 0, 1)
        start = time.monotonic()
        run = worker.throughput_run(ThroughputRequest(0, None, samples, cold_files))
        ranks.meet()
        seconds = time.monotonic() - start
        # Not in what is timed: the driver may take time for its answers.
        listener.step(f"{PASSES}: what all ranks use", 0, 1)
        usage = read_usage(worker, ThroughputRequest(0, None, min(samples, MOST_ALONE), cold_files), workload.device)
        ranks.meet()
    return Passes(alone, seconds, run, usage)


def share_of(ranks: Ranks, shard: tuple[int, ...], passes: Passes, timed: SideResult) -> RankShare:
    """What `ranks.json` says of this rank.

    Args:
        timed: its session, of which the tokens of the pass should be.
    """
    run, known = passes.run, timed.tokens_by_sample()
    order = cycled(run.samples, len(shard))
    differing = sum(tokens not in known[sample] for sample, tokens in zip(order, run.tokens, strict=True))
    return RankShare(ranks.place.rank, ranks.place.node, shard, pass_of(run), differing, bool(run.compile_counts), passes.usage)


def pass_of(run: ThroughputRun) -> Pass:
    return Pass(run.samples, run.seconds, run.load_wait_seconds)


def _warm(worker: Worker, workload: Workload) -> None:
    """Until nothing is compiled or captured any more, for each shape of input."""
    for sample in first_of_each_shape(workload):
        quiet = runs = 0
        while quiet < QUIET_RUNS and runs < MOST_COMPILING:
            run = worker.timed_run(TimedRunRequest(RunPosition("warmup", runs, sample, None), stage_sync=False, cold_file=False))
            quiet = 0 if run.compile_counts else quiet + 1
            runs += 1
    worker.throughput_run(ThroughputRequest(0, None, 1, cold_files=False))
