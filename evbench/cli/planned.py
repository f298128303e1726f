"""What a run of a workload does, from the configuration of its model alone."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from evbench.choices import resolve
from evbench.pipelines.registry import model_of
from evbench.results import NetworkShape, Work, Workload


def planned(workload: Workload) -> tuple[NetworkShape, Work] | None:
    """None for a model whose configuration does not tell. Raises UserError if prompt and answer are too long for the model."""
    place = model_of(workload.model).planned
    if not place:
        return None
    from transformers.utils import logging  # takes seconds to import

    logging.set_verbosity_error()
    network, work = cast(tuple[NetworkShape, Work], resolve(place)(workload))
    assert work.pixel_shape is not None and work.visual_tokens is not None, "both are known of a model that tells what it plans"
    first, *others = work.pixel_shape
    return network, replace(work, pixel_shape=(first * workload.batch, *others), visual_tokens=work.visual_tokens * workload.batch)
