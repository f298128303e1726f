"""The antialiased cubic filter by which pictures are resized: its weights, as products of small matrices take them.

    resized[y, x] = sum over j, i of  vertical[y, j] * horizontal[x, i] * picture[first_row[y] + j, first_column[x] + i]

For all operations that resize: tables that their kernels read, the parts of a kernel that they share, and how it is launched.

Source: Keys 1981 (the cubic, a = -0.5), widened as Pillow does it (src/libImaging/Resample.c), which PyTorch follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

TILE = 16
"""Edge of a tile of the output: the least that tl.dot multiplies."""
ALIGNED = 16
"""Bytes that a thread reads at once, if rows start at a multiple of them."""
FINER = 2048
"""What the second part of a weight is multiplied with, to be of the size of the first: float16 has 11 bits."""
KEPT = 256
"""Launches of a kernel that are kept: pictures of raw events may each have a size of their own."""


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


@triton.jit
def normalised(levels, offset, scale):
    """Levels rounded as torchvision does it, and clamped to bytes: (level - offset) * scale."""
    return (tl.minimum(tl.maximum(tl.floor(levels + 0.5), 0.0), 255.0) - offset) * scale


@dataclass(frozen=True)
class Taps:
    """Which pixels of a line of the source make each pixel of the output, and with what weight."""

    first: npt.NDArray[np.int32]
    """[outputs]."""
    weights: npt.NDArray[np.float64]
    """[outputs, taps], each row summing to 1; 0 where a row needs fewer."""

    def dense(self, size: int) -> npt.NDArray[np.float64]:
        """The taps as a matrix for lines of so many pixels: [outputs, size]."""
        matrix = np.zeros((len(self.first), size))
        for row, first, weights in zip(matrix, self.first, self.weights, strict=True):
            needed = min(len(weights), size - first)
            row[first : first + needed] = weights[:needed]
        return matrix


def taps(source: int, target: int, start: int, count: int) -> Taps:
    """The antialiased cubic filter of a line of `source` pixels resized to `target`, for outputs `start` to `start + count`.

    As PyTorch computes it (aten/src/ATen/native/cuda/UpSampleBicubic2d.cu), which follows Pillow: a = -0.5, support 2, widened by the
    scale where the line is made shorter.
    """
    scale = source / target
    wide = max(scale, 1.0)
    center = scale * (np.arange(start, start + count) + 0.5)
    first = np.maximum((center - 2 * wide + 0.5).astype(np.int32), 0)
    end = np.minimum((center + 2 * wide + 0.5).astype(np.int32), source)
    pixel = first[:, None] + np.arange((end - first).max())  # [outputs, taps]
    weights = np.where(pixel < end[:, None], _cubic((pixel - center[:, None] + 0.5) / wide), 0.0)
    return Taps(first, weights / weights.sum(axis=1, keepdims=True))


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


Tables = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""On the device:

first row of the frame for each row of the output [rows] int32, and vertical weights [rows, taps] float32;
first element of each tile in a row of the frame [tiles] int32, and horizontal weights [tiles, 2, span, columns of the product] float16;
[3, 4, TILE] float32 for red, green, blue and a fourth of zeros: what is added to a level, then offset and scale of `normalised`.
"""


def tables(
    rows: Taps,
    columns: Taps,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    colours: npt.NDArray[np.float64],
    added: npt.NDArray[np.float64],
    aligned: int,
    step: int,
    device: torch.device | str,
) -> Tables:
    """All that a kernel reads beside the frames.

    Args:
        rows, columns: of the output's pixels.
        mean, std: of red, green and blue in 0 to 1.
        colours: [of the output, of the frame]. A row of the frame has all colours of a pixel next to each other.
        added: [3], to the levels.
        aligned: tiles begin at multiples of so many numbers of a row.
        step: numbers of a row that the kernel takes at a time, of which the span is a multiple.
    """
    normal = np.zeros((3, 4, TILE), np.float32)
    normal[:, :3] = np.stack([added, np.array(mean) * 255, 1 / (np.array(std) * 255)])[:, :, None]
    arrays = (rows.first, rows.weights.astype(np.float32), *_tiles(columns, colours, aligned, step), normal)
    first_row, vertical, first, horizontal, normal_table = (torch.from_numpy(array).to(device) for array in arrays)
    return first_row, vertical, first, horizontal, normal_table


