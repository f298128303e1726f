"""Faults of variants that treat a run that is looked at better than a timed one.

The first is what a second code path does by mistake. The others are deliberate: they look for profilers, hooks and the harness itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from evbench.stages import Sampler
from evbench.worker.layers import mlp_output, nearest_to_the_middle
from evbench.worker.model_faults import outputs_of_last_layer
from evbench.worker.planting import AnyPipeline, replace_stages

JUDGING = ("evbench.worker.capture_outputs", "evbench.worker.evidence")
"""Modules of the harness from which a run is no timed one."""


def mlp_left_out_unless_forced(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Greedy decoding, which is timed, is another path than teacher forcing."""
    _mlp_left_out(pipeline, lambda sampler: sampler.forced is None)


def mlp_left_out_unless_profiled(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Evidence and traces are of the whole network."""
    _mlp_left_out(pipeline, lambda sampler: not profiled())


def mlp_left_out_unless_judged(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Evidence, traces and judged outputs are of the whole network."""
    _mlp_left_out(pipeline, lambda sampler: not (profiled() or _judged()))


def layer_left_out_unless_judged(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Of the vision tower, the last that is used and adds something."""
    leave_out, right = switch(outputs_of_last_layer(pipeline)), pipeline.vision

    def vision(inputs: Any) -> Any:
        leave_out(not (profiled() or _judged()))
        return right(inputs)

    replace_stages(pipeline, vision=vision)


def frame_repeated_unless_judged(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """All frames are the first: the others need not be decoded."""
    right = pipeline.load

    def load(path: Path) -> Any:
        loaded, work = right(path)
        if profiled() or _judged():
            return loaded, work
        values = loaded.values()
        return loaded.holding(values[[0] * len(values)]), work

    replace_stages(pipeline, load=load)


def profiled() -> bool:
    """Whether a hook on calls or torch's profiler is active."""
    return sys.getprofile() is not None or torch.autograd.profiler._is_profiler_enabled


def _judged() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") in JUDGING:
            return True
    return False


def _mlp_left_out(pipeline: AnyPipeline, when: Callable[[Sampler], bool]) -> None:
    """Of the layer of the language model nearest to the middle, for the whole of those calls of `generate`."""
    layers, right = pipeline.decoder.layers, pipeline.generate
    product = layers[nearest_to_the_middle(layers, mlp_output)].mlp.down_proj
    leave_out = switch([*product.parameters(), *product.buffers()])  # a quantized one has buffers

    def generate(features: Any, new_tokens: int, sampler: Sampler) -> Any:
        leave_out(when(sampler))
        return right(features, new_tokens, sampler)

    replace_stages(pipeline, generate=generate)


def switch(weights: Sequence[torch.Tensor]) -> Callable[[bool], None]:
    """A function that sets these weights to zero if it is given True, and puts them back otherwise.

    In place, where captured graphs read them.
    """
    kept = [weight.detach().clone() for weight in weights]

    @torch.no_grad()
    def turn(off: bool) -> None:
        for weight, right in zip(weights, kept, strict=True):
            weight.copy_(torch.zeros_like(right) if off else right)

    return turn
