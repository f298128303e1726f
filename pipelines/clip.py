"""A CLIP vision tower with fewer and larger operations, over the weights of transformers' module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import layer_norm, linear, pad
from transformers.activations import ACT2FN

from evbench.pipelines.attention import Attend

ALIGNED = 8
"""Columns of a matrix that starts each row at 16 bytes, as tensor cores want it. A patch of 14x14 in three colours has 588."""


@dataclass(frozen=True)
class Affine:
    """[outputs, inputs], [outputs]. Of a norm, its gain and shift."""

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def of(cls, *modules: Any) -> Affine:
        """Several are stacked. Copies, where there is more than one: a tower is small."""
        weight, bias = (torch.cat([getattr(module, name).detach() for module in modules]) for name in ("weight", "bias"))
        return cls(weight, bias)


@dataclass(frozen=True)
class Layer:
    before_attention: Affine
    projections: Affine
    """Rows of the queries, then of the keys, then of the values."""
    output: Affine
    before_mlp: Affine
    up: Affine
    down: Affine


class FusedClip:
    """[images, 3, height, width] -> [images, tokens, hidden]: hidden state behind some of the layers, class token first."""

    def __init__(self, tower: Any, layers: int, attend: Attend, *, compiled: bool) -> None:
        """
        Args:
            tower: transformers' CLIPVisionModel.
            layers: how many of its layers are used.
            compiled: whether a layer is compiled, once for all of them.
        """
        config, embeddings = tower.config, tower.embeddings
        self._patch, self._heads, self._epsilon = config.patch_size, config.num_attention_heads, config.layer_norm_eps
        self._size = config.hidden_size // self._heads
        filters = embeddings.patch_embedding.weight.detach().flatten(1)
        self._missing = -filters.shape[1] % ALIGNED
        self._filters = pad(filters, (0, self._missing))
        positions = embeddings.position_embedding.weight.detach()
        self._first = embeddings.class_embedding.detach() + positions[:1]
        self._positions = positions[1:]
        self._before = Affine.of(tower.pre_layrnorm)
        self._layers = [_fused(layer) for layer in tower.encoder.layers[:layers]]
        self._activation: Callable[[torch.Tensor], torch.Tensor] = ACT2FN[config.hidden_act]
        self._attend = attend
        self._run = torch.compile(self._layer, fullgraph=True, dynamic=False) if compiled else self._layer

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        hidden = self._embedded(pixels.to(self._filters.dtype))
        more = torch.zeros_like(hidden)
        for layer in self._layers:
            hidden, more = self._run(hidden, more, layer)
        return hidden + more

    def _embedded(self, pixels: torch.Tensor) -> torch.Tensor:
        """The convolution takes each pixel once, and so is a matrix product of patches."""
        images, channels, height, width = pixels.shape
        down, across = height // self._patch, width // self._patch
        patches = pixels.view(images, channels, down, self._patch, across, self._patch).permute(0, 2, 4, 1, 3, 5)
        columns = pad(patches.reshape(images, down * across, -1), (0, self._missing))
        seen = linear(columns, self._filters) + self._positions
        hidden = torch.cat([self._first.expand(images, 1, -1), seen], dim=1)
        return self._normal(hidden, self._before)

    def _layer(self, hidden: torch.Tensor, more: torch.Tensor, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        # hidden, more: [images, tokens, hidden]. What a layer adds is added in front of the next one's norm, in one kernel with it.
        hidden = hidden + more
        projected = _through(self._normal(hidden, layer.before_attention), layer.projections)
        query, key, value = projected.view(*hidden.shape[:2], 3, self._heads, self._size).unbind(dim=2)
        mixed = self._attend(query, key, value, False, self._size**-0.5)
        hidden = hidden + _through(mixed.flatten(2), layer.output)
        raised = self._activation(_through(self._normal(hidden, layer.before_mlp), layer.up))
        return hidden, _through(raised, layer.down)

    def _normal(self, hidden: torch.Tensor, norm: Affine) -> torch.Tensor:
        return layer_norm(hidden, norm.weight.shape, norm.weight, norm.bias, self._epsilon)


def _through(values: torch.Tensor, affine: Affine) -> torch.Tensor:
    return linear(values, affine.weight, affine.bias)


def _fused(layer: Any) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return Layer(
        before_attention=Affine.of(layer.layer_norm1),
        projections=Affine.of(attention.q_proj, attention.k_proj, attention.v_proj),
        output=Affine.of(attention.out_proj),
        before_mlp=Affine.of(layer.layer_norm2),
        up=Affine.of(mlp.fc1),
        down=Affine.of(mlp.fc2),
    )
