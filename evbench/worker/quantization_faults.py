"""Faults of quantization: each is a way to be lossy in more than what a choice says. Those of weights are planted into layers in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from evbench.pipelines.generate.graph_loop import DecodeState
from evbench.pipelines.generate.quantized import LARGEST, QuantizedLinear
from evbench.variants.named import parse
from evbench.worker.layers import attended, mlp_output, nearest_to_the_middle
from evbench.worker.planting import AnyPipeline

FEWER_BITS = 16
"""Steps of eight bits in one of four."""


def _quantized(module: Any) -> list[QuantizedLinear]:
    return [found for found in module.modules() if isinstance(found, QuantizedLinear)]


@torch.no_grad()
def scales_of_the_next_row(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """In one matrix, which is near the middle: an index that is off by one."""
    layers = pipeline.decoder.layers
    scales = layers[nearest_to_the_middle(layers, mlp_output)].mlp.down_proj.scales
    scales.copy_(scales.roll(-1))


@torch.no_grad()
def layer_left_out(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """It adds nothing: scales of zero."""
    layers = pipeline.decoder.layers
    layer = layers[nearest_to_the_middle(layers, attended)]
    for product in (layer.self_attn.o_proj, layer.mlp.down_proj):
        product.scales.zero_()


@torch.no_grad()
def four_bits(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """In every matrix, with the scales of eight bits."""
    for product in _quantized(pipeline.decoder):
        step = FEWER_BITS * LARGEST[product.values.dtype] / LARGEST[torch.int8]
        product.values.copy_(((product.values.float() / step).round() * step).clamp(-step * 7, step * 7).to(product.values.dtype))


def layer_not_quantized(pipeline: Any, paths: Sequence[Path]) -> None:
    """One near the middle has its full weights, read anew: slower than what is claimed, and more exact."""
    layers = pipeline.decoder.layers
    number = nearest_to_the_middle(layers, mlp_output)
    full = type(pipeline)(parse("baseline"), pipeline.workload).decoder
    for (parent, name), product in _places(layers[number]).items():
        setattr(parent, name, full.layers[number].get_submodule(product))


def cache_without_mantissa(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Of keys and values of the prompt, in every layer, nothing but sign and exponent: five bits."""
    right = DecodeState.reset

    def reset(state: Any, prompt: int, logits: torch.Tensor) -> None:
        right(state, prompt, logits)
        for kept in (tensor for layer in state._kv_cache for tensor in layer):
            full = kept.float()
            kept.copy_(full.sign() * full.abs().log2().floor().exp2())

    DecodeState.reset = reset  # type: ignore[method-assign, assignment]


def _places(layer: Any) -> dict[tuple[Any, str], str]:
    """(module, name in it) -> name in the layer, of each quantized product."""
    names = [name for name, module in layer.named_modules() if isinstance(module, QuantizedLinear)]
    return {(layer.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]): name for name in names}
