"""Results and frames to test with."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evbench import results
from evbench.inputs import sample
from evbench.pipelines.registry import KINDS, MODELS, parts_with_effect
from evbench.report import comparison
from evbench.report.render import Report
from evbench.results import (
    STAGES,
    Activation,
    Block,
    Build,
    CachePair,
    Check,
    Completeness,
    Machine,
    Memory,
    Outputs,
    Plan,
    Result,
    Rules,
    Run,
    Sample,
    Section,
    Session,
    SideResult,
    StageRun,
    ThroughputRun,
    Trace,
    Used,
    Work,
    Workload,
)
from evbench.scenes.draw import draw
from evbench.scenes.pack import pack
from evbench.scenes.world import imagine
from evbench.verdict.judge import judge
from evbench.worker.compile_counts import NOTHING


def described(result: Result) -> Report:
    """The report of a result."""
    return comparison.describe(result, judge(result))


def drawn_sample(seconds: tuple[float, ...]) -> npt.NDArray[np.uint8]:
    """The scene of evbench's sample before it was encoded: [frames, 1080, 1440, 3]."""
    frames = draw(pack([imagine(sample.SEED, sample.INDEX)], "cpu"), torch.tensor(seconds), 1.0, 1080, 1440)[0]
    return frames.permute(1, 2, 3, 0).add(0.5).clamp(0, 255).to(torch.uint8).numpy()


CLIP = Sample(str(sample.CLIP), "", 1080, 1440)
NOWHERE = Sample("", "", 0, 0)
"""For a pipeline that is given its input by hand."""
MACHINE = Machine("Linux", "CPU", 2, 2**34, None, "3.11", {"torch": "2.14", "av": None}, "abc")
GREEDY = Activation("decoding", "greedy", True, "generate: 2 x aten::argmax")
PLAN = Plan("interleaved", 10, 1, None, 600.0, 30, 120.0, 16, False, False, False, 0)
STARTED = "2026-01-01T00:00:00Z"


def make_check(stage: str = "vision", mode: results.Mode = "stage-isolated", grade: results.Grade = "pass", **fields: Any) -> Check:
    check = Check(
        stage, mode, "max abs error", grade, 0.5 if grade == "pass" else 2.5, 1.0, "frame 0, token 3", "", 0, 1, int(grade == "fail")
    )
    return dataclasses.replace(check, **fields)


EVERY: tuple[tuple[str, results.Mode], ...] = (
    ("load", "end-to-end"), ("preprocess", "end-to-end"), ("vision", "end-to-end"), ("generate", "end-to-end"),
    ("preprocess", "stage-isolated"), ("vision", "stage-isolated"), ("generate", "stage-isolated"),
)  # fmt: skip
PRESERVED = Outputs("float64", (0,), tuple(make_check(stage, mode) for stage, mode in EVERY))


def make_run(kind: results.Kind = "timed", seconds: float = 0.1, tokens: tuple[int, ...] = (5, 6), **work: Any) -> Run:
    """With stage synchronization; each stage takes `seconds`."""
    stage = StageRun(seconds, None, Memory(2**20, None, None, None, None))
    done = Work(frame_indices=(0, 2), frame_seconds=(0.0, 0.1), frame_height=4, frame_width=6, new_tokens=len(tokens), stop="length")
    return Run(
        kind=kind,
        turn=3,
        sample=0,
        block=0 if kind == "timed" else None,
        seconds=4 * seconds,
        stages=dict.fromkeys(STAGES, stage),
        prefill_seconds=seconds / 2,
        decode_step_seconds=(seconds / 4,) * (len(tokens) - 1),
        compile_counts=NOTHING,
        reserved=None,
        work=dataclasses.replace(done, **work),
        tokens=tokens,
        text="é ok",
    )


def without_stage_sync(run: Run, seconds: float | None = None) -> Run:
    """A run of `seconds` end to end; by default as long as the sum of its stages."""
    return dataclasses.replace(
        run, seconds=run.seconds if seconds is None else seconds, stages=None, prefill_seconds=None, decode_step_seconds=None
    )


def make_side(*runs: Run, variant: str = "baseline", **workload: Any) -> SideResult:
    """If no runs are given: ten blocks, each with one run without and one with stage synchronization."""
    samples = (Sample("a.mp4", "00", 4, 6),)
    asked = Workload("video-llava", "tiny", None, samples, 8, "inclusive", "What?", 2, False, "cpu", "float32", 0, kind="video")
    if not runs:
        run = make_run()
        runs = tuple(dataclasses.replace(one, block=block) for block in range(10) for one in (run, without_stage_sync(run)))
    return SideResult(
        variant=variant,
        choices={"decode": "plain"},
        workload=dataclasses.replace(asked, **workload),
        session=STARTED,
        builds=(Build(1.5, 10, "ab", 2, {"cuda": "13.0"}, 0),),
        unsteady=(),
        runs=(make_run("first"), *runs),
        throughput_runs=(),
        trace=None,
        energy=None,
        activations=(Activation("decode", "plain", True, "load: the function: 1 x decode_plain"), GREEDY),
    )


