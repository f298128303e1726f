"""How something is planted into a pipeline: a stage is replaced by another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evbench.results import STAGES, Delay
from evbench.stages import Pipeline, Stages

AnyPipeline = Pipeline[Any, Any, Any]
Plant = Callable[[AnyPipeline, Sequence[Path]], None]
"""(pipeline, paths of all samples)."""


def wrap_stage(pipeline: AnyPipeline, stage: str, change: Callable[[Any], Any]) -> None:
    original = getattr(pipeline, stage)

    def changed(*arguments: Any) -> Any:
        output, work = original(*arguments)
        return change(output), work

    replace_stages(pipeline, **{stage: changed})


def replace_stages(pipeline: AnyPipeline, **stages: Callable[..., Any]) -> None:
    for name, stage in stages.items():
        setattr(pipeline, name, stage)


def plant_delay(delay: Delay, pipeline: Stages[Any, Any, Any], synchronize: Callable[[], None]) -> None:
    """Plant the delay into the pipeline."""
    assert delay.stage in STAGES
    stage = getattr(pipeline, delay.stage)

    def slower(*arguments: Any) -> Any:
        start = time.perf_counter()
        done = stage(*arguments)
        synchronize()  # what the device still does is part of the time
        until = time.perf_counter() + delay.share * (time.perf_counter() - start)
        # time.sleep comes back up to a tenth of a millisecond late, which is more than a share of a short stage.
        while time.perf_counter() < until:
            pass
        return done

    setattr(pipeline, delay.stage, slower)
