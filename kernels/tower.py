"""What stands between the matrix products of a CLIP vision tower, attention aside: each step reads its input once and writes once.

    columns[i, 0]        = 0                                                                    the class token's row
    columns[i, 1 + p, k] = pixels[i, channel, y, x]     k-th pixel of patch p, channel by channel, row by row; 0 behind the last
    shifted[r]           = hidden[r] + shift[r % rows of shift]                                 not rounded
    normal[r]            = (shifted[r] - mean) / sqrt(variance + epsilon) * weight + bias       LayerNorm (Ba et al. 2016, arXiv 1607.06450)
    quick_gelu(v)        = v / (1 + exp(-1.702 v))

A row is made by one warp: to sum up it needs no other. What is added in front of a norm is no tensor of its own but a few rows: the biases
of the layers below, which are the same for every token; or, with a row for the class token among the columns, the table of positions, which
is the same for every image.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

VALUES, WARPS = 2048, 4
"""Values that a program of quick_gelu takes, and its warps: the fastest of those tried on an H200, for 2,056 and 2,885 rows of 4,096."""


@triton.jit
def columns_kernel(
    pixels,  # [images, channels, down * PATCH, across * PATCH], contiguous
    columns,  # [images, 1 + down * across, width], contiguous
    channels,
    down,
    across,
    width,
    PATCH: tl.constexpr,
    WIDTH: tl.constexpr,  # width or more
):
    image, token = tl.program_id(0).to(tl.int64), tl.program_id(1)
    place = tl.arange(0, WIDTH)
    channel, inside = place // (PATCH * PATCH), place % (PATCH * PATCH)
    patch = token - 1
    row = (patch // across) * PATCH + inside // PATCH
    column = (patch % across) * PATCH + inside % PATCH
    there = (channel < channels) & (token > 0)
    source = pixels + ((image * channels + channel) * down * PATCH + row) * across * PATCH + column
    target = columns + (image * tl.num_programs(1) + token) * width + place
    tl.store(target, tl.load(source, mask=there, other=0.0), mask=place < width)


@triton.jit
def shifted_norm_kernel(
    hidden,  # [rows, COLUMNS], contiguous, as normal
    shift,  # [shift_rows, COLUMNS]
    weight,
    bias,
    normal,
    epsilon,
    shift_rows,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,  # COLUMNS or more
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDTH)
    there = column < COLUMNS
    value = tl.load(hidden + row * COLUMNS + column, mask=there, other=0.0).to(tl.float32)
    value += tl.load(shift + row % shift_rows * COLUMNS + column, mask=there, other=0.0).to(tl.float32)
    apart = tl.where(there, value - tl.sum(value, axis=0) / COLUMNS, 0.0)
    scaled = apart * (1.0 / tl.sqrt(tl.sum(apart * apart, axis=0) / COLUMNS + epsilon))
    gain = tl.load(weight + column, mask=there, other=0.0).to(tl.float32)
    offset = tl.load(bias + column, mask=there, other=0.0).to(tl.float32)
    tl.store(normal + row * COLUMNS + column, (scaled * gain + offset).to(normal.dtype.element_ty), mask=there)


@triton.jit
def quick_gelu_kernel(values, total, VALUES: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * VALUES + tl.arange(0, VALUES)
    value = tl.load(values + place, mask=place < total, other=0.0).to(tl.float32)
    tl.store(values + place, (value / (1.0 + tl.exp(-1.702 * value))).to(values.dtype.element_ty), mask=place < total)


def columns(pixels: torch.Tensor, patch: int, width: int) -> torch.Tensor:
    """Rows that a matrix of the patch embedding's filters is multiplied with: [images, 1 + patches, width].

    Args:
        pixels: [images, channels, height, width], contiguous.
        patch: edge of a patch, of which height and width are multiples.
        width: of a row, channels * patch * patch or more.

    Raises:
        ValueError: it is not so.
    """
    images, channels, height, across = pixels.shape
    if not pixels.is_contiguous() or height % patch or across % patch or width < channels * patch * patch:
        told = f"{tuple(pixels.shape)} with strides {pixels.stride()}"
        raise ValueError(f"pixels must be contiguous, in whole patches of {patch}, and fit into rows of {width}, not {told}")
    down, across = height // patch, across // patch
    made = torch.empty((images, 1 + down * across, width), dtype=pixels.dtype, device=pixels.device)
    columns_kernel[(images, 1 + down * across)](
        pixels, made, channels, down, across, width, PATCH=patch, WIDTH=triton.next_power_of_2(width)
    )
    return made


def shifted_norm(
    hidden: torch.Tensor,  # [..., columns]
    shift: torch.Tensor,  # as many columns, and rows that are added again and again; of any floating type
    weight: torch.Tensor,  # [columns]
    bias: torch.Tensor,  # likewise
    epsilon: float,
) -> torch.Tensor:
    """LayerNorm of the sum, as `hidden`.

    Raises:
        ValueError: the shapes do not fit, or a tensor is not contiguous.
    """
    given, size = (hidden, shift, weight, bias), hidden.shape[-1]
    rows, shift_rows = hidden.numel() // size, shift.numel() // size
    fits = all(tensor.shape[-1] == size and tensor.is_contiguous() for tensor in given) and rows % shift_rows == 0
    if not fits or weight.shape != bias.shape or weight.dim() != 1:
        told = ", ".join(f"{tuple(tensor.shape)} {tensor.stride()}" for tensor in given)
        raise ValueError(f"hidden, shift, weight and bias must be contiguous and fit together, not {told}")
    normal = torch.empty_like(hidden)
    shifted_norm_kernel[(rows,)](*given, normal, epsilon, shift_rows, COLUMNS=size, WIDTH=triton.next_power_of_2(size), num_warps=1)
    return normal


def quick_gelu(values: torch.Tensor) -> torch.Tensor:
    """In place. Raises ValueError if the values are not contiguous."""
    if not values.is_contiguous():
        raise ValueError(f"values must be contiguous, not {tuple(values.shape)} with strides {values.stride()}")
    quick_gelu_kernel[(math.ceil(values.numel() / VALUES),)](values, values.numel(), VALUES=VALUES, num_warps=WARPS)
    return values
