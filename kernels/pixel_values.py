"""8-bit frames -> normalised model input, in one pass over the pixels that are needed.

    levels[y, x, c] = sum over j, i of  vertical[y, j] * horizontal[x, i] * frame[first_row[y] + j, first_column[x] + i, c]
    levels          = repair @ levels                                   another colour matrix, over c; or none
    values[c, y, x] = (clamp(round(levels[y, x, c]), 0, 255) - offset[c]) * scale[c]

The weights are those of an antialiased cubic filter for the output's pixels inside the centre crop, and only for them. Where a frame is
made smaller, a pixel of the output needs some twenty rows and columns; each program makes a tile of the output, so a row of the frame is
summed horizontally once for all rows of the tile. Resized levels are rounded once, at the end, as torchvision does on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

TILE = 16
"""Edge of a tile of the output, and rows of the frame that are taken at a time: the least that tl.dot multiplies."""
WARPS = 4


@triton.jit
def pixel_values_kernel(
    frames,
    values,
    first_row,
    vertical,
    first_column,
    horizontal,  # [taps, columns]: neighbours are read together
    colour,  # repair [3, 3], then offset [3], then scale [3]
    height,
    width,
    crop_height,
    crop_width,
    ROW_TAPS: tl.constexpr,
    COLUMN_TAPS: tl.constexpr,
    REPAIR: tl.constexpr,
    TILE: tl.constexpr,
):
    frame = tl.program_id(2).to(tl.int64)
    y = tl.program_id(1) * TILE + tl.arange(0, TILE)
    x = tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside_y, inside_x = y < crop_height, x < crop_width
    row_of = tl.load(first_row + y, mask=inside_y, other=height)
    column_of = tl.load(first_column + x, mask=inside_x, other=0)
    from_row = tl.min(row_of, axis=0)
    to_row = tl.minimum(tl.max(tl.where(inside_y, row_of, 0), axis=0) + ROW_TAPS, height)
    source = frames + frame * height * width * 3
    red = tl.zeros([TILE, TILE], tl.float32)
    green = tl.zeros([TILE, TILE], tl.float32)
    blue = tl.zeros([TILE, TILE], tl.float32)
    for start in range(from_row, to_row, TILE):
        rows = start + tl.arange(0, TILE)
        shown = (rows < to_row)[:, None]
        sum_red = tl.zeros([TILE, TILE], tl.float32)
        sum_green = tl.zeros([TILE, TILE], tl.float32)
        sum_blue = tl.zeros([TILE, TILE], tl.float32)
        for tap in range(COLUMN_TAPS):
            weight = tl.load(horizontal + tap * crop_width + x, mask=inside_x, other=0.0)[None, :]
            # A weight behind the last column of the frame is 0, and nothing is read for it.
            column = column_of + tap
            place = (rows[:, None] * width + column[None, :]) * 3
            read = shown & (column < width)[None, :]
            sum_red += weight * tl.load(source + place, mask=read, other=0).to(tl.float32)
            sum_green += weight * tl.load(source + place + 1, mask=read, other=0).to(tl.float32)
            sum_blue += weight * tl.load(source + place + 2, mask=read, other=0).to(tl.float32)
        tap_of = rows[None, :] - row_of[:, None]
        reached = (tap_of >= 0) & (tap_of < ROW_TAPS) & inside_y[:, None]
        weights = tl.load(vertical + y[:, None] * ROW_TAPS + tap_of, mask=reached, other=0.0)
        red = tl.dot(weights, sum_red, red, input_precision="ieee")
        green = tl.dot(weights, sum_green, green, input_precision="ieee")
        blue = tl.dot(weights, sum_blue, blue, input_precision="ieee")
    if REPAIR:
        mixed_red = tl.load(colour) * red + tl.load(colour + 1) * green + tl.load(colour + 2) * blue
        mixed_green = tl.load(colour + 3) * red + tl.load(colour + 4) * green + tl.load(colour + 5) * blue
        blue = tl.load(colour + 6) * red + tl.load(colour + 7) * green + tl.load(colour + 8) * blue
        red, green = mixed_red, mixed_green
    plane = crop_height * crop_width
    target = values + frame * plane * 3 + y[:, None] * crop_width + x[None, :]
    written = inside_y[:, None] & inside_x[None, :]
    for channel in tl.static_range(3):
        levels = red if channel == 0 else (green if channel == 1 else blue)
        levels = tl.minimum(tl.maximum(tl.floor(levels + 0.5), 0.0), 255.0)
        normal = (levels - tl.load(colour + 9 + channel)) * tl.load(colour + 12 + channel)
        tl.store(target + channel * plane, normal.to(values.dtype.element_ty), mask=written)


@dataclass(frozen=True)
class Taps:
    """Which pixels of a line of the source make each pixel of the output, and with what weight."""

    first: npt.NDArray[np.int32]
    """[outputs]."""
    weights: npt.NDArray[np.float64]
    """[outputs, taps], each row summing to 1; 0 where a row needs fewer."""


def taps(source: int, target: int, start: int, count: int) -> Taps:
    """The antialiased cubic filter of a line of `source` pixels resized to `target`, for outputs `start` to `start + count`.

    As PyTorch computes it (aten/src/ATen/native/cuda/UpSampleBicubic2d.cu), which follows Pillow: a = -0.5, support 2, widened by the
    scale where the line is made shorter.
    """
    scale = source / target
    wide = max(scale, 1.0)
    firsts, rows = [], []
    for index in range(start, start + count):
        center = scale * (index + 0.5)
        first = max(int(center - 2 * wide + 0.5), 0)
        end = min(int(center + 2 * wide + 0.5), source)
        weights = np.array([_cubic((place - center + 0.5) / wide) for place in range(first, end)])
        firsts.append(first)
        rows.append(weights / weights.sum())
    filled = np.zeros((count, max(len(row) for row in rows)))
    for row, weights in zip(filled, rows, strict=True):
        row[: len(weights)] = weights
    return Taps(np.array(firsts, np.int32), filled)


def _cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


class PixelValues:
    """The operation for frames of one size."""

    def __init__(
        self,
        rows: Taps,
        columns: Taps,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        repair: npt.NDArray[np.float64] | None,
        device: torch.device | str,
    ) -> None:
        """
        Args:
            rows, columns: of the output's pixels, both as many as the output has.
            mean, std: of red, green and blue in 0 to 1.
            repair: [3, 3], RGB as the frames have it -> as it should be. None if they are right.
        """
        self._shape = len(rows.first), len(columns.first)
        self._taps = rows.weights.shape[1], columns.weights.shape[1]
        tables = (rows.first, rows.weights.astype(np.float32), columns.first, columns.weights.T.astype(np.float32).copy())
        self._tables = tuple(torch.from_numpy(table).to(device) for table in tables)
        matrix = np.eye(3) if repair is None else repair
        offset, scale = np.array(mean) * 255, 1 / (np.array(std) * 255)
        self._colour = torch.from_numpy(np.concatenate([matrix.ravel(), offset, scale]).astype(np.float32)).to(device)
        self._repair = repair is not None

    def __call__(self, frames: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """[frames, height, width, 3] uint8, contiguous -> [frames, 3, rows, columns] of `dtype`."""
        count, height, width, channels = frames.shape
        if frames.dtype != torch.uint8 or channels != 3 or not frames.is_contiguous():
            raise ValueError(f"frames must be contiguous RGB bytes, not {frames.dtype} {tuple(frames.shape)} {frames.stride()}")
        crop_height, crop_width = self._shape
        values = torch.empty((count, 3, crop_height, crop_width), dtype=dtype, device=frames.device)
        grid = (math.ceil(crop_width / TILE), math.ceil(crop_height / TILE), count)
        pixel_values_kernel[grid](
            frames,
            values,
            *self._tables,
            self._colour,
            height,
            width,
            crop_height,
            crop_width,
            ROW_TAPS=self._taps[0],
            COLUMN_TAPS=self._taps[1],
            REPAIR=self._repair,
            TILE=TILE,
            num_warps=WARPS,
        )
        return values


def reference(
    frames: torch.Tensor,  # [frames, height, width, 3] uint8
    rows: Taps,
    columns: Taps,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    repair: npt.NDArray[np.float64] | None,
) -> torch.Tensor:
    """The same in double precision, by dense matrices: [frames, 3, rows, columns]."""
    _, height, width, _ = frames.shape
    down, across = (torch.from_numpy(_dense(line, size)).to(frames.device) for line, size in ((rows, height), (columns, width)))
    levels = torch.einsum("yh,nhwc,xw->ncyx", down, frames.double(), across)
    if repair is not None:
        levels = torch.einsum("dc,ncyx->ndyx", torch.from_numpy(repair).to(frames.device), levels)
    levels = (levels + 0.5).floor().clamp(0, 255)
    ours = [torch.tensor(numbers, dtype=torch.float64, device=frames.device).view(3, 1, 1) * 255 for numbers in (mean, std)]
    return (levels - ours[0]) / ours[1]


def _dense(line: Taps, size: int) -> npt.NDArray[np.float64]:
    matrix = np.zeros((len(line.first), size))
    for row, first, weights in zip(matrix, line.first, line.weights, strict=True):
        needed = min(len(weights), size - first)
        row[first : first + needed] = weights[:needed]
    return matrix
