"""Patches of images as rows of a matrix (im2col without overlap), for the patch embedding of a vision transformer as a matrix product.

    columns[i, 0]        = 0                                          the class token's row
    columns[i, 1 + p, k] = pixels[i, channel, y, x]                   k-th pixel of patch p, channel by channel, row by row
                         = 0                                          for k from channels * patch * patch on

    pixels: [images, channels, down * patch, across * patch];  columns: [images, 1 + down * across, width]

A convolution whose stride is its edge takes each pixel once, and so is a matrix product. Rows are padded to `width`, so that each starts
where tensor cores want it; and with a row for the class token, the table of positions is added to all tokens alike.

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, equation 1.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from evbench.kernels.registration import register


@triton.jit
def columns_kernel(
    pixels_ptr,  # [images, channels, down * PATCH, across * PATCH]
    columns_ptr,  # [images, 1 + down * across, width]
    channels,
    down,
    across,
    width,
    PATCH: tl.constexpr,
    BLOCK: tl.constexpr,  # power of two, width or more
):
    image, token = tl.program_id(0).to(tl.int64), tl.program_id(1)
    column = tl.arange(0, BLOCK)  # [BLOCK], as all that follows
    channel, pixel = column // (PATCH * PATCH), column % (PATCH * PATCH)
    patch = token - 1
    y = (patch // across) * PATCH + pixel // PATCH
    x = (patch % across) * PATCH + pixel % PATCH
    mask = (channel < channels) & (token > 0)
    source_ptr = pixels_ptr + ((image * channels + channel) * down * PATCH + y) * across * PATCH + x
    target_ptr = columns_ptr + (image * tl.num_programs(1) + token) * width + column
    tl.store(target_ptr, tl.load(source_ptr, mask=mask, other=0.0), mask=column < width)


def patch_columns(pixels: torch.Tensor, patch: int, width: int) -> torch.Tensor:
    """Rows to multiply with the filters of a patch embedding: [images, 1 + patches, width], in the type of the pixels.

    Args:
        pixels: [images, channels, height, width of the image], contiguous.
        patch: edge in pixels, of which height and width of the image are multiples.
        width: of a row, channels * patch * patch or more.

    Raises:
        ValueError: it is not so.
    """
    _, channels, height, across = pixels.shape
    if not pixels.is_contiguous() or height % patch or across % patch or width < channels * patch * patch:
        found = f"{tuple(pixels.shape)} with strides {pixels.stride()}"
        raise ValueError(f"pixels must be contiguous, in whole patches of {patch}, and fit into rows of {width}, not {found}")
    return torch.as_tensor(_operator(pixels, patch, width))


def _launch(pixels: torch.Tensor, patch: int, width: int) -> torch.Tensor:
    columns, (_, channels, height, across) = _fake(pixels, patch, width), pixels.shape
    columns_kernel[columns.shape[:2]](
        pixels, columns, channels, height // patch, across // patch, width, PATCH=patch, BLOCK=triton.next_power_of_2(width)
    )
    return columns


def _fake(pixels: torch.Tensor, patch: int, width: int) -> torch.Tensor:
    images, _, height, across = pixels.shape
    return pixels.new_empty((images, 1 + (height // patch) * (across // patch), width))


_operator = register("patch_columns(Tensor pixels, int patch, int width) -> Tensor", _launch, _fake)


def reference(pixels: torch.Tensor, patch: int, width: int) -> torch.Tensor:
    """Reference of `patch_columns` in PyTorch."""
    patches = torch.nn.functional.unfold(pixels, patch, stride=patch).transpose(1, 2)
    return torch.nn.functional.pad(patches, (0, width - patches.shape[2], 1, 0))
