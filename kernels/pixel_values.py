"""8-bit frames -> normalised model input, in one pass over the pixels that are needed: resize, crop, colours, normalisation.

    levels[y, x, c] = sum over j, i of  vertical[y, j] * horizontal[x, i] * frame[first_row[y] + j, first_column[x] + i, c]
    levels          = repair @ (levels, 1)                              another conversion of colours, over c; or none
    values[c, y, x] = (clamp(round(levels[y, x, c]), 0, 255) - offset[c]) * scale[c]

    frames: [frames, height, width, 3] uint8;  values: [frames, 3, rows, columns]

The weights are those of an antialiased cubic filter for the output's pixels inside the centre crop, and only for them: see
evbench.kernels.antialiased_cubic. Each program makes a tile of the output, of the rectangle of the frame that it needs: sums down the rows
first, then along what is left of them, both as products of small matrices, which the tensor cores take. In this order the longer product
needs no colour apart, and the matrix of the other one is small, since it is the same for all colours.

Bytes become numbers without a conversion. Four pixels are three words, and each byte of them is taken as the float16 of these bits, which
is level / 2^24: a number too small to be normal, which the tensor cores multiply like any other. Colours fall apart on the way: the sums of
byte k of a group are those of colour k % 3 in pixel k // 3. A weight is two numbers of float16, together nearly as exact as float32, and so
is a sum when it is multiplied again. Levels are rounded once, at the end, as torchvision does on a GPU.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

from evbench.kernels.antialiased_cubic import (
    GROUP,
    LARGER,
    TILE,
    Launcher,
    Taps,
    best_edge,
    normalised,
    offsets_and_scales,
    on,
    reference_values,
    require_room,
    tiles,
)
from evbench.kernels.registration import register

WIDE = 16
"""Columns of a tile of the output at most; its rows are at most TILE."""
ROWS, GROUPS = 16, 16
"""Of the frame that a program takes at a time: rows, and groups of four pixels of each."""
WARPS, REGISTERS = 1, 168
"""With so few registers for each thread, a multiprocessor of Hopper holds 12 programs; with as many as the compiler takes, 8."""
SCALE = LARGER**2 / 2**24
"""Of the sums: both weights are taken LARGER times, and a level is the float16 that has its bits, a multiple of 2^-24."""


@triton.jit
def word_of_groups(group_ptr, left, WORD: tl.constexpr, WHOLE: tl.constexpr):
    """[ROWS, GROUPS] int32: one of the three words of each group of four pixels.

    Args:
        group_ptr: [ROWS, GROUPS], where groups begin.
        left: [1, GROUPS], how many bytes behind that the last of the row is. It is read for those that would follow.
        WHOLE: whether words lie at multiples of their size, and none across the end of a row.
    """
    if WHOLE:
        return tl.load((group_ptr + 4 * WORD).to(tl.pointer_type(tl.int32)))
    word = tl.load(group_ptr + tl.minimum(left, 4 * WORD)).to(tl.int32)
    for index in tl.static_range(1, 4):
        word |= tl.load(group_ptr + tl.minimum(left, 4 * WORD + index)).to(tl.int32) << (8 * index)
    return word


@triton.jit
def levels_of_words(word, BYTE: tl.constexpr):
    """One byte of each word, as the float16 that has these bits."""
    pair = (word >> (8 * (BYTE % 2))) & 0x00FF00FF  # two bytes for one instruction
    return (pair >> (16 * (BYTE // 2))).to(tl.uint16).to(tl.float16, bitcast=True)


@triton.jit
def down_the_rows(high, low, words, sums, COLOUR: tl.constexpr):
    """To the sums of the four pixels of each group, [TILE, GROUPS] each, add those of further rows, in one colour.

    high, low: [TILE, ROWS], the two parts of the weights.
    """
    first = levels_of_words(words[COLOUR // 4], COLOUR % 4)  # [ROWS, GROUPS]
    second = levels_of_words(words[(3 + COLOUR) // 4], (3 + COLOUR) % 4)
    third = levels_of_words(words[(6 + COLOUR) // 4], (6 + COLOUR) % 4)
    fourth = levels_of_words(words[(9 + COLOUR) // 4], (9 + COLOUR) % 4)
    return (
        tl.dot(low, first, tl.dot(high, first, sums[0])),
        tl.dot(low, second, tl.dot(high, second, sums[1])),
        tl.dot(low, third, tl.dot(high, third, sums[2])),
        tl.dot(low, fourth, tl.dot(high, fourth, sums[3])),
    )


@triton.jit
def along_the_row(sums, high, low, acc):
    """[TILE, WIDE]: acc with the product of sums [TILE, GROUPS] and weights [GROUPS, WIDE] added, all in two parts."""
    much = sums.to(tl.float16)
    little = (sums - much.to(tl.float32)).to(tl.float16)
    return tl.dot(much, high, tl.dot(much, low, tl.dot(little, high, acc)))


@triton.jit(do_not_specialize=["height", "row_edge", "column_edge", "row_span", "column_span"])
def pixel_values_kernel(
    frames_ptr,  # [frames, height, width * 3] of the two strides below
    values_ptr,  # [frames, 3, crop_height, crop_width]
    first_row_ptr,  # [tiles]
    vertical_ptr,  # [tiles, 2, row_span, TILE]
    first_pixel_ptr,  # [tiles], in a row of the frame: a multiple of 4
    horizontal_ptr,  # [tiles, 2, column_span, WIDE]
    normal_ptr,  # [3, 6]: a row of the repair, then offset and scale
    height,
    width,
    row_stride,
    frame_stride,
    crop_height,
    crop_width,
    row_edge,
    column_edge,
    row_span,
    column_span,
    TILE: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    GROUPS: tl.constexpr,
    WHOLE: tl.constexpr,
    SCALE: tl.constexpr,
):
    column_tile, row_tile, frame = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    first_row, first_pixel = tl.load(first_row_ptr + row_tile), tl.load(first_pixel_ptr + column_tile)
    y, x = tl.arange(0, TILE), tl.arange(0, WIDE)
    group, step = tl.arange(0, GROUPS), tl.arange(0, ROWS)
    tile_ptr = frames_ptr + frame * frame_stride + first_row * row_stride
    down_ptr = vertical_ptr + row_tile * 2 * row_span * TILE
    along_ptr = horizontal_ptr + column_tile * 2 * column_span * WIDE
    # What has no weight is read from the nearest that is there: to read nothing for it would take a comparison more for each.
    last_row = tl.minimum(row_span, height - first_row) - 1
    last_byte = width * 3 - 1
    nothing = tl.zeros([TILE, WIDE], tl.float32)
    red_acc, green_acc, blue_acc = nothing, nothing, nothing
    for begin in range(0, column_span, 4 * GROUPS):
        byte = tl.minimum((first_pixel + begin + 4 * group) * 3, (width - 1) // 4 * 12)[None, :]
        left = last_byte - byte
        none = tl.zeros([TILE, GROUPS], tl.float32)
        red, green, blue = (none, none, none, none), (none, none, none, none), (none, none, none, none)
        # Loads of the next step are not begun in this one: on an H200 what they take of registers and shared memory costs more.
        for start in tl.range(0, row_span, ROWS, num_stages=1):
            row = start + step
            group_ptr = tile_ptr + (tl.minimum(row, last_row)[:, None] * row_stride + byte)
            words = (
                word_of_groups(group_ptr, left, 0, WHOLE),
                word_of_groups(group_ptr, left, 1, WHOLE),
                word_of_groups(group_ptr, left, 2, WHOLE),
            )
            down = down_ptr + row[None, :] * TILE + y[:, None]
            high = tl.load(down, mask=(row < row_span)[None, :], other=0.0)  # [TILE, ROWS]
            low = tl.load(down + row_span * TILE, mask=(row < row_span)[None, :], other=0.0)
            red = down_the_rows(high, low, words, red, 0)
            green = down_the_rows(high, low, words, green, 1)
            blue = down_the_rows(high, low, words, blue, 2)
        for place in tl.static_range(4):
            pixel = (begin + 4 * group + place)[:, None]
            along = along_ptr + pixel * WIDE + x[None, :]
            high = tl.load(along, mask=pixel < column_span, other=0.0)  # [GROUPS, WIDE]
            low = tl.load(along + column_span * WIDE, mask=pixel < column_span, other=0.0)
            red_acc = along_the_row(red[place], high, low, red_acc)
            green_acc = along_the_row(green[place], high, low, green_acc)
            blue_acc = along_the_row(blue[place], high, low, blue_acc)
    first_y, first_x = row_tile * row_edge, column_tile * column_edge
    rows_mask, columns_mask = y < tl.minimum(row_edge, crop_height - first_y), x < tl.minimum(column_edge, crop_width - first_x)
    plane = crop_height * crop_width
    written_ptr = values_ptr + frame * 3 * plane + (first_y * crop_width + first_x) + (y * crop_width)[:, None] + x[None, :]
    for channel in tl.static_range(3):
        row_ptr = normal_ptr + 6 * channel
        mixed = tl.load(row_ptr) * red_acc + tl.load(row_ptr + 1) * green_acc + tl.load(row_ptr + 2) * blue_acc
        values = normalised(mixed / SCALE + tl.load(row_ptr + 3), tl.load(row_ptr + 4), tl.load(row_ptr + 5))
        values = values.to(values_ptr.dtype.element_ty)
        tl.store(written_ptr + channel * plane, values, mask=rows_mask[:, None] & columns_mask[None, :])


class PixelValues:
    """The operation for frames of one size, with its tables."""

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
        mended = np.eye(3, 4) if repair is None else repair
        normal = np.hstack([mended, offsets_and_scales(mean, std)]).astype(np.float32)
        row_edge, column_edge = best_edge(rows, TILE, ROWS), best_edge(columns, WIDE, GROUP * GROUPS, GROUP)
        self._tables = on(device, *tiles(rows, row_edge, TILE), *tiles(columns, column_edge, WIDE, GROUP), normal)

    def __call__(self, frames: torch.Tensor, into: torch.Tensor) -> None:
        """Write the values of each frame.

        Args:
            frames: [frames, height, width, 3] uint8, contiguous.
            into: [frames, 3, rows, columns], contiguous.

        Raises:
            ValueError: something else.
        """
        if not (frames.dtype == torch.uint8 and frames.dim() == 4 and frames.shape[3] == 3 and frames.is_contiguous()):
            raise ValueError(f"frames must be contiguous RGB bytes, not {frames.dtype} {tuple(frames.shape)} {frames.stride()}")
        count, height, width, _ = frames.shape
        if height * width * 3 >= 2**31:
            raise ValueError(f"{height} rows of {width * 3} bytes are more than the kernel's places inside a frame, {2**31 - 1}")
        require_room(into, count, self._shape)
        _operator(frames, into, *self._tables)


def _launch(frames: torch.Tensor, values: torch.Tensor, *tables: torch.Tensor) -> None:
    (count, height, width, _), (crop_height, crop_width) = frames.shape, values.shape[2:]
    frame_stride, row_stride = frames.stride()[:2]
    _, vertical, _, horizontal, _ = tables
    (row_tiles, _, row_span, _), (column_tiles, _, column_span, _) = vertical.shape, horizontal.shape
    edges = math.ceil(crop_height / row_tiles), math.ceil(crop_width / column_tiles)
    sizes = height, width, row_stride, frame_stride, crop_height, crop_width, *edges, row_span, column_span
    whole = width % GROUP == 0 and frames.data_ptr() % 4 == 0
    _launcher((column_tiles, row_tiles, count), frames, values, tables, (*sizes, TILE, WIDE, ROWS, GROUPS, whole, SCALE))


_launcher = Launcher(pixel_values_kernel, WARPS, REGISTERS)
_operator = register(
    "pixel_values(Tensor frames, Tensor(a!) values, Tensor first_row, Tensor vertical, Tensor first_pixel, Tensor horizontal,"
    " Tensor normal) -> ()",
    _launch,
    lambda *tensors: None,
)


def reference(
    frames: torch.Tensor,
    rows: Taps,
    columns: Taps,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    repair: npt.NDArray[np.float64] | None,
) -> torch.Tensor:
    """Reference of `PixelValues` in PyTorch, in double precision, by dense matrices: [frames, 3, rows, columns].

    Args:
        frames: [frames, height, width, 3] uint8.
    """
    _, height, width, _ = frames.shape
    vertical, horizontal = (torch.from_numpy(line.dense(size)).to(frames.device) for line, size in ((rows, height), (columns, width)))
    levels = torch.einsum("yh,nhwc,xw->ncyx", vertical, frames.double(), horizontal)
    if repair is not None:
        matrix = torch.from_numpy(repair).to(frames.device)
        levels = torch.einsum("dc,ncyx->ndyx", matrix[:, :3], levels) + matrix[:, 3:, None]
    return reference_values(levels, mean, std)
