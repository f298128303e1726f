"""A CLIP vision tower with fewer and larger operations, over the weights of transformers' module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import layer_norm, linear, pad
from transformers.activations import ACT2FN

from evbench.errors import UserError
from evbench.kernels.patch_columns import patch_columns
from evbench.kernels.quick_gelu import quick_gelu
from evbench.kernels.shifted_norm import shifted_norm
from evbench.pipelines.compute import attention
from evbench.pipelines.compute.attention import Attend

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
    output: torch.Tensor
    before_mlp: Affine
    up: Affine
    down: torch.Tensor
    shifts: tuple[torch.Tensor, torch.Tensor]
    """What is missing in the hidden state in front of either norm: the biases of all outputs and downs before it. [hidden] float32."""


@dataclass(frozen=True)
class Steps:
    """The operations between the matrix products. See evbench.kernels for what each step makes."""

    columns: Callable[[torch.Tensor, int, int], torch.Tensor]
    """(pixels [images, channels, height, width], edge of a patch, width of a row) -> [images, 1 + patches, width]."""
    norm: Callable[[torch.Tensor, torch.Tensor, Affine, float], torch.Tensor]
    """(hidden, rows to add first, norm, epsilon) -> as hidden."""
    activate: Callable[[torch.Tensor], torch.Tensor]
    """May overwrite its input."""
    add: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    """(hidden, values [images, tokens, inputs], weight [hidden, inputs]) -> hidden + product; may write over hidden."""
    attend: Attend
    compiled: bool
    """Whether a layer is compiled, once for all of them."""


def torch_steps(tower: Any, attend: Attend, *, compiled: bool = True) -> Steps:
    """PyTorch's operations. `tower` is transformers' CLIPVisionModel."""
    return Steps(_columns, _norm, ACT2FN[tower.config.hidden_act], _add, attend, compiled)


def kernel_steps(tower: Any) -> Steps:
    """Triton kernels of evbench, attention among them.

    Raises:
        UserError: there is none for the heads or the activation of this tower.
    """
    if tower.config.hidden_act != "quick_gelu":
        raise UserError(f"vision=fused has no kernel for the activation {tower.config.hidden_act!r}; use vision=graph")
    return Steps(patch_columns, _norm_in_kernel, quick_gelu, _add_in_place, attention.of_tower(tower), compiled=False)


def _columns(pixels: torch.Tensor, patch: int, width: int) -> torch.Tensor:
    images, channels, height, across = pixels.shape
    apart = pixels.view(images, channels, height // patch, patch, across // patch, patch).permute(0, 2, 4, 1, 3, 5)
    rows = apart.reshape(images, -1, channels * patch * patch)
    return pad(rows, (0, width - rows.shape[-1], 1, 0))


def _norm(hidden: torch.Tensor, shift: torch.Tensor, norm: Affine, epsilon: float) -> torch.Tensor:
    return layer_norm((hidden + shift).to(hidden.dtype), norm.weight.shape, norm.weight, norm.bias, epsilon)


def _norm_in_kernel(hidden: torch.Tensor, shift: torch.Tensor, norm: Affine, epsilon: float) -> torch.Tensor:
    return shifted_norm(hidden, shift, norm.weight, norm.bias, epsilon)


def _add(hidden: torch.Tensor, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return hidden + linear(values, weight)


def _add_in_place(hidden: torch.Tensor, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    hidden.flatten(0, 1).addmm_(values.flatten(0, 1), weight.t())
    return hidden


class FusedClip:
    """[images, 3, height, width] -> [images, tokens, hidden]: hidden state after some of the layers, class token first."""

    def __init__(self, tower: Any, layers: int, steps: Steps) -> None:
        """
        Args:
            tower: transformers' CLIPVisionModel.
            layers: how many of its layers are used.
        """
        config, embeddings = tower.config, tower.embeddings
        self._patch, self._heads, self._epsilon = config.patch_size, config.num_attention_heads, config.layer_norm_eps
        self._size = config.hidden_size // self._heads
        filters = embeddings.patch_embedding.weight.detach().flatten(1)
        self._filters = pad(filters, (0, -filters.shape[1] % ALIGNED))
        positions = embeddings.position_embedding.weight.detach()
        # The filters make nothing but zeros of the class token's row.
        self._table = torch.cat([embeddings.class_embedding.detach() + positions[:1], positions[1:]])
        self._before = Affine.of(tower.pre_layrnorm)
        self._layers, missing = _fused(tower.encoder.layers[:layers], torch.zeros_like(self._before.bias, dtype=torch.float32))
        self._missing = missing.to(filters.dtype)
        self._steps = steps
        self._run = torch.compile(self._layer, fullgraph=True, dynamic=False) if steps.compiled else self._layer

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        # The convolution takes each pixel once, and so is a matrix product of patches.
        columns = self._steps.columns(pixels.to(self._filters.dtype), self._patch, self._filters.shape[1])
        hidden = self._steps.norm(linear(columns, self._filters), self._table, self._before, self._epsilon)
        for layer in self._layers:
            hidden = self._run(hidden, layer)
        return hidden + self._missing

    def _layer(self, hidden: torch.Tensor, layer: Layer) -> torch.Tensor:
        # hidden: [images, tokens, hidden], without the biases that were to be added to it. They are the same for each token, so that they
        # need not be written to every row: the norms add them to what they read.
        steps, (first, second) = self._steps, layer.shifts
        projected = _through(steps.norm(hidden, first, layer.before_attention, self._epsilon), layer.projections)
        query, key, value = projected.view(*hidden.shape[:2], 3, self._heads, self._size).unbind(dim=2)
        mixed = steps.attend(query, key, value, False, self._size**-0.5)
        hidden = steps.add(hidden, mixed.flatten(2), layer.output)
        up = _through(steps.norm(hidden, second, layer.before_mlp, self._epsilon), layer.up)
        return steps.add(hidden, steps.activate(up), layer.down)


def _through(values: torch.Tensor, affine: Affine) -> torch.Tensor:
    return linear(values, affine.weight, affine.bias)


def _fused(layers: Iterable[Any], missing: torch.Tensor) -> tuple[list[Layer], torch.Tensor]:
    """The layers; and what is missing in the hidden state after the last, if it is `missing` before the first."""
    fused = []
    for layer in layers:
        attention, mlp = layer.self_attn, layer.mlp
        after_attention = missing + attention.out_proj.bias.detach().float()
        whole = Layer(
            before_attention=Affine.of(layer.layer_norm1),
            projections=Affine.of(attention.q_proj, attention.k_proj, attention.v_proj),
            output=attention.out_proj.weight.detach(),
            before_mlp=Affine.of(layer.layer_norm2),
            up=Affine.of(mlp.fc1),
            down=mlp.fc2.weight.detach(),
            shifts=(missing, after_attention),
        )
        fused.append(whole)
        missing = after_attention + mlp.fc2.bias.detach().float()
    return fused, missing
