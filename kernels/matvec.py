"""A weight matrix times one vector, or a few: all that a decode step does is read the weights once.

    y[v, r]  = sum over c of  weight[r, c] * x[v, c]
    norm:      x[v, c] is  x[v, c] * gain[c] / sqrt(mean over c of x[v, c]^2 + epsilon)          RMSNorm in front
    gated:     y[v, r] is  silu(y[v, r]) * y[v, r + rows / 2]                                    gate and up in one matrix (SwiGLU)
    residual:  y[v, r] + residual[v, r]

    x: [vectors, columns];  weight: [rows, columns];  gain: [columns];  y, residual: [vectors, outputs]
    outputs is rows, or half of them if gated.

Each program reads some whole rows of the weights, and all of x, which stays in the cache. The norm needs no pass of its own: its factor
is a number for each vector, and is summed up beside the products. Sums are in float32.

Source: Zhang and Sennrich 2019, arXiv 1910.07467 (RMSNorm); Shazeer 2020, arXiv 2002.05202 (SwiGLU).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from evbench.kernels.registration import register

MOST_INPUTS = 8
"""Vectors at a time. With more, the sums no longer fit into registers, and a matrix product on the tensor cores is faster."""


@triton.jit
def matvec_kernel(
    x_ptr,  # [vectors, columns]
    weight_ptr,  # [rows, columns]
    gain_ptr,  # [columns]
    residual_ptr,  # [vectors, outputs]
    y_ptr,  # [vectors, outputs]
    epsilon,
    vectors,
    columns,
    outputs,
    VECTORS: tl.constexpr,  # power of two, vectors or more
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
):
    # Everything in three dimensions from the start, [vectors, rows, columns]: what is loaded stays in the registers that it came into.
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[None, :, None]  # [1, ROWS, 1]
    vector = tl.arange(0, VECTORS)[:, None, None]  # [VECTORS, 1, 1]
    weight_row_ptr = weight_ptr + row.to(tl.int64) * columns
    row_mask, vector_mask = row < outputs, vector < vectors
    gate_acc = tl.zeros([VECTORS, ROWS, COLUMNS], tl.float32)  # all that there is, if not gated
    up_acc = tl.zeros([VECTORS, ROWS, COLUMNS], tl.float32)
    square_acc = tl.zeros([VECTORS, 1, COLUMNS], tl.float32)
    for start in tl.range(0, columns, COLUMNS, num_stages=STAGES):
        column = start + tl.arange(0, COLUMNS)[None, None, :]  # [1, 1, COLUMNS]
        column_mask = column < columns
        x = tl.load(x_ptr + vector * columns + column, mask=vector_mask & column_mask, other=0.0).to(tl.float32)  # [VECTORS, 1, COLUMNS]
        if NORM:
            square_acc += x * x
            x *= tl.load(gain_ptr + column, mask=column_mask, other=0.0).to(tl.float32)
        # Weights are used once in a step: they need not stay in the cache.
        mask = row_mask & column_mask
        weight = tl.load(weight_row_ptr + column, mask=mask, other=0.0, eviction_policy="evict_first")  # [1, ROWS, COLUMNS]
        gate_acc += x * weight.to(tl.float32)
        if GATED:
            weight = tl.load(weight_row_ptr + outputs * columns + column, mask=mask, other=0.0, eviction_policy="evict_first")
            up_acc += x * weight.to(tl.float32)
    y = tl.sum(gate_acc, axis=2, keep_dims=True)  # [VECTORS, ROWS, 1]
    if NORM:
        rstd = tl.rsqrt(tl.sum(square_acc, axis=2, keep_dims=True) / columns + epsilon)
        y *= rstd
    if GATED:
        up = tl.sum(up_acc, axis=2, keep_dims=True)
        if NORM:
            up *= rstd
        y = y * tl.sigmoid(y) * up
    offsets = vector * outputs + row
    if RESIDUAL:
        y += tl.load(residual_ptr + offsets, mask=vector_mask & row_mask, other=0.0).to(tl.float32)
    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=vector_mask & row_mask)


@dataclass(frozen=True)
class Norm:
    """RMSNorm."""

    gain: torch.Tensor
    """[columns]."""
    epsilon: float


def matvec(
    x: torch.Tensor, weight: torch.Tensor, norm: Norm | None = None, gated: bool = False, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """[vectors, outputs] in the type of x; outputs are rows, or half of them if gated.

    Args:
        x: [vectors, columns], at most MOST_INPUTS vectors, contiguous.
        weight: [rows, columns], contiguous; if gated, rows of the gate, then as many of what it is for.
        norm: of the vectors, in front.
        residual: [vectors, outputs], contiguous, added behind.

    Raises:
        ValueError: it is not so.
    """
    vectors, columns = x.shape
    rows = weight.shape[0]
    if not (x.is_contiguous() and weight.is_contiguous() and weight.shape[1] == columns) or (gated and rows % 2):
        raise ValueError(f"matvec takes contiguous [vectors, columns] and [rows, columns], not {x.shape} and {weight.shape}")
    if vectors > MOST_INPUTS:
        raise ValueError(f"matvec takes {MOST_INPUTS} vectors at most, not {vectors}")
    shape = vectors, rows // 2 if gated else rows
    if residual is not None and not (residual.shape == shape and residual.is_contiguous()):
        raise ValueError(f"a residual must be contiguous {shape}, not {tuple(residual.shape)} {residual.stride()}")
    if norm is not None and not (norm.gain.shape == (columns,) and norm.gain.is_contiguous()):
        raise ValueError(f"the gain of a norm must be contiguous {(columns,)}, not {tuple(norm.gain.shape)} {norm.gain.stride()}")
    gain, epsilon = (None, 0.0) if norm is None else (norm.gain, norm.epsilon)
    return torch.as_tensor(_operator(x, weight, gain, epsilon, gated, residual))


@dataclass(frozen=True)
class Config:
    """Of a program."""

    rows: int
    """Of the weights."""
    columns: int
    """At a time."""
    warps: int
    stages: int = 1
    """Steps over the columns that are loaded at the same time."""


def _config(vectors: int) -> Config:
    """Of those tried on an H200 with the matrices of a 7B model: the fastest of all for one vector, or within 2 % of it."""
    if vectors == 1:
        return Config(rows=8, columns=1024, warps=4, stages=2)
    return Config(2, 1024 if vectors == 2 else 512, 4)


def _launch(
    x: torch.Tensor, weight: torch.Tensor, gain: torch.Tensor | None, epsilon: float, gated: bool, residual: torch.Tensor | None
) -> torch.Tensor:
    y = _fake(x, weight, gain, epsilon, gated, residual)
    (vectors, columns), outputs, config = x.shape, y.shape[1], _config(x.shape[0])
    matvec_kernel[(math.ceil(outputs / config.rows),)](
        x,
        weight,
        # In the place of what there is none of, something that is not read.
        x if gain is None else gain,
        x if residual is None else residual,
        y,
        epsilon,
        vectors,
        columns,
        outputs,
        VECTORS=triton.next_power_of_2(vectors),
        NORM=gain is not None,
        GATED=gated,
        RESIDUAL=residual is not None,
        ROWS=config.rows,
        COLUMNS=config.columns,
        STAGES=config.stages,
        num_warps=config.warps,
    )
    return y


def _fake(
    x: torch.Tensor, weight: torch.Tensor, gain: torch.Tensor | None, epsilon: float, gated: bool, residual: torch.Tensor | None
) -> torch.Tensor:
    return x.new_empty((x.shape[0], weight.shape[0] // 2 if gated else weight.shape[0]))


_operator = register("matvec(Tensor x, Tensor weight, Tensor? gain, float epsilon, bool gated, Tensor? residual) -> Tensor", _launch, _fake)


def reference(
    x: torch.Tensor, weight: torch.Tensor, norm: Norm | None = None, gated: bool = False, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """Reference of `matvec` in PyTorch, in the type of x."""
    if norm is not None:
        x = torch.nn.functional.rms_norm(x, x.shape[-1:], norm.gain, norm.epsilon)
    y = x @ weight.T
    if gated:
        gate, up = y.chunk(2, dim=-1)
        y = torch.nn.functional.silu(gate) * up
    return y if residual is None else y + residual
