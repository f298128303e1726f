"""8-bit frames -> normalised model input, in one pass over the pixels that are needed: resize, crop, colours, normalisation.

    levels[y, x, c] = sum over j, i of  vertical[y, j] * horizontal[x, i] * frame[first_row[y] + j, first_column[x] + i, c]
    levels          = repair @ (levels, 1)                              another conversion of colours, over c; or none
    values[c, y, x] = (clamp(round(levels[y, x, c]), 0, 255) - offset[c]) * scale[c]

    frames: [frames, height, width, 3] uint8;  values: [frames, 3, rows, columns]

The weights are those of an antialiased cubic filter for the output's pixels inside the centre crop, and only for them: see
evbench.kernels.antialiased_cubic. Each program makes a tile of the output, and takes the rectangle of the frame that it needs in steps:
both sums are products of small matrices, which the tensor cores take. A row of the frame is taken as the bytes that lie there, three for a
pixel: the matrix that they are multiplied with has the horizontal weights of all three colours, and the matrix of the repair with them. A
byte fits into float16 as it is, and a weight is two numbers of it, together nearly as exact as float32. Levels are rounded once, at the
end, as torchvision does on a GPU.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

from evbench.kernels.antialiased_cubic import (
    ALIGNED,
    Launcher,
    Taps,
    normalised,
    reference_values,
    require_room,
    rows_of_tile,
    tables,
    vertical_weights,
)
from evbench.kernels.registration import register

ROWS, BYTES = 64, 32
"""Of the frame that a program takes at a time. This and the number of warps: the fastest of those tried on an H200, 1440x1080 to 224."""
WARPS = 4


@triton.jit(do_not_specialize=["height"])
def pixel_values_kernel(
    frames_ptr,  # [frames, height, width * 3] of the two strides below
    values_ptr,  # [frames, 3, crop_height, crop_width]
    first_row_ptr,  # [crop_height]
    vertical_ptr,  # [crop_height, ROW_TAPS]
    first_byte_ptr,  # [tiles], in a row of the frame
    horizontal_ptr,  # [tiles, 2, span, WIDE]: red, green, blue, and as many zeros, since tl.dot takes powers of two
    normal_ptr,  # what is added [WIDE], then offset [WIDE], then scale [WIDE]
    height,
    width,
    row_stride,
    frame_stride,
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
    y = tl.program_id(1) * TILE + tl.arange(0, TILE)  # [TILE]
    column = tl.arange(0, WIDE)  # [WIDE], as x and channel
    x, channel = tile * TILE + column % TILE, column // TILE
    y_mask = y < crop_height
    first_row, start_row, end_row = rows_of_tile(first_row_ptr, y, y_mask, height, ROW_TAPS)
    first_byte = tl.multiple_of(tl.load(first_byte_ptr + tile), ALIGNED)
    index = tl.arange(0, BYTES)
    weights_ptr = horizontal_ptr + tile * 2 * span * WIDE + index[:, None] * WIDE + column[None, :]  # [BYTES, WIDE]
    frame_ptr = frames_ptr + frame * frame_stride
    acc = tl.zeros([TILE, WIDE], tl.float32)
    for start in range(start_row, end_row, ROWS):
        rows = start + tl.arange(0, ROWS)
        high, low = tl.zeros([ROWS, WIDE], tl.float32), tl.zeros([ROWS, WIDE], tl.float32)
        for begin in range(0, span, BYTES):
            # A weight behind the end of the row is 0, and nothing is read for it.
            byte = first_byte + begin + index
            mask = (rows < end_row)[:, None] & (byte < width * 3)[None, :]
            # levels: [ROWS, BYTES]
            levels = tl.load(frame_ptr + rows[:, None] * row_stride + byte[None, :], mask=mask, other=0).to(tl.float16)
            high = tl.dot(levels, tl.load(weights_ptr + begin * WIDE), high)
            low = tl.dot(levels, tl.load(weights_ptr + (span + begin) * WIDE), low)
        vertical = vertical_weights(vertical_ptr, y, y_mask, first_row, rows, ROW_TAPS)  # [TILE, ROWS]
        acc = tl.dot(vertical, high + low / FINER, acc, input_precision="tf32x3")
    values = acc + tl.load(normal_ptr + column)[None, :]
    values = normalised(values, tl.load(normal_ptr + WIDE + column)[None, :], tl.load(normal_ptr + 2 * WIDE + column)[None, :])
    tile_ptr = values_ptr + ((frame * 3 + channel[None, :]) * crop_height + y[:, None]) * crop_width + x[None, :]
    write_mask = y_mask[:, None] & ((x < crop_width) & (channel < 3))[None, :]
    tl.store(tile_ptr, values.to(values_ptr.dtype.element_ty), mask=write_mask)


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
        colours = np.zeros((4, 3))  # four for the output, since tl.dot takes powers of two
        colours[:3] = np.eye(3) if repair is None else repair[:, :3]
        added = np.zeros(3) if repair is None else repair[:, 3]
        self._tables = tables(rows, columns, mean, std, colours, added, ALIGNED, BYTES, device)

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
    first_row, vertical, first, horizontal, normal = tables
    _launcher(frames, values, (first_row, vertical, first, horizontal, normal), ROWS, BYTES)


_launcher = Launcher(pixel_values_kernel, WARPS)
_operator = register(
    "pixel_values(Tensor frames, Tensor(a!) values, Tensor first_row, Tensor vertical, Tensor first_byte, Tensor horizontal,"
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
