"""The last events of event images' pixels -> normalised model input, as if the pictures had been painted and resized.

    dark[y, x], bright[y, x] = sum over j, i of  vertical[y, j] * horizontal[x, i] * plane[first_row[y] + j, first_column[x] + i]
                                                 planes: 1 where it got darker, and where it got brighter; else 0
    levels[y, x]             = 255 * (1 - dark[y, x], 1 - dark[y, x] - bright[y, x], 1 - bright[y, x])
    values[c, y, x]          = (clamp(round(levels[y, x, c]), 0, 255) - offset[c]) * scale[c]

    maps: [images, height, width] int32, as evbench.kernels.last_events finds them;  values: [images, 3, rows, columns]

Event images need no picture in memory. Of each pixel's last event both planes are made as they are needed. Out of the white ground, what is
darker takes red and green, what is brighter green and blue (evbench.kernels.paint), and weights sum to 1. So each pixel is read once, all
colours have the same horizontal weights, and there are two products for three colours. They are the levels of the painted picture, but for
the rounding of float32: where a sum lies between two levels, it may become the other one. Sums go along a row first, then down the rows.
All else is as in evbench.kernels.pixel_values.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import triton
import triton.language as tl

from evbench.kernels.antialiased_cubic import (
    GROUP,
    LARGER,
    TILE,
    Launcher,
    Taps,
    normalised,
    offsets_and_scales,
    on,
    reference_values,
    require_room,
    tiles,
)
from evbench.kernels.registration import register

ROWS, PIXELS = 16, 32
"""Of a map that a program takes at a time: the fastest of those tried on an H200 for maps of 640x480 and of 1280x720."""
WARPS = 1


@triton.jit
def rows_of_tile(first_row_ptr, y, mask, height, ROW_TAPS: tl.constexpr):
    """Where the sum of each row of a tile begins; the first row of the frame that any of them needs, and the one behind the last.

    y, mask: [TILE], rows of the output, and whether there are such.
    """
    first_row = tl.load(first_row_ptr + y, mask=mask, other=height)  # [TILE]
    start = tl.min(first_row, axis=0)
    end = tl.minimum(tl.max(tl.where(mask, first_row, 0), axis=0) + ROW_TAPS, height)
    return first_row, start, end


@triton.jit
def vertical_weights(vertical_ptr, y, mask, first_row, rows, ROW_TAPS: tl.constexpr):
    """[TILE, ROWS]: the weight of each of the rows [ROWS] of the frame in each row of the tile."""
    tap = rows[None, :] - first_row[:, None]
    tap_mask = (tap >= 0) & (tap < ROW_TAPS) & mask[:, None]
    return tl.load(vertical_ptr + y[:, None] * ROW_TAPS + tap, mask=tap_mask, other=0.0)


@triton.jit(do_not_specialize=["height", "span"])
def values_of_maps_kernel(
    maps_ptr,  # [images, height, width] of the two strides below
    values_ptr,  # [images, 3, crop_height, crop_width]
    first_row_ptr,  # [crop_height]
    vertical_ptr,  # [crop_height, ROW_TAPS]
    first_pixel_ptr,  # [tiles], in a row of the map
    horizontal_ptr,  # [tiles, 2, span, TILE]; span a multiple of PIXELS
    normal_ptr,  # [3, 2]: offset and scale
    height,
    width,
    row_stride,
    map_stride,
    crop_height,
    crop_width,
    span,
    ROW_TAPS: tl.constexpr,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
    GROUP: tl.constexpr,
    LARGER: tl.constexpr,
):
    tile, image = tl.program_id(0), tl.program_id(2).to(tl.int64)
    y = tl.program_id(1) * TILE + tl.arange(0, TILE)  # [TILE], as column and x
    column = tl.arange(0, TILE)
    x = tile * TILE + column
    y_mask = y < crop_height
    first_row, start_row, end_row = rows_of_tile(first_row_ptr, y, y_mask, height, ROW_TAPS)
    first_pixel = tl.multiple_of(tl.load(first_pixel_ptr + tile), GROUP)
    index = tl.arange(0, PIXELS)
    weights_ptr = horizontal_ptr + tile * 2 * span * TILE + index[:, None] * TILE + column[None, :]  # [PIXELS, TILE]
    map_ptr = maps_ptr + image * map_stride
    dark_acc, bright_acc = tl.zeros([TILE, TILE], tl.float32), tl.zeros([TILE, TILE], tl.float32)
    for start in range(start_row, end_row, ROWS):
        rows = start + tl.arange(0, ROWS)
        # Apart, so that no product waits for another.
        dark_high, dark_low = tl.zeros([ROWS, TILE], tl.float32), tl.zeros([ROWS, TILE], tl.float32)
        bright_high, bright_low = tl.zeros([ROWS, TILE], tl.float32), tl.zeros([ROWS, TILE], tl.float32)
        for begin in range(0, span, PIXELS):
            pixel = first_pixel + begin + index
            mask = (rows < end_row)[:, None] & (pixel < width)[None, :]
            event = tl.load(map_ptr + rows[:, None] * row_stride + pixel[None, :], mask=mask, other=-1)  # [ROWS, PIXELS]
            high, low = tl.load(weights_ptr + begin * TILE), tl.load(weights_ptr + (span + begin) * TILE)
            dark = ((event >= 0) & ((event & 1) == 0)).to(tl.float16)
            bright = ((event >= 0) & ((event & 1) == 1)).to(tl.float16)
            dark_high, dark_low = tl.dot(dark, high, dark_high), tl.dot(dark, low, dark_low)
            bright_high, bright_low = tl.dot(bright, high, bright_high), tl.dot(bright, low, bright_low)
        vertical = vertical_weights(vertical_ptr, y, y_mask, first_row, rows, ROW_TAPS)  # [TILE, ROWS]
        dark_acc = tl.dot(vertical, (dark_high + dark_low) / LARGER, dark_acc, input_precision="tf32x3")
        bright_acc = tl.dot(vertical, (bright_high + bright_low) / LARGER, bright_acc, input_precision="tf32x3")
    write_mask = y_mask[:, None] & (x < crop_width)[None, :]
    for channel in tl.static_range(3):
        # What is missing from white: see evbench.kernels.paint.
        if channel == 0:
            missing = dark_acc
        elif channel == 1:
            missing = dark_acc + bright_acc
        else:
            missing = bright_acc
        offset, scale = tl.load(normal_ptr + 2 * channel), tl.load(normal_ptr + 2 * channel + 1)
        values = normalised(255.0 - 255.0 * missing, offset, scale)
        tile_ptr = values_ptr + ((image * 3 + channel) * crop_height + y[:, None]) * crop_width + x[None, :]
        tl.store(tile_ptr, values.to(values_ptr.dtype.element_ty), mask=write_mask)


class ValuesOfMaps:
    """The operation for maps of one size, with its tables."""

    def __init__(self, rows: Taps, columns: Taps, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device | str) -> None:
        """
        Args:
            rows, columns: of the output's pixels, both as many as the output has.
            mean, std: of red, green and blue in 0 to 1.
        """
        self._shape = len(rows.first), len(columns.first)
        normal = offsets_and_scales(mean, std).astype(np.float32)
        first, horizontal = tiles(columns, TILE, TILE, GROUP)
        whole = np.pad(horizontal, [(0, 0), (0, 0), (0, -horizontal.shape[2] % PIXELS), (0, 0)])  # of steps
        self._tables = on(device, rows.first, rows.weights.astype(np.float32), first, whole, normal)

    def __call__(self, maps: torch.Tensor, into: torch.Tensor) -> None:
        """Write the values of each image.

        Args:
            maps: [images, height, width] int32, the pixels of a row next to each other.
            into: [images, 3, rows, columns], contiguous.

        Raises:
            ValueError: something else.
        """
        if not (maps.dtype == torch.int32 and maps.dim() == 3 and maps.stride(2) == 1):
            raise ValueError(f"maps must be rows of last events in int32, not {maps.dtype} {tuple(maps.shape)} {maps.stride()}")
        count, height, _ = maps.shape
        if height * maps.stride(1) >= 2**31:
            raise ValueError(f"{height} rows of {maps.stride(1)} elements are more than the kernel's places inside a map, {2**31 - 1}")
        require_room(into, count, self._shape)
        _operator(maps, into, *self._tables)


def _launch(maps: torch.Tensor, values: torch.Tensor, *tables: torch.Tensor) -> None:
    (count, height, width), (crop_height, crop_width) = maps.shape, values.shape[2:]
    map_stride, row_stride, _ = maps.stride()
    _, vertical, _, horizontal, _ = tables
    grid = math.ceil(crop_width / TILE), math.ceil(crop_height / TILE), count
    sizes = height, width, row_stride, map_stride, crop_height, crop_width, horizontal.shape[2]
    _launcher(grid, maps, values, tables, (*sizes, vertical.shape[1], TILE, ROWS, PIXELS, GROUP, LARGER))


_launcher = Launcher(values_of_maps_kernel, WARPS)
_operator = register(
    "values_of_maps(Tensor maps, Tensor(a!) values, Tensor first_row, Tensor vertical, Tensor first_pixel, Tensor horizontal,"
    " Tensor normal) -> ()",
    _launch,
    lambda *tensors: None,
)


def reference(maps: torch.Tensor, rows: Taps, columns: Taps, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Reference of `ValuesOfMaps` in PyTorch, in double precision, by dense matrices: [images, 3, rows, columns].

    Args:
        maps: [images, height, width] int32.
    """
    _, height, width = maps.shape
    vertical, horizontal = (torch.from_numpy(line.dense(size)).to(maps.device) for line, size in ((rows, height), (columns, width)))
    planes = torch.stack([(maps >= 0) & (maps % 2 == polarity) for polarity in (0, 1)]).double()
    dark, bright = torch.einsum("yh,pnhw,xw->pnyx", vertical, planes, horizontal)
    levels = 255 * (1 - torch.stack([dark, dark + bright, bright], dim=1))
    return reference_values(levels, mean, std)
