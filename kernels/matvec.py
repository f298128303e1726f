"""A weight matrix times one vector, or a few: all that a decode step does is read the weights once.

    y[v, r]  = sum over c of  weight[r, c] * x[v, c]
    norm:      x[v, c] is  x[v, c] * gain[c] / sqrt(mean over c of x[v, c]^2 + epsilon)          RMSNorm in front
    gated:     y[v, r] is  silu(y[v, r]) * y[v, r + rows / 2]                                    gate and up in one matrix (SwiGLU)
    residual:  y[v, r] + residual[v, r]
    quantized: weight[r, c] is  values[r, c] * scales[r], of eight bits and float32

    x: [vectors, columns];  weight, values: [rows, columns];  scales: [rows];  gain: [columns];  y, residual: [vectors, outputs]
    outputs is rows, or half of them if gated.

Of one vector, each program loads some whole rows of the weights into registers, if it can before the kernel in front of it has ended, and
then all of x, which stays in the cache. The norm needs no pass of its own: its factor is a number for the vector, and is summed up beside
the products. Of several, their products with what was loaded would take longer than loading it: they are made on the tensor cores, some
columns after the others, of vectors that a kernel of its own has normalized. Sums are in float32. Quantized weights are read as they are
stored: the scale of a row is a factor of its sum, and is multiplied once.

Source: Zhang and Sennrich 2019, arXiv 1910.07467 (RMSNorm); Shazeer 2020, arXiv 2002.05202 (SwiGLU).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.carveout import OF_SEVERAL, set_carveout
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
    _matvec(
        x_ptr, weight_ptr, weight_ptr, gain_ptr, residual_ptr, y_ptr, epsilon, columns, outputs,
        NORM, GATED, RESIDUAL, False, ROWS, WIDTH, PARTS, 0, DEPENDENT,
    )  # fmt: skip


@triton.jit
def quantized_matvec_kernel(
    x_ptr,  # [columns]
    weight_ptr,  # [rows, columns] int8 or float8_e4m3fn
    scale_ptr,  # [rows] float32
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
    PARTS: tl.constexpr,
    UNIT: tl.constexpr,  # a divisor of columns, VALUES at most
    DEPENDENT: tl.constexpr,
):
    """By a name of its own, so that a trace shows which of the two it is."""
    _matvec(
        x_ptr, weight_ptr, scale_ptr, gain_ptr, residual_ptr, y_ptr, epsilon, columns, outputs,
        NORM, GATED, RESIDUAL, True, ROWS, WIDTH, PARTS, UNIT, DEPENDENT,
    )  # fmt: skip


@triton.jit
def _matvec(
    x_ptr, weight_ptr, scale_ptr, gain_ptr, residual_ptr, y_ptr, epsilon, columns, outputs,
    NORM: tl.constexpr, GATED: tl.constexpr, RESIDUAL: tl.constexpr, QUANTIZED: tl.constexpr,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, PARTS: tl.constexpr, UNIT: tl.constexpr, DEPENDENT: tl.constexpr,
):  # fmt: skip
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
        weights += (tl.load(_places(row_ptr, column, UNIT), mask=mask, other=0.0, eviction_policy="evict_first"),)  # type: ignore[assignment]
        if GATED:
            ups += (tl.load(_places(up_ptr, column, UNIT), mask=mask, other=0.0, eviction_policy="evict_first"),)  # type: ignore[assignment]
        if NORM:
            gains += (tl.load(gain_ptr + column, mask=column < columns, other=0.0),)  # type: ignore[assignment]
    scale, up_scale = _scales(scale_ptr, row, row_mask, outputs, QUANTIZED, GATED)
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
    if QUANTIZED:
        y *= scale
        up *= up_scale
    _finish(y, up, row, row_mask, residual_ptr, y_ptr, GATED, RESIDUAL)


@triton.jit
def _places(row_ptr, column, UNIT: tl.constexpr):
    """Of weights, [rows, columns]. The compiler would take 16 values of eight bits, and 8 of x, into a thread at a time, and sums from
    thread to thread in between. UNIT: as many at a time; 0: as the compiler has it."""
    if UNIT:
        return tl.multiple_of(row_ptr + column, [1, UNIT])
    return row_ptr + column


@triton.jit
def _scales(scale_ptr, row, mask, outputs, QUANTIZED: tl.constexpr, GATED: tl.constexpr):
    """Of the rows, [rows, 1], and if gated, of those that the gate is for."""
    scale, up_scale = 1.0, 1.0
    if QUANTIZED:
        scale = tl.load(scale_ptr + row, mask=mask, other=0.0)
        if GATED:
            up_scale = tl.load(scale_ptr + outputs + row, mask=mask, other=0.0)
    return scale, up_scale


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
    _matvecs(
        x_ptr, weight_ptr, weight_ptr, residual_ptr, y_ptr, columns, outputs,
        VECTORS, GATED, RESIDUAL, False, MOST, ROWS, COLUMNS, STAGES, DEPENDENT,
    )  # fmt: skip


@triton.jit
def quantized_matvecs_kernel(
    x_ptr,  # [VECTORS, columns]
    weight_ptr,  # [rows, columns] int8 or float8_e4m3fn
    scale_ptr,  # [rows] float32
    residual_ptr,  # [VECTORS, outputs]
    y_ptr,  # [VECTORS, outputs]
    columns,
    outputs,
    VECTORS: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    MOST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    _matvecs(
        x_ptr, weight_ptr, scale_ptr, residual_ptr, y_ptr, columns, outputs,
        VECTORS, GATED, RESIDUAL, True, MOST, ROWS, COLUMNS, STAGES, DEPENDENT,
    )  # fmt: skip


@triton.jit
def _matvecs(
    x_ptr, weight_ptr, scale_ptr, residual_ptr, y_ptr, columns, outputs,
    VECTORS: tl.constexpr, GATED: tl.constexpr, RESIDUAL: tl.constexpr, QUANTIZED: tl.constexpr,
    MOST: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STAGES: tl.constexpr, DEPENDENT: tl.constexpr,
):  # fmt: skip
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
        if QUANTIZED:
            weights = weights.to(tl.float32)  # each is a number of x's type; the interpreter knows no other way from eight bits to bfloat16
        acc = tl.dot(weights.to(x.dtype), x, acc, input_precision="ieee")
        if GATED:
            weights = tl.load(up_ptr + column, mask=mask, other=0.0, eviction_policy="evict_first")
            if QUANTIZED:
                weights = weights.to(tl.float32)
            up_acc = tl.dot(weights.to(x.dtype), x, up_acc, input_precision="ieee")
    if QUANTIZED:
        scale, up_scale = _scales(scale_ptr, row[:, None], row_mask, outputs, QUANTIZED, GATED)
        acc *= scale
        up_acc *= up_scale
    offsets = vector[None, :] * outputs + row[:, None]  # [ROWS, MOST]
    mask = row_mask & (vector < VECTORS)[None, :]
    _finish(acc, up_acc, offsets, mask, residual_ptr, y_ptr, GATED, RESIDUAL)


@dataclass(frozen=True)
class Norm:
    """RMSNorm."""

    gain: torch.Tensor
    """[columns]."""
    epsilon: float


@dataclass(frozen=True)
class Quantized:
    """A matrix of eight bits, with a scale for each row."""

    values: torch.Tensor
    """[rows, columns] int8 or float8_e4m3fn."""
    scales: torch.Tensor
    """[rows] float32."""

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.scales.nbytes

    def __getitem__(self, rows: slice) -> Quantized:
        """Some of its rows, in the same memory."""
        return Quantized(self.values[rows], self.scales[rows])


Matrix = torch.Tensor | Quantized


def matvec(
    x: torch.Tensor, weight: Matrix, norm: Norm | None = None, gated: bool = False, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """[vectors, outputs] in the type of x; outputs are rows, or half of them if gated.

    Args:
        x: [vectors, columns], at most MOST_INPUTS vectors, contiguous.
        weight: [rows, columns], contiguous; if gated, rows of the gate, then as many of what it is for. Of the type of x, or quantized.
        norm: of the vectors, in front.
        residual: [vectors, outputs], contiguous, added behind.

    Raises:
        ValueError: it is not so.
    """
    vectors, columns = x.shape
    weight, scales = (weight.values, weight.scales) if isinstance(weight, Quantized) else (weight, None)
    rows = weight.shape[0]
    if scales is not None and not (scales.shape == (rows,) and scales.is_contiguous() and scales.dtype == torch.float32):
        raise ValueError(f"scales must be contiguous float32 {(rows,)}, not {scales.dtype} {tuple(scales.shape)} {scales.stride()}")
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
    return torch.as_tensor(_operator(x, weight, scales, gain, epsilon, gated, residual))


@dataclass(frozen=True)
class Config:
    """Of a program."""

    rows: int
    """Of the weights, a power of two."""
    warps: int
    width: int
    """Columns of a part: VALUES for each thread."""


VALUES = 8
"""That a thread reads at a time: 16 bytes in bfloat16."""
PROGRAM_WEIGHTS = 24_576
"""That a program loads at most, where that is more than a row."""
WARP_WEIGHTS = 4096
"""For a warp: 64 registers of each thread, in bfloat16."""
MOST_ROWS, MOST_WARPS, WARP_THREADS = 16, 8, 32
NORM_WARPS = 8
"""Of a program that normalizes one of several vectors."""
SEVERAL = {
    False: {"ROWS": 16, "COLUMNS": 256, "STAGES": 4, "num_warps": 1},
    True: {"ROWS": 32, "COLUMNS": 128, "STAGES": 4, "num_warps": 2},
}
"""Of a program for several vectors, by whether they are gated: among the fastest of those tried on an H200."""


def _config(columns: int, gated: bool) -> Config:
    """For one vector, chosen so that the matrices of a 7B model are read fastest on an H200: those that are not quantized."""
    rows = max(1, PROGRAM_WEIGHTS // (columns * (2 if gated else 1)))
    rows = min(MOST_ROWS, 1 << (rows.bit_length() - 1))
    weights = rows * columns * (2 if gated else 1)
    warps = max(1, min(MOST_WARPS, triton.next_power_of_2(math.ceil(weights / WARP_WEIGHTS))))
    return Config(rows, warps, VALUES * WARP_THREADS * warps)


def _launch(
    x: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor | None,
    gain: torch.Tensor | None,
    epsilon: float,
    gated: bool,
    residual: torch.Tensor | None,
) -> torch.Tensor:
    y = _fake(x, weight, scales, gain, epsilon, gated, residual)
    (vectors, columns), outputs, device = x.shape, y.shape[1], launch_options(x.device)
    # In the place of what there is none of, something that is not read.
    added = x if residual is None else residual
    options = {"GATED": gated, "RESIDUAL": residual is not None, **device}
    if vectors == 1:
        config = _config(columns, gated)
        shape = {"ROWS": config.rows, "WIDTH": config.width, "PARTS": math.ceil(columns / config.width), "num_warps": config.warps}
        given = x if gain is None else gain, added, y, epsilon, columns, outputs
        grid, options = (math.ceil(outputs / config.rows),), options | shape | {"NORM": gain is not None}
        if scales is None:
            matvec_kernel[grid](x, weight, *given, **options)
        else:
            quantized_matvec_kernel[grid](x, weight, scales, *given, UNIT=math.gcd(columns, VALUES), **options)
        return y
    if gain is not None:
        normed = torch.empty_like(x)
        block = triton.next_power_of_2(columns)
        launched = normed_kernel[(vectors,)](x, gain, normed, epsilon, columns, BLOCK=block, num_warps=NORM_WARPS, **device)
        set_carveout(launched, OF_SEVERAL)
        x = normed
    programs, most = math.ceil(outputs / SEVERAL[gated]["ROWS"]), 8 if vectors <= 8 else MOST_INPUTS
    options |= {"VECTORS": vectors, "MOST": most, **SEVERAL[gated]}
    if scales is None:
        launched = matvecs_kernel[(programs,)](x, weight, added, y, columns, outputs, **options)
    else:
        launched = quantized_matvecs_kernel[(programs,)](x, weight, scales, added, y, columns, outputs, **options)
    set_carveout(launched, OF_SEVERAL)
    return y


def _fake(
    x: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor | None,
    gain: torch.Tensor | None,
    epsilon: float,
    gated: bool,
    residual: torch.Tensor | None,
) -> torch.Tensor:
    return x.new_empty((x.shape[0], weight.shape[0] // 2 if gated else weight.shape[0]))


_operator = register(
    "matvec(Tensor x, Tensor weight, Tensor? scales, Tensor? gain, float epsilon, bool gated, Tensor? residual) -> Tensor", _launch, _fake
)


def product(x: torch.Tensor, weight: Matrix) -> torch.Tensor:
    """[..., columns] -> [..., rows] in PyTorch, in the type of x, which holds each quantized value exactly."""
    if isinstance(weight, Quantized):
        # The product with a scale is in float32 at least: in bfloat16 a scale would be off by as much in the whole row.
        return (torch.nn.functional.linear(x, weight.values.to(x.dtype)) * weight.scales).to(x.dtype)
    return torch.nn.functional.linear(x, weight)


def reference(
    x: torch.Tensor, weight: Matrix, norm: Norm | None = None, gated: bool = False, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """Reference of `matvec` in PyTorch, in the type of x."""
    if norm is not None:
        x = torch.nn.functional.rms_norm(x, x.shape[-1:], norm.gain, norm.epsilon)
    y = product(x, weight)
    if gated:
        gate, up = y.chunk(2, dim=-1)
        y = torch.nn.functional.silu(gate) * up
    return y if residual is None else y + residual
