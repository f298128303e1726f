"""A choice of your own: the norms of a vision tower by one Triton kernel, in the tower of any model.

    evbench compare --plugin examples/my_variant.py --baseline baseline --optimized fused-norms

On a GPU the kernel is compiled. Without one Triton's interpreter can run it, slowly, to see that it is right: set TRITON_INTERPRET=1.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import nn

import evbench

VARIANTS = {"fused-norms": "baseline+vision=fused-norms"}
"""Variants that have a name: each is a variant of evbench with other choices."""


@triton.jit
def norm_kernel(
    x, weight, bias, y, count, width, epsilon, CENTRED: tl.constexpr, BIAS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """ROWS rows of [count, width]: LayerNorm if CENTRED, else RMSNorm, in float32."""
    row, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK)[None, :]
    of_width = column < width
    inside, place = of_width & (row < count), row.to(tl.int64) * width + column
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if CENTRED:
        value = tl.where(of_width, value - tl.sum(value, 1)[:, None] / width, 0.0)
    value = value * tl.rsqrt(tl.sum(value * value, 1)[:, None] / width + epsilon)
    value *= tl.load(weight + column, mask=of_width, other=0.0).to(tl.float32)
    if BIAS:
        value += tl.load(bias + column, mask=of_width, other=0.0).to(tl.float32)
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


class FusedNorm(nn.Module):
    """In the place of a LayerNorm, or of what transformers calls RMSNorm."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, getattr(norm, "bias", None)
        self.centred = isinstance(norm, nn.LayerNorm)
        self.epsilon = float(norm.eps if self.centred else norm.variance_epsilon)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [..., width]."""
        rows = x.contiguous().view(-1, x.shape[-1])
        y = torch.empty_like(rows)
        bias = rows if self.bias is None else self.bias
        together = 4 if x.is_cuda else 1024  # the interpreter takes as long for many rows as for one
        norm_kernel[(triton.cdiv(len(rows), together),)](
            rows, self.weight, bias, y, *rows.shape, self.epsilon,
            CENTRED=self.centred, BIAS=self.bias is not None, ROWS=together, BLOCK=triton.next_power_of_2(rows.shape[1]),
        )  # fmt: skip
        return y.view(x.shape)


def runs_triton(device: str) -> str | None:
    """Why the kernel cannot run on the device. None if it can."""
    if device == "cuda" or os.environ.get("TRITON_INTERPRET") == "1":
        return None
    return "needs a GPU, or Triton's interpreter (set TRITON_INTERPRET=1)"


@evbench.choice(
    "vision",
    meaning="the tower as published, each LayerNorm or RMSNorm in it by one Triton kernel",
    needs=["Triton", runs_triton],
    evidence=[
        evbench.Evidence("vision", "norm of this file", r"function:my_variant\.FusedNorm\.forward$", "each layer"),
        evbench.Evidence("vision", "its kernel", r"kernel:norm_kernel", "each layer", devices=("cuda",)),
    ],
)
def fused_norms(pipeline: Any) -> None:
    """Called once, with the pipeline as evbench has built it: it changes the tower in place."""
    found = 0
    for module in list(pipeline.tower.modules()):
        for name, norm in list(module.named_children()):
            if (isinstance(norm, nn.LayerNorm) and norm.elementwise_affine) or type(norm).__name__.endswith("RMSNorm"):
                setattr(module, name, FusedNorm(norm))
                found += 1
    if not found:
        raise evbench.UserError(f"{type(pipeline.tower).__name__} has no norm that fused-norms knows; choose another --model")
