"""Results to test with."""

from __future__ import annotations

import dataclasses
from typing import Any

from evbench import results
from evbench.results import STAGES, Build, Gpu, Machine, Memory, Result, Run, StageRun, VariantResult, Work, Workload


def make_run(kind: results.Kind = "timed", seconds: float = 0.1, tokens: tuple[int, ...] = (5, 6), **work: Any) -> Run:
    stage = StageRun(seconds, Memory(2**20, None, None, None))
    done = Work(frame_indices=(0, 2), frame_seconds=(0.0, 0.1), frame_height=4, frame_width=6, new_tokens=len(tokens), stop="length")
    return Run(kind, 3, dict.fromkeys(STAGES, stage), dataclasses.replace(done, **work), tokens, "é ok")


def make_side(*runs: Run, variant: str = "baseline", **workload: Any) -> VariantResult:
    asked = Workload("video-llava", "tiny", None, "a.mp4", "00", 8, "inclusive", "What?", 2, False, "cpu", "float32", 0)
    return VariantResult(
        variant=variant,
        choices={"decode": "plain"},
        workload=dataclasses.replace(asked, **workload),
        machine=Machine("Linux", "CPU", 2, 2**34, Gpu("GPU", "1", 2**30), "3.11", {"torch": "2.14", "av": None}),
        build=Build(1.5, 10, "ab", 2),
        runs=(make_run("first"), *(runs or (make_run(),))),
        trace=None,
        session="2026-01-01T00:00:00Z",
    )


def make_result(optimized: VariantResult | None = None) -> Result:
    return Result(results.FORMAT, "0", "2026-01-01T00:00:00Z", "evbench compare", make_side(), optimized)