def _tiles(
    columns: Taps, colours: npt.NDArray[np.float64], aligned: int, step: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float16]]:
    """Where each tile begins in a row of the frame, and what this is multiplied with, in two parts: float16 has 11 bits.

    Returns:
        [tiles], [tiles, 2, span, colours of the output * TILE].
    """
    tiles = [slice(start, start + TILE) for start in range(0, len(columns.first), TILE)]
    outputs, inputs = colours.shape
    firsts = [inputs * int(columns.first[tile].min()) // aligned * aligned for tile in tiles]
    count = columns.weights.shape[1]
    needed = max(inputs * (int(columns.first[tile].max()) + count) - first for tile, first in zip(tiles, firsts, strict=True))
    dense = np.zeros((len(tiles), step * math.ceil(needed / step), outputs, TILE))
    for index, (first, weights) in enumerate(zip(columns.first, columns.weights, strict=True)):
        tile, column = divmod(index, TILE)
        start = inputs * int(first) - firsts[tile]
        # [taps, colour of the frame, colour of the output] -> [numbers of a row, colour of the output]
        block = np.einsum("t,dc->tcd", weights, colours).reshape(inputs * count, outputs)
        dense[tile, start : start + inputs * count, :, column] = block
    dense = dense.reshape(*dense.shape[:2], outputs * TILE)
    high = dense.astype(np.float16)
    low = ((dense - high) * FINER).astype(np.float16)
    return np.array(firsts, np.int32), np.stack([high, low], axis=1)


def require_room(values: torch.Tensor, count: int, edges: tuple[int, int]) -> None:
    """Raises ValueError if `values` is not contiguous, of [count, 3, rows, columns]."""
    shape = count, 3, *edges
    if values.shape != shape or not values.is_contiguous():
        raise ValueError(f"values of {count} pictures are {shape} and contiguous, not {tuple(values.shape)} {values.stride()}")


def reference_values(levels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Levels [pictures, 3, rows, columns] in double precision, before they are rounded -> values, as `normalised` makes them."""
    offset, scale = (torch.tensor(numbers, dtype=torch.float64, device=levels.device).view(3, 1, 1) * 255 for numbers in (mean, std))
    return ((levels + 0.5).floor().clamp(0, 255) - offset) / scale


class Launcher:
    """Launches a kernel, and keeps what Triton compiled of it: its own look-up takes longer on the host than these kernels on a GPU."""

    def __init__(self, kernel: Any, warps: int) -> None:
        """
        Args:
            kernel: takes a picture, values, Tables, height, width, strides of a row and of a picture, rows and columns of the values, the
                span of the horizontal weights, then as constants the vertical taps, TILE, what it takes at a time, ALIGNED and FINER.
        """
        self._kernel, self._warps = kernel, warps
        self._compiled: dict[tuple[object, ...], Callable[..., None]] = {}

    def __call__(self, read: torch.Tensor, written: torch.Tensor, tables: Tables, rows: int, step: int) -> None:
        """One program for each tile of each picture.

        Args:
            read: [pictures, height, width] or [pictures, height, width, colours].
            written: [pictures, 3, rows, columns].
            rows, step: of a picture, and numbers of a row, that a program takes at a time.
        """
        (count, height, width), (crop_height, crop_width) = read.shape[:3], written.shape[2:]
        picture_stride, row_stride = read.stride()[:2]
        _, vertical, _, horizontal, _ = tables
        grid = math.ceil(crop_width / TILE), math.ceil(crop_height / TILE), count
        sizes = height, width, row_stride, picture_stride, crop_height, crop_width, horizontal.shape[2]
        numbers = *sizes, vertical.shape[1], TILE, rows, step, ALIGNED, FINER
        tensors = read, written, *tables
        # What Triton compiles for: sizes, types, and whether an address is a multiple of 16. Of tables, which torch allocates one by one,
        # each is; to ask all of them would take as long as the rest of this.
        key = grid, numbers, read.device, read.dtype, written.dtype, read.data_ptr() % 16, written.data_ptr() % 16
        launch = self._compiled.get(key)
        if launch is not None:
            launch(*tensors, *numbers)
            return
        compiled = self._kernel[grid](*tensors, *numbers, num_warps=self._warps)
        if compiled is None:  # the interpreter compiles nothing
            return
        if len(self._compiled) == KEPT:
            del self._compiled[next(iter(self._compiled))]
        self._compiled[key] = compiled[grid]
