"""A weight matrix times one vector, or a few: all that a decode step does is read the weights once.

    y[v, r]  = sum over c of  weight[r, c] * x[v, c]
    norm:      x[v, c] is  x[v, c] * gain[c] / sqrt(mean over c of x[v, c]^2 + epsilon)          RMSNorm in front
    gated:     y[v, r] is  silu(y[v, r]) * y[v, r + rows / 2]                                    gate and up in one matrix (SwiGLU)
    residual:  y[v, r] + residual[v, r]

    x: [vectors, columns];  weight: [rows, columns];  gain: [columns];  y, residual: [vectors, outputs]
    outputs is rows, or half of them if gated.

Each program loads some whole rows of the weights into registers, if it can before the kernel in front of it has ended, and then all of
each x, which stays in the cache. The norm needs no pass of its own: its factor is a number for each vector, and is summed up beside the
products. Sums are in float32.

Source: Zhang and Sennrich 2019, arXiv 1910.07467 (RMSNorm); Shazeer 2020, arXiv 2002.05202 (SwiGLU).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.dependent_launch import launch_options
from evbench.kernels.registration import register

MOST_INPUTS = 8
"""Vectors at a time. With more, a matrix product on the tensor cores is faster."""


@triton.jit
def _weights(row_ptr, row_mask, columns, START: tl.constexpr, COLUMNS: tl.constexpr):
    # Weights are used once in a step: they need not stay in the cache.
    column = START + tl.arange(0, COLUMNS)[None, :]
    return tl.load(row_ptr + column, mask=row_mask & (column < columns), other=0.0, eviction_policy="evict_first")  # [ROWS, COLUMNS]


@triton.jit
def _vector(ptr, columns, START: tl.constexpr, COLUMNS: tl.constexpr):
    column = START + tl.arange(0, COLUMNS)[None, :]
    return tl.load(ptr + column, mask=column < columns, other=0.0).to(tl.float32)  # [1, COLUMNS]


@triton.jit
def _product(weight, x):
    return tl.sum(weight.to(tl.float32) * x, axis=1, keep_dims=True)  # [ROWS, 1]


@triton.jit
def matvec_kernel(
    x_ptr,  # [VECTORS, columns]
    weight_ptr,  # [rows, columns]
    gain_ptr,  # [columns]
    residual_ptr,  # [VECTORS, outputs]
    y_ptr,  # [VECTORS, outputs]
    epsilon,
    columns,
    outputs,
    VECTORS: tl.constexpr,
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    ROWS: tl.constexpr,
    # Columns in three parts, each a power of two; the second and third may be 0.
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    THIRD: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]  # [ROWS, 1]
    row_mask = row < outputs
    row_ptr = weight_ptr + row.to(tl.int64) * columns
    up_ptr = weight_ptr + (outputs + row).to(tl.int64) * columns
    weight_1 = _weights(row_ptr, row_mask, columns, 0, FIRST)
    if SECOND:
        weight_2 = _weights(row_ptr, row_mask, columns, FIRST, SECOND)
    if THIRD:
        weight_3 = _weights(row_ptr, row_mask, columns, FIRST + SECOND, THIRD)
    if GATED:
        up_1 = _weights(up_ptr, row_mask, columns, 0, FIRST)
        if SECOND:
            up_2 = _weights(up_ptr, row_mask, columns, FIRST, SECOND)
        if THIRD:
            up_3 = _weights(up_ptr, row_mask, columns, FIRST + SECOND, THIRD)
    if NORM:
        gain_1 = _vector(gain_ptr, columns, 0, FIRST)
        if SECOND:
            gain_2 = _vector(gain_ptr, columns, FIRST, SECOND)
        if THIRD:
            gain_3 = _vector(gain_ptr, columns, FIRST + SECOND, THIRD)
    if DEPENDENT:
        gdc_wait()  # x and the residual are written by kernels in front of this one
    for vector in tl.static_range(VECTORS):
        x = _vector(x_ptr + vector * columns, columns, 0, FIRST)
        if NORM:
            squares = tl.sum(x * x, axis=1, keep_dims=True)
            x *= gain_1
        y = _product(weight_1, x)
        if GATED:
            up = _product(up_1, x)
        if SECOND:
            x = _vector(x_ptr + vector * columns, columns, FIRST, SECOND)
            if NORM:
                squares += tl.sum(x * x, axis=1, keep_dims=True)
                x *= gain_2
            y += _product(weight_2, x)
            if GATED:
                up += _product(up_2, x)
        if THIRD:
            x = _vector(x_ptr + vector * columns, columns, FIRST + SECOND, THIRD)
            if NORM:
                squares += tl.sum(x * x, axis=1, keep_dims=True)
                x *= gain_3
            y += _product(weight_3, x)
            if GATED:
                up += _product(up_3, x)
        if NORM:
            rstd = tl.rsqrt(squares / columns + epsilon)
            y *= rstd
        if GATED:
            if NORM:
                up *= rstd
            y = y * tl.sigmoid(y) * up
        offsets = vector * outputs + row
        if RESIDUAL:
            y += tl.load(residual_ptr + offsets, mask=row_mask, other=0.0).to(tl.float32)
        tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=row_mask)


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
    """Of the weights, a power of two."""
    parts: tuple[int, int, int]
    """Columns, in powers of two; 0 is none."""
    warps: int


PROGRAM_WEIGHTS = 24_576
"""That a program loads at most, where that is more than a row."""
WARP_WEIGHTS = 4096
"""For a warp: 64 registers of each thread, in bfloat16."""
MOST_ROWS, MOST_WARPS = 16, 8


def _config(outputs: int, columns: int, gated: bool) -> Config:
    """Chosen so that the matrices of a 7B model are read fastest on an H200."""
    rows = max(1, PROGRAM_WEIGHTS // (columns * (2 if gated else 1)))
    rows = min(MOST_ROWS, 1 << (rows.bit_length() - 1))
    weights = rows * columns * (2 if gated else 1)
    return Config(rows, _parts(columns), max(1, min(MOST_WARPS, triton.next_power_of_2(math.ceil(weights / WARP_WEIGHTS)))))


def _parts(columns: int) -> tuple[int, int, int]:
    """The columns as a sum of three powers of two at most, the last of which may be too large."""
    parts: list[int] = []
    while columns > 0 and len(parts) < 2:
        parts.append(1 << (columns.bit_length() - 1))
        columns -= parts[-1]
    if columns > 0:
        parts.append(triton.next_power_of_2(columns))
    first, second, third = (*parts, 0, 0)[:3]
    return first, second, third


def _launch(
    x: torch.Tensor, weight: torch.Tensor, gain: torch.Tensor | None, epsilon: float, gated: bool, residual: torch.Tensor | None
) -> torch.Tensor:
    y = _fake(x, weight, gain, epsilon, gated, residual)
    (vectors, columns), outputs, config = x.shape, y.shape[1], _config(y.shape[1], x.shape[1], gated)
    matvec_kernel[(math.ceil(outputs / config.rows),)](
        x,
        weight,
        # In the place of what there is none of, something that is not read.
        x if gain is None else gain,
        x if residual is None else residual,
        y,
        epsilon,
        columns,
        outputs,
        VECTORS=vectors,
        NORM=gain is not None,
        GATED=gated,
        RESIDUAL=residual is not None,
        ROWS=config.rows,
        FIRST=config.parts[0],
        SECOND=config.parts[1],
        THIRD=config.parts[2],
        num_warps=config.warps,
        **launch_options(x.device),
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
