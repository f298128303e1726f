"""The one place where a pipeline is made from its name."""

from __future__ import annotations

from typing import Any

from evbench.results import Workload
from evbench.stages import Pipeline
from evbench.variants import Variant


def build(variant: Variant, workload: Workload) -> Pipeline[Any, Any, Any]:
    """Raises UserError if the weights or options do not fit."""
    if workload.model == "video-llava":
        from evbench.pipelines.video_llava import VideoLlava

        return VideoLlava(variant, workload)
    from evbench.pipelines.eventgpt import EventGPT

    return EventGPT(variant, workload)
