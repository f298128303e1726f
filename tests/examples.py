"""Results and pictures to test with."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evbench import results, sample
from evbench.results import STAGES, Build, Gpu, Machine, Memory, Result, Run, StageRun, VariantResult, Work, Workload
from evbench.scenes.draw import draw, pack
from evbench.scenes.world import imagine


def drawn_sample(seconds: tuple[float, ...]) -> npt.NDArray[np.uint8]:
    """The scene of evbench's sample as it was before it was encoded: [frames, 1080, 1440, 3]."""
    frames = draw(pack([imagine(sample.SEED, sample.INDEX)], "cpu"), torch.tensor(seconds), 1.0, 1080, 1440)[0]
    return frames.permute(1, 2, 3, 0).add(0.5).clamp(0, 255).to(torch.uint8).numpy()


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
