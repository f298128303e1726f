"""The choices of plug-ins, put into a pipeline that was built with those of evbench. Runs in workers."""

from __future__ import annotations

from typing import Any

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.pipelines.registry import PARTS, built_in
from evbench.pipelines.replaced import Replaced


def without(variant: Variant) -> Variant:
    """The variant with which the pipeline is built: each choice of a plug-in as the one that it changes."""
    return Variant(variant.name, tuple(built_in(variant.choices()).items()))


def apply(variant: Variant, pipeline: Any) -> None:
    """Call each choice of a plug-in with the pipeline, in the order of the parts.

    Raises:
        UserError: one returns what it must not. What it raises itself is for `evbench.plugins.faults.Blaming`.
    """
    for name, chosen in variant.selection:
        part = PARTS[name]
        entry = part.entries[chosen]
        if entry.plugin is None:
            continue
        origin = f"the plug-in {entry.plugin.name}: {name}={chosen}"
        done = part.implementation(chosen)(pipeline)
        if done is None:
            continue
        if not callable(done):
            raise UserError(f"{origin} returned {type(done).__name__}; return None, or what is called in the place of the stage")
        if len(part.stages) != 1:
            stages = " and ".join(part.stages)
            raise UserError(f"{origin} returned a stage, and {name} is of {stages}; change the modules of the pipeline, and return None")
        (stage,) = part.stages
        setattr(pipeline, stage, getattr(Replaced(stage, done, origin), stage))
        if stage == "load":
            pipeline.load_many = None  # of evbench's decoder
