"""The one place where a pipeline is built from the name of its model."""

from __future__ import annotations

from typing import Any

from evbench.choices import Variant, resolve
from evbench.pipelines.batched import Batched
from evbench.pipelines.registry import MODELS
from evbench.results import Workload
from evbench.stages import Pipeline


def build(variant: Variant, workload: Workload, dtype: str | None = None) -> Pipeline[Any, Any, Any]:
    """Raises UserError if the weights or options do not fit.

    Args:
        dtype: to compute in another type than the workload's, with the same weights.
    """
    pipeline: Pipeline[Any, Any, Any] = resolve(MODELS[workload.model].pipeline)(variant, workload, dtype)
    return pipeline if workload.batch == 1 else Batched(pipeline, workload)
