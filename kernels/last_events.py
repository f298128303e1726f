"""An event stream -> each pixel's last event, in slices of equal count.

    last[s, row, column] = max over the events i of slice s with y[i] = row, x[i] = column  of  2 i + [polarity[i] != 0];  -1 if none
    extents[s]           = max over the events i of slice s of (y[i] + 1, x[i] + 1)

    x, y: [events] uint16;  polarity: [events] uint8;  last: [slices, height, width] int32;  extents: [slices, 2] int32
    Slices: see evbench.kernels.event_slices.

An event's number stands above its polarity in one integer, so that one atomic maximum decides which of a pixel's events was the last, in
whatever order the programs run. What takes the time are accesses to memory anywhere, not the events, which lie in a row. So the last events
come first, in rounds. Behind each round a bit for each pixel tells whether its last event is found: the bits of a slice fit into a
multiprocessor's own cache, and what an earlier event could not change any more needs no maximum.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import triton
import triton.language as tl

from evbench.kernels import event_slices
from evbench.kernels.event_slices import NUMBERS, WARPS, Size, require_events, require_slices
from evbench.kernels.registration import register

ROUNDS = (0.5, 2.0)
"""Where a round ends: so many events for each pixel, counted from the slice's end. The last one takes the rest.

With 13.7 million events anywhere on 640x480 pixels the first round finds 39 % of them, the second 86 %. More rounds, or fewer, take longer.
"""
WORDS = 128
"""Of 32 pixels each, that a program looks through for known ones."""


@triton.jit(do_not_specialize=[*NUMBERS, "height", "width", "words", "behind", "count"])
def last_event_kernel(
    x_ptr,  # [total]
    y_ptr,  # [total]
    polarity_ptr,  # [total]
    last_ptr,  # [slices, height, width]
    known_ptr,  # [slices, words]: a bit for each pixel
    extents_ptr,  # [slices, 2]
    each,
    slices,
    total,
    height,
    width,
    words,
    behind,  # events of each slice that had their turn
    count,  # events of each slice whose turn it is
    LATER: tl.constexpr,  # whether there was a round
    EVENTS: tl.constexpr,
):
    # Slices side by side, not one after the other: so fewer events of each are on their way at a time.
    index = tl.program_id(0)
    start, end = index * each, tl.where(index == slices - 1, total, (index + 1) * each)
    end -= behind
    start = tl.maximum(start, end - count)
    map_ptr = last_ptr + index.to(tl.int64) * height * width
    max_height, max_width = tl.zeros([EVENTS], tl.int32), tl.zeros([EVENTS], tl.int32)
    for offset in range(tl.program_id(1) * EVENTS, end - start, tl.num_programs(1) * EVENTS):
        event = end - offset - EVENTS + tl.arange(0, EVENTS)  # [EVENTS], as all that follows
        mask = event >= start
        row = tl.load(y_ptr + event, mask=mask, other=0).to(tl.int32)
        column = tl.load(x_ptr + event, mask=mask, other=0).to(tl.int32)
        number = event * 2 + (tl.load(polarity_ptr + event, mask=mask, other=0) != 0).to(tl.int32)
        max_height, max_width = tl.maximum(max_height, row + 1), tl.maximum(max_width, column + 1)
        pixel = row.to(tl.int64) * width + column
        write_mask = mask & (row < height) & (column < width)
        if LATER:
            word = tl.load(known_ptr + index.to(tl.int64) * words + (pixel >> 5), mask=write_mask, other=0)
            write_mask = write_mask & (((word >> (pixel & 31).to(tl.int32)) & 1) == 0)
        tl.atomic_max(map_ptr + pixel, number, mask=write_mask, sem="relaxed")
    tl.atomic_max(extents_ptr + 2 * index, tl.max(max_height, axis=0), sem="relaxed")
    tl.atomic_max(extents_ptr + 2 * index + 1, tl.max(max_width, axis=0), sem="relaxed")


@triton.jit(do_not_specialize=["pixels", "words"])
def known_kernel(
    last_ptr,  # [slices, pixels]
    known_ptr,  # [slices, words]
    pixels,
    words,
    WORDS: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    word = tl.program_id(1) * WORDS + tl.arange(0, WORDS)
    bit = tl.arange(0, 32)[None, :]
    pixel = word.to(tl.int64)[:, None] * 32 + bit  # [WORDS, 32]
    event = tl.load(last_ptr + index * pixels + pixel, mask=pixel < pixels, other=-1)
    tl.store(known_ptr + index * words + word, tl.sum((event >= 0).to(tl.int32) << bit, axis=1), mask=word < words)


def last_events(x: torch.Tensor, y: torch.Tensor, polarity: torch.Tensor, slices: int, canvas: Size) -> tuple[torch.Tensor, torch.Tensor]:
    """The last event of each pixel, slice by slice. Waits for nothing.

    Args:
        x, y: [events] uint16, in order of time, on the device; at least one for each slice.
        polarity: [events] uint8.
        canvas: height and width of every slice's map. Events that lie outside are left out; the extents tell.

    Returns:
        last: [slices, height, width] int32.
        extents: [slices, 2] int32, the height and width that would hold all events of a slice.

    Raises:
        ValueError: wrong types, fewer events than slices, or more than MOST_EVENTS.
    """
    require_events((x, torch.uint16), (y, torch.uint16), (polarity, torch.uint8))
    require_slices(x, slices)
    last, extents = _operator(x, y, polarity, slices, *canvas)
    return last, extents


def _launch(
    x: torch.Tensor, y: torch.Tensor, polarity: torch.Tensor, slices: int, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    each, longest, total = event_slices.lengths(x, slices)
    extents = torch.zeros((slices, 2), dtype=torch.int32, device=x.device)
    last = torch.full((slices, height, width), -1, dtype=torch.int32, device=x.device)
    pixels = height * width
    words = math.ceil(pixels / 32)
    known = torch.empty((slices, words), dtype=torch.int32, device=x.device)
    ends = [end for end in (math.ceil(share * pixels) for share in ROUNDS) if end < longest]
    for behind, end in pairwise([0, *ends, longest]):
        if behind:
            known_kernel[(slices, math.ceil(words / WORDS))](last, known, pixels, words, WORDS=WORDS)
        last_event_kernel[event_slices.grid(slices, end - behind)](
            x, y, polarity, last, known, extents, each, slices, total, height, width, words, behind, end - behind,
            LATER=behind > 0, EVENTS=event_slices.EVENTS, num_warps=WARPS,
        )  # fmt: skip
    return last, extents


def _fake(
    x: torch.Tensor, y: torch.Tensor, polarity: torch.Tensor, slices: int, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    return x.new_empty((slices, height, width), dtype=torch.int32), x.new_empty((slices, 2), dtype=torch.int32)


_operator = register(
    "last_events(Tensor x, Tensor y, Tensor polarity, int slices, int height, int width) -> (Tensor, Tensor)", _launch, _fake
)


def reference(x: torch.Tensor, y: torch.Tensor, polarity: torch.Tensor, slices: int, canvas: Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference of `last_events`, one event after the other."""
    last = torch.full((slices, *canvas), -1, dtype=torch.int32)
    extents, each = [[0, 0] for _ in range(slices)], len(x) // slices
    for event, (column, row, brighter) in enumerate(zip(x.tolist(), y.tolist(), polarity.tolist(), strict=True)):
        index = min(event // each, slices - 1)
        extents[index] = [max(extents[index][0], row + 1), max(extents[index][1], column + 1)]
        if row < canvas[0] and column < canvas[1]:
            last[index, row, column] = 2 * event + (brighter != 0)
    return last.to(x.device), torch.tensor(extents, dtype=torch.int32, device=x.device)
