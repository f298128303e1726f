"""8-bit frames, or the last events of pixels -> normalised model input, in one pass over the pixels that are needed.

    levels[y, x, c] = sum over j, i of  vertical[y, j] * horizontal[x, i] * frame[first_row[y] + j, first_column[x] + i, c]
    levels          = repair @ (levels, 1)                              another conversion of colours, over c; or none
    values[c, y, x] = (clamp(round(levels[y, x, c]), 0, 255) - offset[c]) * scale[c]

The weights are those of an antialiased cubic filter for the output's pixels inside the centre crop, and only for them. Each program makes
a tile of the output, and takes the rectangle of the frame that it needs in steps: both sums are products of small matrices, which the
tensor cores take. A row of the frame is taken as the bytes that lie there, three for a pixel: the matrix that they are multiplied with
has the horizontal weights of all three colours, and the matrix of the repair with them. A byte fits into float16 as it is, and a weight
is two numbers of it, together nearly as exact as float32. Levels are rounded once, at the end, as torchvision does on a GPU.

Event images need no picture in memory. Of each pixel's last event two planes are made as they are needed, 1 where it got darker and where
it got brighter. Out of the white ground, what is darker takes red and green, what is brighter green and blue, and weights sum to 1:

    levels[y, x] = 255 * (1 - darker[y, x], 1 - darker[y, x] - brighter[y, x], 1 - brighter[y, x])

with both planes filtered as above. So each pixel is read once, all colours have the same horizontal weights, and there are two products
for three colours. They are the levels of the painted picture, but for the rounding of float32: where a sum lies between two levels, it may
become the other one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

TILE = 16
"""Edge of a tile of the output: the least that tl.dot multiplies."""
WIDE = 4 * TILE
"""Columns of the matrix for a row of a tile: red, green, blue, and as many zeros, since tl.dot takes powers of two."""
ROWS, BYTES = 64, 32
"""Of the frame that a program takes at a time. This and the number of warps: the fastest of those tried on an H200, 1440x1080 to 224."""
WARPS = 4
MAP_ROWS, PIXELS = 16, 32
"""The same of a map of last events: the fastest of those tried on an H200 for maps of 640x480 and of 1280x720."""
MAP_WARPS = 1
ALIGNED = 16
"""Bytes that a thread reads at once, if rows start at a multiple of them."""
FINER = 2048
"""What the second part of a weight is multiplied with, to be of the size of the first: float16 has 11 bits."""


@triton.jit
def rows_of_tile(first_row, y, inside_y, height, ROW_TAPS: tl.constexpr):
    """Where the sum of each row of a tile begins; the first row of the frame that any of them needs, and the one behind the last."""
    row_of = tl.load(first_row + y, mask=inside_y, other=height)
    from_row = tl.min(row_of, axis=0)
    to_row = tl.minimum(tl.max(tl.where(inside_y, row_of, 0), axis=0) + ROW_TAPS, height)
    return row_of, from_row, to_row


@triton.jit
def vertical_weights(vertical, y, inside_y, row_of, rows, ROW_TAPS: tl.constexpr):
    """[TILE, ROWS]."""
    tap_of = rows[None, :] - row_of[:, None]
    reached = (tap_of >= 0) & (tap_of < ROW_TAPS) & inside_y[:, None]
    return tl.load(vertical + y[:, None] * ROW_TAPS + tap_of, mask=reached, other=0.0)


@triton.jit
def normalised(levels, offset, scale):
    return (tl.minimum(tl.maximum(tl.floor(levels + 0.5), 0.0), 255.0) - offset) * scale


@triton.jit(do_not_specialize=["height"])
def pixel_values_kernel(
    frames,
    values,
    first_row,
    vertical,
    first_byte,  # of a tile, in a row of the frame
    horizontal,  # [tiles, 2, span, WIDE]
    normal,  # what is added [WIDE], then offset [WIDE], then scale [WIDE]
    height,
    width,
    row_step,  # from a row to the next, and from a frame to the next: elements of `frames`
    frame_step,
    crop_height,
    crop_width,
    span,
    ROW_TAPS: tl.constexpr,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
    BYTES: tl.constexpr,
    ALIGNED: tl.constexpr,
    FINER: tl.constexpr,
):
    WIDE: tl.constexpr = 4 * TILE
    tile, frame = tl.program_id(0), tl.program_id(2).to(tl.int64)
    y = tl.program_id(1) * TILE + tl.arange(0, TILE)
    place = tl.arange(0, WIDE)
    x, channel = tile * TILE + place % TILE, place // TILE
    inside_y = y < crop_height
    row_of, from_row, to_row = rows_of_tile(first_row, y, inside_y, height, ROW_TAPS)
    from_byte = tl.multiple_of(tl.load(first_byte + tile), ALIGNED)
    part = tl.arange(0, BYTES)
    of_part = horizontal + tile * 2 * span * WIDE + part[:, None] * WIDE + place[None, :]
    source = frames + frame * frame_step
    made = tl.zeros([TILE, WIDE], tl.float32)
    for start in range(from_row, to_row, ROWS):
        rows = start + tl.arange(0, ROWS)
        sums, rest = tl.zeros([ROWS, WIDE], tl.float32), tl.zeros([ROWS, WIDE], tl.float32)
        for begin in range(0, span, BYTES):
            # A weight behind the end of the row is 0, and nothing is read for it.
            byte = from_byte + begin + part
            read = (rows < to_row)[:, None] & (byte < width * 3)[None, :]
            levels = tl.load(source + rows[:, None] * row_step + byte[None, :], mask=read, other=0).to(tl.float16)
            sums = tl.dot(levels, tl.load(of_part + begin * WIDE), sums)
            rest = tl.dot(levels, tl.load(of_part + (span + begin) * WIDE), rest)
        weights = vertical_weights(vertical, y, inside_y, row_of, rows, ROW_TAPS)
        made = tl.dot(weights, sums + rest / FINER, made, input_precision="tf32x3")
    levels = made + tl.load(normal + place)[None, :]
    levels = normalised(levels, tl.load(normal + WIDE + place)[None, :], tl.load(normal + 2 * WIDE + place)[None, :])
    target = values + ((frame * 3 + channel[None, :]) * crop_height + y[:, None]) * crop_width + x[None, :]
    written = inside_y[:, None] & ((x < crop_width) & (channel < 3))[None, :]
    tl.store(target, levels.to(values.dtype.element_ty), mask=written)


@triton.jit(do_not_specialize=["height"])
def values_of_maps_kernel(
    maps,
    values,
    first_row,
    vertical,
    first_pixel,  # of a tile, in a row of the map
    horizontal,  # [tiles, 2, span, TILE]
    normal,  # as above; nothing is added
    height,
    width,
    row_step,
    map_step,
    crop_height,
    crop_width,
    span,
    ROW_TAPS: tl.constexpr,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
    ALIGNED: tl.constexpr,
    FINER: tl.constexpr,
):
    WIDE: tl.constexpr = 4 * TILE
    tile, image = tl.program_id(0), tl.program_id(2).to(tl.int64)
    y = tl.program_id(1) * TILE + tl.arange(0, TILE)
    place = tl.arange(0, TILE)
    x = tile * TILE + place
    inside_y = y < crop_height
    row_of, from_row, to_row = rows_of_tile(first_row, y, inside_y, height, ROW_TAPS)
    from_pixel = tl.multiple_of(tl.load(first_pixel + tile), ALIGNED // 4)
    part = tl.arange(0, PIXELS)
    of_part = horizontal + tile * 2 * span * TILE + part[:, None] * TILE + place[None, :]
    source = maps + image * map_step
    darker, brighter = tl.zeros([TILE, TILE], tl.float32), tl.zeros([TILE, TILE], tl.float32)
    for start in range(from_row, to_row, ROWS):
        rows = start + tl.arange(0, ROWS)
        dark, dark_rest = tl.zeros([ROWS, TILE], tl.float32), tl.zeros([ROWS, TILE], tl.float32)
        bright, bright_rest = tl.zeros([ROWS, TILE], tl.float32), tl.zeros([ROWS, TILE], tl.float32)
        for begin in range(0, span, PIXELS):
            pixel = from_pixel + begin + part
            read = (rows < to_row)[:, None] & (pixel < width)[None, :]
            event = tl.load(source + rows[:, None] * row_step + pixel[None, :], mask=read, other=-1)
            whole, rest = tl.load(of_part + begin * TILE), tl.load(of_part + (span + begin) * TILE)
            is_dark = ((event >= 0) & ((event & 1) == 0)).to(tl.float16)
            is_bright = ((event >= 0) & ((event & 1) == 1)).to(tl.float16)
            dark, dark_rest = tl.dot(is_dark, whole, dark), tl.dot(is_dark, rest, dark_rest)
            bright, bright_rest = tl.dot(is_bright, whole, bright), tl.dot(is_bright, rest, bright_rest)
        weights = vertical_weights(vertical, y, inside_y, row_of, rows, ROW_TAPS)
        darker = tl.dot(weights, dark + dark_rest / FINER, darker, input_precision="tf32x3")
        brighter = tl.dot(weights, bright + bright_rest / FINER, brighter, input_precision="tf32x3")
    written = inside_y[:, None] & (x < crop_width)[None, :]
    for channel in tl.static_range(3):
        # What was taken out of white: see PALETTE.
        if channel == 0:
            taken = darker
        elif channel == 1:
            taken = darker + brighter
        else:
            taken = brighter
        offset, scale = tl.load(normal + WIDE + channel * TILE), tl.load(normal + 2 * WIDE + channel * TILE)
        levels = normalised(255.0 - 255.0 * taken, offset, scale)
        target = values + ((image * 3 + channel) * crop_height + y[:, None]) * crop_width + x[None, :]
        tl.store(target, levels.to(values.dtype.element_ty), mask=written)


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
    center = scale * (np.arange(start, start + count) + 0.5)
    first = np.maximum((center - 2 * wide + 0.5).astype(np.int32), 0)
    end = np.minimum((center + 2 * wide + 0.5).astype(np.int32), source)
    place = first[:, None] + np.arange((end - first).max())  # [outputs, taps]
    weights = np.where(place < end[:, None], _cubic((place - center[:, None] + 0.5) / wide), 0.0)
    return Taps(first, weights / weights.sum(axis=1, keepdims=True))


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


@dataclass(frozen=True)
class _Way:
    """How frames of one kind are taken."""

    kernel: Any
    tables: tuple[torch.Tensor, ...]
    sizes: tuple[int, ...]
    """Span, then what Triton compiles for."""
    warps: int


class PixelValues:
    """The operation for frames of one size. Tables are made when frames of their kind come for the first time."""

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
            repair: [3, 4], RGB as the frames have it -> as it should be. None if they are right.
        """
        self._shape = len(rows.first), len(columns.first)
        self._rows, self._columns, self._repair, self._device = rows, columns, repair, device
        self._normal = np.zeros((3, 4, TILE), np.float32)
        added = np.zeros(3) if repair is None else repair[:, 3]
        self._normal[:, :3] = np.stack([added, np.array(mean) * 255, 1 / (np.array(std) * 255)])[:, :, None]
        # Triton's own look-up of a kernel takes longer on the host than this kernel does on a GPU.
        self._compiled: dict[tuple[object, ...], Callable[..., None]] = {}

    def __call__(self, frames: torch.Tensor, into: torch.Tensor) -> None:
        """Write the values of each frame.

        Args:
            frames: [frames, height, width, 3] uint8, contiguous; or the last events of event images, as evbench.kernels.event_images
                finds them: [frames, height, width] int32, the pixels of a row next to each other.
            into: [frames, 3, rows, columns], contiguous.

        Raises:
            ValueError: something else; or last events, and a repair, which what was never decoded does not need.
        """
        of_maps = frames.dtype == torch.int32
        if not (_are_last_events(frames) or _are_pictures(frames)):
            lie = f"{frames.dtype} {tuple(frames.shape)} {frames.stride()}"
            raise ValueError(f"frames must be contiguous RGB bytes or rows of last events, not {lie}")
        if of_maps and self._repair is not None:
            raise ValueError("last events have no colours to repair")
        count, height, width = frames.shape[:3]
        if height * frames.stride(1) >= 2**31:
            raise ValueError(f"{height} rows of {frames.stride(1)} elements are more than the kernel's places inside a frame, {2**31 - 1}")
        shape = count, 3, *self._shape
        if into.shape != shape or not into.is_contiguous():
            raise ValueError(f"values of {count} frames are {shape} and contiguous, not {tuple(into.shape)} {into.stride()}")
        way = self._of_maps if of_maps else self._of_pictures
        steps = frames.stride(1), frames.stride(0)
        sizes = (height, width, *steps, *self._shape, *way.sizes)
        # What Triton compiles for: sizes, types, and whether an address is a multiple of 16.
        key = frames.shape, steps, frames.dtype, into.dtype, frames.data_ptr() % 16, into.data_ptr() % 16
        launch = self._compiled.get(key)
        if launch is None:
            crop_height, crop_width = self._shape
            grid = (math.ceil(crop_width / TILE), math.ceil(crop_height / TILE), count)
            compiled = way.kernel[grid](frames, into, *way.tables, *sizes, num_warps=way.warps)
            if compiled is not None:  # the interpreter compiles nothing
                self._compiled[key] = compiled[grid]
        else:
            launch(frames, into, *way.tables, *sizes)

    @cached_property
    def _of_pictures(self) -> _Way:
        colours = np.zeros((4, 3))  # four for the output, since tl.dot takes powers of two
        colours[:3] = np.eye(3) if self._repair is None else self._repair[:, :3]
        return self._way(pixel_values_kernel, _tiles(self._columns, colours, ALIGNED, BYTES), ROWS, BYTES, WARPS)

    @cached_property
    def _of_maps(self) -> _Way:
        return self._way(values_of_maps_kernel, _tiles(self._columns, np.eye(1), ALIGNED // 4, PIXELS), MAP_ROWS, PIXELS, MAP_WARPS)

    def _way(self, kernel: Any, tiles: tuple[npt.NDArray[np.int32], npt.NDArray[np.float16]], rows: int, step: int, warps: int) -> _Way:
        first, horizontal = tiles
        arrays = (self._rows.first, self._rows.weights.astype(np.float32), first, horizontal, self._normal)
        tables = tuple(torch.from_numpy(array).to(self._device) for array in arrays)
        return _Way(kernel, tables, (horizontal.shape[2], self._rows.weights.shape[1], TILE, rows, step, ALIGNED, FINER), warps)


def _are_pictures(frames: torch.Tensor) -> bool:
    return frames.dtype == torch.uint8 and frames.dim() == 4 and frames.shape[3] == 3 and frames.is_contiguous()


def _are_last_events(frames: torch.Tensor) -> bool:
    return frames.dtype == torch.int32 and frames.dim() == 3 and frames.stride(2) == 1


def _tiles(
    columns: Taps, colours: npt.NDArray[np.float64], aligned: int, step: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float16]]:
    """Where each tile begins in a row of the frame, and what this is multiplied with, in two parts.

    Args:
        colours: [of the output, of the frame]. A row of the frame has all colours of a pixel next to each other.
        aligned: tiles begin at multiples of so many numbers of a row.
        step: of which the span is a multiple.

    Returns:
        [tiles], [tiles, 2, span, colours of the output * TILE].
    """
    tiles = [slice(start, start + TILE) for start in range(0, len(columns.first), TILE)]
    made, each = colours.shape
    firsts = [each * int(columns.first[tile].min()) // aligned * aligned for tile in tiles]
    count = columns.weights.shape[1]
    needed = max(each * (int(columns.first[tile].max()) + count) - first for tile, first in zip(tiles, firsts, strict=True))
    dense = np.zeros((len(tiles), step * math.ceil(needed / step), made, TILE))
    for index, (first, weights) in enumerate(zip(columns.first, columns.weights, strict=True)):
        tile, place = divmod(index, TILE)
        start = each * int(first) - firsts[tile]
        # [taps, colour of the frame, colour of the output] -> [numbers of a row, colour of the output]
        dense[tile, start : start + each * count, :, place] = np.einsum("t,dc->tcd", weights, colours).reshape(each * count, made)
    dense = dense.reshape(*dense.shape[:2], made * TILE)
    whole = dense.astype(np.float16)
    rest = ((dense - whole) * FINER).astype(np.float16)
    return np.array(firsts, np.int32), np.stack([whole, rest], axis=1)


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
        mended = torch.from_numpy(repair).to(frames.device)
        levels = torch.einsum("dc,ncyx->ndyx", mended[:, :3], levels) + mended[:, 3:, None]
    levels = (levels + 0.5).floor().clamp(0, 255)
    ours = [torch.tensor(numbers, dtype=torch.float64, device=frames.device).view(3, 1, 1) * 255 for numbers in (mean, std)]
    return (levels - ours[0]) / ours[1]


def _dense(line: Taps, size: int) -> npt.NDArray[np.float64]:
    matrix = np.zeros((len(line.first), size))
    for row, first, weights in zip(matrix, line.first, line.weights, strict=True):
        needed = min(len(weights), size - first)
        row[first : first + needed] = weights[:needed]
    return matrix
