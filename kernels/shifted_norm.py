"""LayerNorm of a sum that is never written to memory.

    shifted[r] = x[r] + shift[r % shift_rows]                                                   not rounded
    y[r]       = (shifted[r] - mean) / sqrt(variance + epsilon) * weight + bias                 mean and variance of shifted[r]

    x, y: [..., columns];  shift: [shift_rows, columns];  weight, bias: [columns]. Computed in float32.

A row belongs to one warp: to sum it up it needs no other. The shift is no tensor of the size of x but a few rows: in a CLIP tower the
biases of the layers below, which are the same for every token, or the table of positions, which is the same for every image. So the sum
is read and written once less.

Source: Ba et al. 2016, arXiv 1607.06450.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.dependent_launch import launch_options
from evbench.kernels.registration import register


@triton.jit
def shifted_norm_kernel(
    x_ptr,  # [rows, COLUMNS]
    shift_ptr,  # [shift_rows, COLUMNS]
    weight_ptr,  # [COLUMNS]
    bias_ptr,  # [COLUMNS]
    y_ptr,  # [rows, COLUMNS]
    epsilon,
    shift_rows,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,  # power of two, COLUMNS or more
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < COLUMNS
    # x, shift, weight, bias, y: [BLOCK]
    # Ahead of the wait: no kernel writes these.
    shift = tl.load(shift_ptr + row % shift_rows * COLUMNS + columns, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    if DEPENDENT:
        gdc_wait()
    x = tl.load(x_ptr + row * COLUMNS + columns, mask=mask, other=0.0).to(tl.float32) + shift
    # Two passes over registers: with one, values far from zero would lose what tells them apart.
    centered = tl.where(mask, x - tl.sum(x, axis=0) / COLUMNS, 0.0)
    normalized = centered * (1.0 / tl.sqrt(tl.sum(centered * centered, axis=0) / COLUMNS + epsilon))
    tl.store(y_ptr + row * COLUMNS + columns, (normalized * weight + bias).to(y_ptr.dtype.element_ty), mask=mask)


def shifted_norm(x: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> torch.Tensor:
    """LayerNorm of x + shift, in the type and shape of x.

    Args:
        x: [..., columns], contiguous, as all of them.
        shift: [columns] or [shift_rows, columns], of any floating type; added again and again to all rows of x, a multiple of its own.
        weight, bias: [columns].
        epsilon: added to the variance.

    Raises:
        ValueError: the shapes do not fit together, or a tensor is not contiguous.
    """
    tensors, columns = (x, shift, weight, bias), x.shape[-1]
    rows, shift_rows = x.numel() // columns, shift.numel() // columns
    fits = all(tensor.shape[-1] == columns and tensor.is_contiguous() for tensor in tensors) and rows % shift_rows == 0
    if not fits or weight.shape != bias.shape or weight.dim() != 1:
        found = ", ".join(f"{tuple(tensor.shape)} {tensor.stride()}" for tensor in tensors)
        raise ValueError(f"x, shift, weight and bias must be contiguous and fit together, not {found}")
    return torch.as_tensor(_operator(x, shift, weight, bias, epsilon))


def _launch(x: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> torch.Tensor:
    columns, y = x.shape[-1], torch.empty_like(x)
    shifted_norm_kernel[(x.numel() // columns,)](
        x, shift, weight, bias, y, epsilon, shift.numel() // columns,
        COLUMNS=columns, BLOCK=triton.next_power_of_2(columns), num_warps=1, **launch_options(x.device),
    )  # fmt: skip
    return y


_operator = register(
    "shifted_norm(Tensor x, Tensor shift, Tensor weight, Tensor bias, float epsilon) -> Tensor",
    _launch,
    lambda x, shift, weight, bias, epsilon: torch.empty_like(x),
)


def reference(x: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Reference of `shifted_norm` in PyTorch, in the type of x."""
    rows = (x.flatten(0, -2).unflatten(0, (-1, shift.numel() // x.shape[-1])) + shift.view(-1, x.shape[-1])).to(x.dtype).view_as(x)
    return torch.nn.functional.layer_norm(rows, weight.shape, weight, bias, epsilon)
