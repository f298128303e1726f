"""The one place where a pipeline is made from its name."""

from __future__ import annotations

from typing import Any

from evbench.results import Workload
from evbench.stages import Pipeline
from evbench.variants.choices import Variant


def build(variant: Variant, workload: Workload, dtype: str | None = None) -> Pipeline[Any, Any, Any]:
    """Raises UserError if the weights or options do not fit.

    Args:
        dtype: to compute in another type than the workload's, with the same weights.
    """
    if workload.model == "video-llava":
        from evbench.pipelines.video_llava import VideoLlava

        return VideoLlava(variant, workload, dtype)
    from evbench.pipelines.eventgpt import EventGPT

    return EventGPT(variant, workload, dtype)
