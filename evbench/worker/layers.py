"""Which layers of a network matter, for faults that are planted into one of them.

A grown network (`evbench.pipelines.checkpoints.grown`) has inserted layers that add nothing: a fault in one of them changes no output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Added = Callable[[Any, torch.Tensor], torch.Tensor]
"""(layer, inputs [count, hidden]) -> what it adds to the residual stream, as far as that is looked at."""
COUNT = 16
"""Inputs that are tried."""
ENOUGH = 0.01
"""Share of what the layer adds that adds most. What cancels is far below, also in bfloat16."""


@torch.inference_mode()
def adding(layers: Sequence[Any], added: Added) -> list[int]:
    """Numbers of the layers that add something, for random inputs."""
    # Of a quantized layer, the first parameter is that of a norm: it has the type of activations, as all weights of others do.
    width, parameter = layers[0].self_attn.q_proj.in_features, next(layers[0].parameters())
    inputs = torch.randn(COUNT, width, generator=torch.Generator().manual_seed(0)).to(parameter)
    norms = [float(added(layer, inputs).float().norm()) for layer in layers]
    return [number for number, norm in enumerate(norms) if norm > ENOUGH * max(norms)]


def nearest_to_the_middle(layers: Sequence[Any], added: Added) -> int:
    return min(adding(layers, added), key=lambda number: abs(number - len(layers) // 2))


def mlp_output(layer: Any, inputs: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(layer.mlp(inputs))


def attended(layer: Any, inputs: torch.Tensor) -> torch.Tensor:
    """Of LLaMA's attention, where each token sees itself alone: its value."""
    attention = layer.self_attn
    heads = attention.v_proj(inputs).unflatten(-1, (-1, attention.head_dim))
    return torch.as_tensor(attention.o_proj(heads.repeat_interleave(attention.num_key_value_groups, dim=-2).flatten(-2)))