SECTIONS = (
    Section("load", 0.1, 0.02, 0.06, (Used("Memcpy HtoD", "copy", 0.02, 8, 4_665_600),)),
    Section("vision", 0.02, 0.019, 0.0, (Used("gemm", "matrix multiply", 0.015, 144, 0), Used("flash_fwd", "attention", 0.004, 24, 0))),
)
COMPLETE = Completeness((), 176, 176, 90, 90, {"load": 1.1, "vision": 1.4})


def make_trace(file: str = "trace-baseline.json.gz", new_tokens: int = 16, **fields: Any) -> Trace:
    return dataclasses.replace(Trace(file, new_tokens, 1.5, COMPLETE, SECTIONS), **fields)


def make_throughput_run(seconds: float = 0.8, samples: int = 2, tokens: tuple[int, ...] = (5, 6), **fields: Any) -> ThroughputRun:
    """Of the one sample of `make_side`; a quarter of the time is load, all of it is waited for."""
    made = ThroughputRun(
        3, 0, seconds, samples, seconds / 4, seconds / 4, NOTHING, (make_run(tokens=tokens).work,) * samples, (tokens,) * samples
    )
    return dataclasses.replace(made, **fields)


def with_throughput_runs(side: SideResult, *runs: ThroughputRun) -> SideResult:
    """If none are given: one for warm-up, and two in each of ten blocks."""
    if not runs:
        usual = make_throughput_run()
        runs = (
            dataclasses.replace(usual, block=None),
            *(dataclasses.replace(usual, block=block) for block in range(10) for _ in range(2)),
        )
    return dataclasses.replace(side, throughput_runs=runs)


def scaled(side: SideResult, factor: float) -> SideResult:
    """Every part of every run takes `factor` times as long."""

    def slower(run: Run) -> Run:
        stages = run.stages and {name: dataclasses.replace(stage, seconds=stage.seconds * factor) for name, stage in run.stages.items()}
        return dataclasses.replace(
            run,
            seconds=run.seconds * factor,
            stages=stages,
            prefill_seconds=run.prefill_seconds and run.prefill_seconds * factor,
            decode_step_seconds=run.decode_step_seconds and tuple(seconds * factor for seconds in run.decode_step_seconds),
        )

    def slower_row(row: ThroughputRun) -> ThroughputRun:
        times = {name: getattr(row, name) * factor for name in ("seconds", "load_seconds", "load_wait_seconds")}
        return dataclasses.replace(row, **times)

    def slower_pair(pair: CachePair) -> CachePair:
        return CachePair(*({name: seconds * factor for name, seconds in times.items()} for times in (pair.seen, pair.unseen)))

    check = side.cache_check and dataclasses.replace(side.cache_check, pairs=tuple(map(slower_pair, side.cache_check.pairs)))
    runs, rows = tuple(map(slower, side.runs)), tuple(map(slower_row, side.throughput_runs))
    return dataclasses.replace(side, runs=runs, throughput_runs=rows, cache_check=check)


def make_session(blocks: int = 10, invocations: int = 2, started: str = STARTED, machine: Machine = MACHINE, **plan: Any) -> Session:
    made = tuple(Block(number, 0, number % invocations, "ABBA", (), (), None) for number in range(blocks))
    return Session(started, machine, dataclasses.replace(PLAN, **plan), 0, made, ())


def make_result(
    optimized: SideResult | None = None,
    baseline: SideResult | None = None,
    sessions: tuple[Session, ...] | None = None,
    outputs: Outputs | None = PRESERVED,
    **rules: Any,
) -> Result:
    asked = dataclasses.replace(Rules({}, (), (), False, ()), **rules)
    return Result(
        results.FORMAT,
        "0",
        STARTED,
        "evbench compare",
        asked,
        sessions or (make_session(),),
        baseline or make_side(),
        optimized,
        outputs,
    )


def kinds_with(part: str) -> tuple[str, ...]:
    """Kinds of input for which some model does it."""
    return tuple(
        kind for kind in KINDS if any(kind in known.kinds and part in parts_with_effect(name, kind) for name, known in MODELS.items())
    )
