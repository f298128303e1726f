"""Weight-only quantization of a language model: the matrices of its layers in eight bits, with a scale for each row (an output channel).

    scale[r]     = max over c of |weight[r, c]| / LARGEST                      LARGEST: 127 of int8, 448 of float8_e4m3fn
    values[r, c] = weight[r, c] / scale[r], rounded to the nearest of the type
    y[r]         = scale[r] * sum over c of values[r, c] * x[c]

    weight, values: [rows, columns];  scale: [rows];  x: [columns];  y: [rows]

Embedding, norms and head keep their type, and so do activations. Scales are computed in float32, whatever type the weights were converted
to: weights that were read in bfloat16 or float32 have the same values in float64, and so the reference has the same scales and values.

Source: Dettmers et al. 2022, arXiv 2208.07339 (a scale for each row); Micikevicius et al. 2022, arXiv 2209.05433 (e4m3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from evbench.kernels.matvec import Quantized, product

LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
"""Magnitude of the largest value. -128 is not used, so that positive and negative weights are rounded alike."""


def quantize(weight: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """[rows, columns] -> values of the type, [rows, columns], and scales, [rows] float32. A row of zeros has the scale 1."""
    exact = weight.float()
    largest = exact.abs().amax(dim=1)
    scales = torch.where(largest > 0, largest / LARGEST[dtype], torch.ones_like(largest))
    scaled = (exact / scales[:, None]).clamp(-LARGEST[dtype], LARGEST[dtype])
    return (scaled.round() if dtype is torch.int8 else scaled).to(dtype), scales


class QuantizedLinear(nn.Module):
    """In the place of a linear layer. It holds no weights but these values. Each type has a subclass, so that a run shows which it is."""

    def __init__(self, full: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features = full.in_features, full.out_features
        values, scales = quantize(full.weight.detach(), dtype)
        self.register_buffer("values", values)
        self.register_buffer("scales", scales)
        self.bias = full.bias
        self.values: torch.Tensor
        self.scales: torch.Tensor

    @property
    def matrix(self) -> Quantized:
        return Quantized(self.values, self.scales)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        y = product(x, self.matrix)
        return y if self.bias is None else y + self.bias


class Int8Linear(QuantizedLinear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., columns] -> [..., rows]."""
        return self._product(x)


class Float8Linear(QuantizedLinear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., columns] -> [..., rows]."""
        return self._product(x)


LINEAR: dict[torch.dtype, type[QuantizedLinear]] = {torch.int8: Int8Linear, torch.float8_e4m3fn: Float8Linear}


def matrices(decoder: Any) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """The linear layers in the layers of a decoder: the module that each is in, its name there, and itself."""
    for parent in list(decoder.layers.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.Linear):
                yield parent, name, module


def _quantized(decoder: Any, dtype: torch.dtype) -> None:
    for parent, name, full in matrices(decoder):
        setattr(parent, name, LINEAR[dtype](full, dtype))


@torch.no_grad()
def _dequantized(decoder: Any, dtype: torch.dtype) -> None:
    for _, _, full in matrices(decoder):
        values, scales = quantize(full.weight, dtype)
        full.weight.copy_(values.to(full.weight.dtype) * scales.to(full.weight.dtype)[:, None])


def none(decoder: Any) -> None:
    """transformers' LlamaModel as it is. Each function here changes one in place."""


def int8(decoder: Any) -> None:
    _quantized(decoder, torch.int8)


def fp8(decoder: Any) -> None:
    _quantized(decoder, torch.float8_e4m3fn)


def int8_dequantized(decoder: Any) -> None:
    _dequantized(decoder, torch.int8)


def fp8_dequantized(decoder: Any) -> None:
    _dequantized(decoder, torch.float8_e4m3fn)
