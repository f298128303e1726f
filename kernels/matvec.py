"""A weight matrix times one vector, or a few: all that a decode step does is read the weights once.

    y[v, r]  = sum over c of  weight[r, c] * x[v, c]
    norm:      x[v, c] is  x[v, c] * gain[c] / sqrt(mean over c of x[v, c]^2 + epsilon)          RMSNorm in front
    gated:     y[v, r] is  silu(y[v, r]) * y[v, r + rows / 2]                                    gate and up in one matrix (SwiGLU)
    residual:  y[v, r] + residual[v, r]

    x: [vectors, columns];  weight: [rows, columns];  gain: [columns];  y, residual: [vectors, outputs]
    outputs is rows, or half of them if gated.

Of one vector, each program loads some whole rows of the weights into registers, if it can before the kernel in front of it has ended, and
then all of x, which stays in the cache. The norm needs no pass of its own: its factor is a number for the vector, and is summed up beside
the products. Of several, their products with what was loaded would take longer than loading it: they are made on the tensor cores, some
columns after the others, of vectors that a kernel of its own has normalized. Sums are in float32.

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

MOST_INPUTS = 16
"""Vectors at a time. With more, a matrix product on the tensor cores is faster."""


@triton.jit
def matvec_kernel(
    x_ptr,  # [columns]
    weight_ptr,  # [rows, columns]
    gain_ptr,  # [columns]
    residual_ptr,  # [outputs]
    y_ptr,  # [outputs]
    epsilon,
    columns,
    outputs,
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    PARTS: tl.constexpr,  # of WIDTH columns each
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]  # [ROWS, 1]
    row_mask = row < outputs
    row_ptr = weight_ptr + row.to(tl.int64) * columns
    up_ptr = weight_ptr + (outputs + row).to(tl.int64) * columns
    # All that this program needs of the weights, [ROWS, WIDTH] for each part, and of the gain, [1, WIDTH].
    weights = ()
    ups = ()
    gains = ()
    for part in tl.static_range(PARTS):
        column = part * WIDTH + tl.arange(0, WIDTH)[None, :]
        mask = row_mask & (column < columns)
        # Weights are used once in a step: they need not stay in the cache.
        weights += (tl.load(row_ptr + column, mask=mask, other=0.0, eviction_policy="evict_first"),)  # type: ignore[assignment]
        if GATED:
            ups += (tl.load(up_ptr + column, mask=mask, other=0.0, eviction_policy="evict_first"),)  # type: ignore[assignment]
        if NORM:
            gains += (tl.load(gain_ptr + column, mask=column < columns, other=0.0),)  # type: ignore[assignment]
    if DEPENDENT:
        gdc_wait()  # x and the residual are written by kernels in front of this one
    acc = tl.zeros([ROWS, WIDTH], tl.float32)
    up_acc = tl.zeros([ROWS, WIDTH], tl.float32)
    square_acc = tl.zeros([1, WIDTH], tl.float32)
    for part in tl.static_range(PARTS):
        column = part * WIDTH + tl.arange(0, WIDTH)[None, :]
        x = tl.load(x_ptr + column, mask=column < columns, other=0.0).to(tl.float32)
        if NORM:
            square_acc += x * x
            x *= gains[part].to(tl.float32)
        acc += weights[part].to(tl.float32) * x
        if GATED:
            up_acc += ups[part].to(tl.float32) * x
    y = tl.sum(acc, axis=1, keep_dims=True)  # [ROWS, 1]
    up = tl.sum(up_acc, axis=1, keep_dims=True)
    if NORM:
        rstd = tl.rsqrt(tl.sum(square_acc, axis=1, keep_dims=True) / columns + epsilon)
        y *= rstd
        up *= rstd
    _finish(y, up, row, row_mask, residual_ptr, y_ptr, GATED, RESIDUAL)


@triton.jit
def _finish(y, up, offsets, mask, residual_ptr, y_ptr, GATED: tl.constexpr, RESIDUAL: tl.constexpr):
    """What follows the products, y and, if gated, up."""
    if GATED:
        y = y * tl.sigmoid(y) * up
    if RESIDUAL:
        y += tl.load(residual_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def normed_kernel(
    x_ptr,  # [vectors, columns]
    gain_ptr,  # [columns]
    y_ptr,  # [vectors, columns]
    epsilon,
    columns,
    BLOCK: tl.constexpr,  # power of two, columns or more
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
    column = tl.arange(0, BLOCK)
    gain = tl.load(gain_ptr + column, mask=column < columns, other=0.0).to(tl.float32)  # [BLOCK]
    if DEPENDENT:
        gdc_wait()
    row_ptr = tl.program_id(0) * columns + column
    x = tl.load(x_ptr + row_ptr, mask=column < columns, other=0.0).to(tl.float32)
    y = x * tl.rsqrt(tl.sum(x * x, axis=0) / columns + epsilon) * gain
    tl.store(y_ptr + row_ptr, y.to(y_ptr.dtype.element_ty), mask=column < columns)


@triton.jit
def matvecs_kernel(
    x_ptr,  # [VECTORS, columns]
    weight_ptr,  # [rows, columns]
    residual_ptr,  # [VECTORS, outputs]
    y_ptr,  # [VECTORS, outputs]
    columns,
    outputs,
    VECTORS: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    MOST: tl.constexpr,  # power of two, VECTORS or more: the rest are rows of zeros
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    vector = tl.arange(0, MOST)
    row_mask, vector_mask = (row < outputs)[:, None], (vector < VECTORS)[:, None]
    row_ptr = weight_ptr + row[:, None].to(tl.int64) * columns
    up_ptr = weight_ptr + (outputs + row)[:, None].to(tl.int64) * columns
    acc = tl.zeros([ROWS, MOST], tl.float32)
    up_acc = tl.zeros([ROWS, MOST], tl.float32)
    for start in tl.range(0, columns, COLUMNS, num_stages=STAGES):
        column = start + tl.arange(0, COLUMNS)[None, :]
        column_mask = column < columns
        x = tl.trans(tl.load(x_ptr + vector[:, None] * columns + column, mask=vector_mask & column_mask, other=0.0))  # [COLUMNS, MOST]
        mask = row_mask & column_mask
        # Weights are used once in a step: they need not stay in the cache.
        weights = tl.load(row_ptr + column, mask=mask, other=0.0, eviction_policy="evict_first")  # [ROWS, COLUMNS]
        acc = tl.dot(weights, x, acc, input_precision="ieee")
        if GATED:
            weights = tl.load(up_ptr + column, mask=mask, other=0.0, eviction_policy="evict_first")
            up_acc = tl.dot(weights, x, up_acc, input_precision="ieee")
    offsets = vector[None, :] * outputs + row[:, None]  # [ROWS, MOST]
    mask = row_mask & (vector < VECTORS)[None, :]
    _finish(acc, up_acc, offsets, mask, residual_ptr, y_ptr, GATED, RESIDUAL)


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
    warps: int

    @property
    def width(self) -> int:
        """Columns of a part: 16 bytes of bfloat16 for each thread."""
        return 256 * self.warps


PROGRAM_WEIGHTS = 24_576
"""That a program loads at most, where that is more than a row."""
WARP_WEIGHTS = 4096
"""For a warp: 64 registers of each thread, in bfloat16."""
MOST_ROWS, MOST_WARPS = 16, 8
NORM_WARPS = 8
"""Of a program that normalizes one of several vectors."""
SEVERAL = {
    False: {"ROWS": 16, "COLUMNS": 256, "STAGES": 4, "num_warps": 1},
    True: {"ROWS": 32, "COLUMNS": 128, "STAGES": 4, "num_warps": 2},
}
"""Of a program for several vectors, by whether they are gated: among the fastest of those tried on an H200."""


def _config(columns: int, gated: bool) -> Config:
    """For one vector, chosen so that the matrices of a 7B model are read fastest on an H200."""
    rows = max(1, PROGRAM_WEIGHTS // (columns * (2 if gated else 1)))
    rows = min(MOST_ROWS, 1 << (rows.bit_length() - 1))
    weights = rows * columns * (2 if gated else 1)
    return Config(rows, max(1, min(MOST_WARPS, triton.next_power_of_2(math.ceil(weights / WARP_WEIGHTS)))))


def _launch(
    x: torch.Tensor, weight: torch.Tensor, gain: torch.Tensor | None, epsilon: float, gated: bool, residual: torch.Tensor | None
) -> torch.Tensor:
    y = _fake(x, weight, gain, epsilon, gated, residual)
    (vectors, columns), outputs, device = x.shape, y.shape[1], launch_options(x.device)
    # In the place of what there is none of, something that is not read.
    added = x if residual is None else residual
    options = {"GATED": gated, "RESIDUAL": residual is not None, **device}
    if vectors == 1:
        config = _config(columns, gated)
        shape = {"ROWS": config.rows, "WIDTH": config.width, "PARTS": math.ceil(columns / config.width), "num_warps": config.warps}
        given = x, weight, x if gain is None else gain, added, y, epsilon, columns, outputs
        matvec_kernel[(math.ceil(outputs / config.rows),)](*given, NORM=gain is not None, **shape, **options)
        return y
    if gain is not None:
        normed = torch.empty_like(x)
        normed_kernel[(vectors,)](x, gain, normed, epsilon, columns, BLOCK=triton.next_power_of_2(columns), num_warps=NORM_WARPS, **device)
        x = normed
    programs, most = math.ceil(outputs / SEVERAL[gated]["ROWS"]), 8 if vectors <= 8 else MOST_INPUTS
    matvecs_kernel[(programs,)](x, weight, added, y, columns, outputs, VECTORS=vectors, MOST=most, **SEVERAL[gated], **options)
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
