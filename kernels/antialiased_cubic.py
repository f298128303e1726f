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
GROUP = 4
"""Pixels of a row: tiles begin at multiples of them, where words do too."""
LARGER = 2**15
"""What weights are multiplied with, so that both parts of one are numbers that float16 has 11 bits for. No weight is as large as 2."""
KEPT = 256
"""Launches of a kernel that are kept: pictures of raw events may each have a size of their own."""


@triton.jit
def normalised(levels, offset, scale):
    """Levels rounded as torchvision does it, and clamped to bytes: (level - offset) * scale."""
    return (tl.minimum(tl.maximum(tl.floor(levels + 0.5), 0.0), 255.0) - offset) * scale


Tables = tuple[torch.Tensor, ...]
Numbers = tuple[float, ...]


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


def tiles(line: Taps, edge: int, wide: int, aligned: int = 1) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float16]]:
    """The taps as matrices, one for each tile of the output, in two parts: float16 has 11 bits.

    Args:
        edge: outputs of a tile.
        wide: columns of a matrix; those behind the outputs are 0.
        aligned: tiles begin at multiples of so many pixels.

    Returns:
        [tiles], where each begins in a line of the source, and [tiles, 2, span, wide], LARGER times the weights.
    """
    firsts, span = _spans(line, edge, aligned)
    count = line.weights.shape[1]
    dense = np.zeros((len(firsts), span, wide))
    for index, (first, weights) in enumerate(zip(line.first, line.weights, strict=True)):
        tile, output = divmod(index, edge)
        start = int(first - firsts[tile])
        dense[tile, start : start + count, output] = weights * LARGER
    high = dense.astype(np.float16)
    return firsts, np.stack([high, (dense - high).astype(np.float16)], axis=1)


def best_edge(line: Taps, most: int, step: int, aligned: int = 1) -> int:
    """Outputs of a tile, at most so many, with which all tiles together are made in few steps of so many pixels.

    Of those that take hardly more steps than the best, the smallest: more programs run at once. It is the number of outputs divided by that
    of tiles, rounded up, and so can be told from the tables.
    """
    outputs = len(line.first)
    edges = sorted({math.ceil(outputs / math.ceil(outputs / edge)) for edge in range(1, most + 1)})
    spans = [_spans(line, edge, aligned) for edge in edges]
    steps = [len(firsts) * math.ceil(span / step) for firsts, span in spans]
    return next(edge for edge, taken in zip(edges, steps, strict=True) if taken <= 1.05 * min(steps))


def _spans(line: Taps, edge: int, aligned: int) -> tuple[npt.NDArray[np.int32], int]:
    """Where each tile begins in a line of the source, and how many pixels the longest needs from there."""
    starts = range(0, len(line.first), edge)
    firsts = np.minimum.reduceat(line.first, starts) // aligned * aligned
    ends = np.maximum.reduceat(line.first, starts) + line.weights.shape[1]
    return firsts, int((ends - firsts).max())


def offsets_and_scales(mean: tuple[float, ...], std: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """[3, 2], of `normalised`. mean, std: of red, green and blue in 0 to 1."""
    return np.stack([np.array(mean) * 255, 1 / (np.array(std) * 255)], axis=1)


def on(device: torch.device | str, *arrays: npt.NDArray[Any]) -> tuple[torch.Tensor, ...]:
    """Tables of a kernel, on its device."""
    return tuple(torch.from_numpy(array).to(device) for array in arrays)


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

    def __init__(self, kernel: Any, warps: int, registers: int | None = None) -> None:
        """registers: for each thread at most. None: as many as the compiler takes."""
        self._kernel, self._options = kernel, {"num_warps": warps, "maxnreg": registers}
        self._compiled: dict[tuple[object, ...], Callable[..., None]] = {}

    def __call__(self, grid: tuple[int, int, int], read: torch.Tensor, written: torch.Tensor, tables: Tables, numbers: Numbers) -> None:
        """The kernel's arguments in their order: what is read, what is written, tables, then whole numbers and constants."""
        tensors = read, written, *tables
        # What Triton compiles for: sizes, types, and whether an address is a multiple of 16. Of tables, which torch allocates one by one,
        # each is; to ask all of them would take as long as the rest of this.
        key = grid, numbers, read.device, read.dtype, written.dtype, read.data_ptr() % 16, written.data_ptr() % 16
        launch = self._compiled.get(key)
        if launch is not None:
            launch(*tensors, *numbers)
            return
        compiled = self._kernel[grid](*tensors, *numbers, **self._options)
        if compiled is None:  # the interpreter compiles nothing
            return
        if len(self._compiled) == KEPT:
            del self._compiled[next(iter(self._compiled))]
        self._compiled[key] = compiled[grid]
