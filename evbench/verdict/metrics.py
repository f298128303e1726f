"""What is measured of each side beside the timings: a table of metrics, evaluated for each side. Pure.

A new metric is one entry here, and its name in a table of `evbench.report.metrics`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evbench.pipelines.registry import tokens_per_pass
from evbench.results import STAGES, Block, Memory, Run, Side, SideResult, ThroughputRun
from evbench.verdict import context
from evbench.verdict.blocks import (
    RunValue,
    counted_runs,
    counted_throughput_runs,
    end_to_end_seconds,
    prefill_seconds,
    stage_run,
    stage_seconds,
    synchronized_seconds,
    values,
)
from evbench.verdict.statistics import Distribution, distribution

Unit = Literal["seconds", "bytes", "count", "share", "joules", "per second"]
Value = Distribution | float | None
"""Over single runs, or one number. None where this side does not have it."""


@dataclass(frozen=True)
class CountedRuns:
    """What a metric is computed from."""

    side: SideResult
    runs: Sequence[Run]
    """Timed runs in blocks that count, with and without stage synchronization."""
    throughput_runs: Sequence[ThroughputRun]
    """Those in blocks that count."""


@dataclass(frozen=True)
class MetricDefinition:
    """One entry of the table."""

    name: str
    unit: Unit
    meaning: str
    evaluate: Callable[[CountedRuns], Value]


@dataclass(frozen=True)
class Metric:
    """The values of both sides."""

    unit: Unit
    sides: dict[Side, Value]


def evaluate(sides: Mapping[Side, SideResult], counted: Mapping[Side, Mapping[int, Block]]) -> dict[str, Metric]:
    """Name -> the metric, in the order of the table. Without those that no side has."""
    given = {
        side: CountedRuns(measured, counted_runs(measured, counted[side]), counted_throughput_runs(measured, counted[side]))
        for side, measured in sides.items()
    }
    found = {metric.name: Metric(metric.unit, {side: metric.evaluate(runs) for side, runs in given.items()}) for metric in METRICS}
    return {name: metric for name, metric in found.items() if any(value is not None for value in metric.sides.values())}


# Functions of the counted runs of a side.


def _over_runs(value: RunValue) -> Callable[[CountedRuns], Value]:
    return lambda given: distribution(values(given.runs, value))


def _over_throughput_runs(value: Callable[[ThroughputRun], float]) -> Callable[[CountedRuns], Value]:
    return lambda given: distribution([float(value(run)) for run in given.throughput_runs])


def _decode_step(given: CountedRuns) -> Value:
    """None where tokens are drafted: most of them come with the token before them."""
    if tokens_per_pass(given.side.choices) > 1:
        return None
    return distribution([seconds for run in given.runs for seconds in run.decode_step_seconds or ()])


def _gpu_stream(stage: str) -> RunValue:
    return lambda run: None if (found := stage_run(run, stage)) is None else found.stream_seconds


def _per_unit(value: RunValue, count: Callable[[Run], int | None]) -> RunValue:
    """Seconds for each unit of work."""

    def per_unit(run: Run) -> float | None:
        seconds, number = value(run), count(run)
        return seconds / number if seconds is not None and number else None

    return per_unit


def _frames(run: Run) -> int:
    return len(run.work.frame_indices or ())


def _prompt_tokens(run: Run) -> int | None:
    """Of all prompts of its batch."""
    prompt, length = run.work.prompt_tokens, run.work.new_tokens
    return None if prompt is None else prompt * max(1, len(run.tokens) // length if length else 1)


def _peak(stage: str, kind: Callable[[Memory], int | None]) -> Callable[[CountedRuns], Value]:
    """The largest of all runs. None if one of them does not know it."""

    def peak(given: CountedRuns) -> Value:
        found = [kind(run.stages[stage].memory) for run in given.runs if run.stages is not None]
        known = [size for size in found if size is not None]
        return float(max(known)) if known and len(known) == len(found) else None

    return peak


def _first_call(given: CountedRuns) -> Run:
    return next(run for run in given.side.runs if run.kind == "first")


def _warmup(given: CountedRuns) -> list[Run]:
    return [run for run in given.side.runs if run.kind == "warmup"]


def _startup_and_compile(given: CountedRuns) -> Value:
    """Build, first call and warm-up of the first worker, less the steady time of its runs.

    Later invocations find in the compile cache what the first one compiled. On a machine that became slower meanwhile these runs may have
    taken less than steady ones: then nothing is known of what they took longer, and the build alone is told.
    """
    steady = values(given.runs, synchronized_seconds)
    if not steady:
        return None
    usual = statistics.fmean(steady)
    runs = sorted((run for run in given.side.runs if run.kind in ("first", "warmup")), key=lambda run: run.turn)
    second = next((index for index, run in enumerate(runs) if run.kind == "first" and index), len(runs))
    longer = math.fsum(run.seconds - usual for run in runs[:second])
    return given.side.builds[0].seconds + max(0.0, longer)


def _stage_sync_overhead(given: CountedRuns) -> Value:
    synchronized, alone = (values(given.runs, value) for value in (synchronized_seconds, end_to_end_seconds))
    return statistics.fmean(synchronized) / statistics.fmean(alone) - 1 if synchronized and alone else None


def _throughput_overhead(given: CountedRuns) -> Value:
    computed = [math.fsum(one.seconds for stage in STAGES[1:] if (one := stage_run(run, stage))) for run in given.runs if run.stages]
    samples = sum(run.samples for run in given.throughput_runs)
    if not samples or not computed:
        return None
    return math.fsum(run.seconds for run in given.throughput_runs) / samples / statistics.fmean(computed) - 1


def _tokens_per_second(given: CountedRuns) -> Value:
    alone = [run for run in given.runs if run.stages is None]
    seconds = math.fsum(run.seconds for run in alone)
    return sum(len(run.tokens) for run in alone) / seconds if seconds else None


def _decode_tokens_per_second(given: CountedRuns) -> Value:
    steps = [seconds for run in given.runs for seconds in run.decode_step_seconds or ()]
    total = math.fsum(steps)
    return len(steps) * given.side.workload.batch / total if total else None


def _load_per_sample(run: ThroughputRun) -> float:
    return run.load_seconds / run.samples


def _load_wait_per_sample(run: ThroughputRun) -> float:
    return run.load_wait_seconds / run.samples


def _samples_per_second(given: CountedRuns) -> Value:
    seconds = math.fsum(run.seconds for run in given.throughput_runs)
    return sum(run.samples for run in given.throughput_runs) / seconds if seconds else None


def _energy_per_sample(given: CountedRuns) -> Value:
    return None if given.side.energy is None else context.energy(given.side.energy).joules_per_sample


# The table.

STARTUP = "startup-and-compile"
STAGE_SYNC_OVERHEAD = "stage-sync-overhead"
MEMORY: dict[str, tuple[str, Callable[[Memory], int | None]]] = {
    "process": ("peak resident memory of the worker process", lambda memory: memory.process),
    "live-tensors": ("peak of live tensors on the GPU", lambda memory: memory.allocator),
    "torch-pool": ("peak of torch's memory pool on the GPU", lambda memory: memory.reserved),
    "device": ("GPU memory of the process by the driver's count, after the stage", lambda memory: memory.device),
    "non-torch": ("of that not torch's: CUDA context, video decoder, DALI", lambda memory: memory.non_torch),
}
"""Kind of memory -> what it is, and its field."""
PER_UNIT: dict[str, tuple[RunValue, Callable[[Run], int | None]]] = {
    "load-per-frame": (stage_seconds("load"), _frames),
    "preprocess-per-frame": (stage_seconds("preprocess"), _frames),
    "vision-per-visual-token": (stage_seconds("vision"), lambda run: run.work.visual_tokens),
    "prefill-per-prompt-token": (prefill_seconds, _prompt_tokens),
    "generate-per-new-token": (stage_seconds("generate"), lambda run: len(run.tokens)),
}
METRICS: tuple[MetricDefinition, ...] = (
    MetricDefinition("decode-step", "seconds", "single decode steps", _decode_step),
    *(
        MetricDefinition(f"{stage}-gpu-stream", "seconds", f"{stage} on the compute stream, gaps included", _over_runs(_gpu_stream(stage)))
        for stage in STAGES
    ),
    *(
        MetricDefinition(name, "seconds", "time by unit of work", _over_runs(_per_unit(value, count)))
        for name, (value, count) in PER_UNIT.items()
    ),
    MetricDefinition("load-per-sample", "seconds", "load in a throughput run", _over_throughput_runs(_load_per_sample)),
    MetricDefinition("load-wait-per-sample", "seconds", "waiting for load", _over_throughput_runs(_load_wait_per_sample)),
    MetricDefinition("samples-per-throughput-run", "count", "samples back to back", _over_throughput_runs(lambda run: run.samples)),
    MetricDefinition("samples-per-second", "per second", "over all throughput runs", _samples_per_second),
    MetricDefinition("throughput-overhead", "share", "throughput over all stages but load, less 1", _throughput_overhead),
    MetricDefinition("new-tokens-per-second", "per second", "new tokens over end-to-end time", _tokens_per_second),
    MetricDefinition("decode-tokens-per-second", "per second", "decode steps over their time", _decode_tokens_per_second),
    MetricDefinition("energy-per-sample", "joules", "of the GPU, idle power included", _energy_per_sample),
    MetricDefinition(STAGE_SYNC_OVERHEAD, "share", "sum of the synchronized stages over end-to-end, less 1", _stage_sync_overhead),
    MetricDefinition("build", "seconds", "start of the first worker, imports, weights", lambda given: given.side.builds[0].seconds),
    MetricDefinition("first-call", "seconds", "the first run of the first worker", lambda given: _first_call(given).seconds),
    MetricDefinition("compiled-graphs", "count", "by torch.compile", lambda given: _first_call(given).compile_counts.compiled),
    MetricDefinition("cached-graphs", "count", "of these from the compile cache", lambda given: _first_call(given).compile_counts.cached),
    MetricDefinition("cuda-graphs", "count", "captured in the first call", lambda given: _first_call(given).compile_counts.captured),
    MetricDefinition("warm-up-runs", "count", "of all invocations", lambda given: len(_warmup(given))),
    MetricDefinition("warm-up", "seconds", "of all invocations", lambda given: math.fsum(run.seconds for run in _warmup(given))),
    MetricDefinition("compile-cache-files", "count", "on disk before the first call", lambda given: given.side.builds[0].cached_files),
    MetricDefinition(STARTUP, "seconds", "build, first call and warm-up less the steady time of their runs", _startup_and_compile),
    *(
        MetricDefinition(f"{kind}-memory-{stage}", "bytes", f"{meaning}, {stage}", _peak(stage, field))
        for kind, (meaning, field) in MEMORY.items()
        for stage in STAGES
    ),
)
"""In the order of reports."""
