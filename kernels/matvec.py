"""A weight matrix times one vector, or a few: all that a decode step does is read the weights once.

    sums[b, n]   = sum over k of  weight[n, k] * inputs[b, k]
    norm:          inputs[b, k] is  inputs[b, k] * gain[k] / sqrt(mean over k of inputs[b, k]^2 + epsilon)      RMSNorm in front
    gated:         sums[b, n] is    silu(sums[b, n]) * sums[b, n + N / 2]                                       gate and up in one matrix
    outputs      = sums + residual

Each program reads some whole rows of the weights, and all of the inputs, which stay in the cache. The norm needs no pass of its own: its
factor is a number for each vector, and is summed up beside the products. Sums are in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

MOST_INPUTS = 8
"""Vectors at a time. With more, the sums no longer fit into registers, and a matrix product on the tensor cores is faster."""


@triton.jit
def matvec_kernel(
    inputs,
    weight,
    gain,
    residual,
    outputs,
    epsilon,
    count,
    columns,
    results,
    INPUTS: tl.constexpr,
    NORM: tl.constexpr,
    GATED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
):
    # Everything in three dimensions from the start, [inputs, rows, columns]: what is loaded stays in the registers that it came into.
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[None, :, None]
    vector = tl.arange(0, INPUTS)[:, None, None]
    of_row = weight + row.to(tl.int64) * columns
    there, given = row < results, vector < count
    sums = tl.zeros([INPUTS, ROWS, COLUMNS], tl.float32)
    upper = tl.zeros([INPUTS, ROWS, COLUMNS], tl.float32)
    squares = tl.zeros([INPUTS, 1, COLUMNS], tl.float32)
    for start in tl.range(0, columns, COLUMNS, num_stages=STAGES):
        column = start + tl.arange(0, COLUMNS)[None, None, :]
        within = column < columns
        taken = tl.load(inputs + vector * columns + column, mask=given & within, other=0.0).to(tl.float32)
        if NORM:
            squares += taken * taken
            taken *= tl.load(gain + column, mask=within, other=0.0).to(tl.float32)
        # Weights are used once in a step: they need not stay in the cache.
        weights = tl.load(of_row + column, mask=there & within, other=0.0, eviction_policy="evict_first")
        sums += taken * weights.to(tl.float32)
        if GATED:
            weights = tl.load(of_row + results * columns + column, mask=there & within, other=0.0, eviction_policy="evict_first")
            upper += taken * weights.to(tl.float32)
    made = tl.sum(sums, axis=2, keep_dims=True)
    if NORM:
        factor = tl.rsqrt(tl.sum(squares, axis=2, keep_dims=True) / columns + epsilon)
        made *= factor
    if GATED:
        raised = tl.sum(upper, axis=2, keep_dims=True)
        if NORM:
            raised *= factor
        made = made * tl.sigmoid(made) * raised
    place = vector * results + row
    if RESIDUAL:
        made += tl.load(residual + place, mask=given & there, other=0.0).to(tl.float32)
    tl.store(outputs + place, made.to(outputs.dtype.element_ty), mask=given & there)


@dataclass(frozen=True)
class Norm:
    """RMSNorm."""

    gain: torch.Tensor
    """[columns]."""
    epsilon: float


def matvec(
    inputs: torch.Tensor,  # [vectors, columns], at most MOST_INPUTS vectors
    weight: torch.Tensor,  # [rows, columns]
    norm: Norm | None = None,
    gated: bool = False,
    residual: torch.Tensor | None = None,  # [vectors, results]
) -> torch.Tensor:
    """[vectors, results] in the type of the inputs; results are rows, or half of them if gated."""
    count, columns = inputs.shape
    rows = weight.shape[0]
    results = rows // 2 if gated else rows
    if not (
        inputs.is_contiguous() and weight.is_contiguous() and weight.shape[1] == columns and rows == (2 * results if gated else results)
    ):
        raise ValueError(f"matvec takes contiguous [vectors, columns] and [rows, columns], not {inputs.shape} and {weight.shape}")
    if count > MOST_INPUTS:
        raise ValueError(f"matvec takes {MOST_INPUTS} vectors at most, not {count}")
    outputs = torch.empty((count, results), dtype=inputs.dtype, device=inputs.device)
    shape = _shape(count)
    matvec_kernel[(math.ceil(results / shape.rows),)](
        inputs,
        weight,
        norm.gain if norm else inputs,
        residual if residual is not None else inputs,
        outputs,
        norm.epsilon if norm else 0.0,
        count,
        columns,
        results,
        INPUTS=triton.next_power_of_2(count),
        NORM=norm is not None,
        GATED=gated,
        RESIDUAL=residual is not None,
        ROWS=shape.rows,
        COLUMNS=shape.columns,
        STAGES=shape.stages,
        num_warps=shape.warps,
    )
    return outputs


@dataclass(frozen=True)
class Shape:
    """Of a program."""

    rows: int
    """Of the weights."""
    columns: int
    """At a time."""
    warps: int
    stages: int = 1
    """Steps over the columns that are loaded at the same time."""


def _shape(count: int) -> Shape:
    """Of those tried on an H200 with the matrices of a 7B model: the fastest of all for one vector, or within 2 % of it."""
    if count == 1:
        return Shape(rows=8, columns=1024, warps=4, stages=2)
    return Shape(2, 1024 if count == 2 else 512, 4)


def reference(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    norm: Norm | None = None,
    gated: bool = False,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """The same in PyTorch, in the type of the inputs."""
    if norm is not None:
        inputs = torch.nn.functional.rms_norm(inputs, inputs.shape[-1:], norm.gain, norm.epsilon)
    made = inputs @ weight.T
    if gated:
        gate, up = made.chunk(2, dim=-1)
        made = torch.nn.functional.silu(gate) * up
    return made if residual is None else made + residual
