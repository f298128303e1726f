"""How something is planted into a pipeline: a stage is replaced by another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evbench.stages import Pipeline

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
