"""An event stream -> each pixel's last event, in slices of equal count; and from there to the pictures.

    slice[i]      = min(i // each, slices - 1)                         each = events // slices: the last slice takes the rest
    last[s, y, x] = max over the events i of slice s at x, y  of  2 i + [polarity[i] != 0];  -1 where there is none
    picture       = 255, 255, 255  if last < 0;  else PALETTE[last & 1]: blue where it got darker, red where brighter

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

MOST_EVENTS = 2**30
"""2 i + 1 fits into 32 bits."""
EVENTS, PROGRAMS, WARPS = 4096, 52, 16
"""Events that a program takes at a time, most programs for a slice, warps of each: the fastest of those tried on an H200."""
ROUNDS = (0.5, 2.0)
"""Where a round ends: so many events for each pixel, counted from the slice's end. The last one takes the rest.

With 13.7 million events anywhere on 640x480 pixels the first round finds 39 % of them, the second 86 %. More rounds, or fewer, take longer.
"""
WORDS = 128
"""Of 32 pixels each, that a program looks through for known ones."""
BYTES = 1024
"""Of the pictures that a program paints."""
GROUND = (255, 255, 255)
PALETTE = ((0, 0, 255), (255, 0, 0))
"""RGB where no event was; of polarity 0 and of any other. Source: XduSyL/EventGPT:common/common.py."""

Size = tuple[int, int]
"""Height and width."""

# The numbers change from stream to stream: Triton must not compile again where one of them happens to be a multiple of 16.
NUMBERS = ["each", "slices", "total"]


@triton.jit(do_not_specialize=NUMBERS)
def extents_kernel(x, y, extents, each, slices, total, EVENTS: tl.constexpr):
    part = tl.program_id(0)
    start, end = part * each, tl.where(part == slices - 1, total, (part + 1) * each)
    height, width = tl.zeros([EVENTS], tl.int32), tl.zeros([EVENTS], tl.int32)
    for first in range(start + tl.program_id(1) * EVENTS, end, tl.num_programs(1) * EVENTS):
        event = first + tl.arange(0, EVENTS)
        height = tl.maximum(height, tl.load(y + event, mask=event < end, other=0).to(tl.int32) + 1)
        width = tl.maximum(width, tl.load(x + event, mask=event < end, other=0).to(tl.int32) + 1)
    tl.atomic_max(extents + 2 * part, tl.max(height, axis=0), sem="relaxed")
    tl.atomic_max(extents + 2 * part + 1, tl.max(width, axis=0), sem="relaxed")


@triton.jit(do_not_specialize=[*NUMBERS, "height", "width", "words", "behind", "count"])
def last_event_kernel(
    x,
    y,
    polarity,
    last,  # [slices, height, width]
    known,  # [slices, words]: a bit for each pixel
    extents,
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
    part = tl.program_id(0)
    start, end = part * each, tl.where(part == slices - 1, total, (part + 1) * each)
    end -= behind
    start = tl.maximum(start, end - count)
    map_of_part = last + part.to(tl.int64) * height * width
    high, wide = tl.zeros([EVENTS], tl.int32), tl.zeros([EVENTS], tl.int32)
    for turn in range(tl.program_id(1) * EVENTS, end - start, tl.num_programs(1) * EVENTS):
        event = end - turn - EVENTS + tl.arange(0, EVENTS)
        there = event >= start
        row = tl.load(y + event, mask=there, other=0).to(tl.int32)
        column = tl.load(x + event, mask=there, other=0).to(tl.int32)
        number = event * 2 + (tl.load(polarity + event, mask=there, other=0) != 0).to(tl.int32)
        high, wide = tl.maximum(high, row + 1), tl.maximum(wide, column + 1)
        pixel = row.to(tl.int64) * width + column
        wanted = there & (row < height) & (column < width)
        if LATER:
            word = tl.load(known + part.to(tl.int64) * words + (pixel >> 5), mask=wanted, other=0)
            wanted = wanted & (((word >> (pixel & 31).to(tl.int32)) & 1) == 0)
        tl.atomic_max(map_of_part + pixel, number, mask=wanted, sem="relaxed")
    tl.atomic_max(extents + 2 * part, tl.max(high, axis=0), sem="relaxed")
    tl.atomic_max(extents + 2 * part + 1, tl.max(wide, axis=0), sem="relaxed")


@triton.jit(do_not_specialize=["pixels", "words"])
def known_kernel(last, known, pixels, words, WORDS: tl.constexpr):
    part = tl.program_id(0).to(tl.int64)
    word = tl.program_id(1) * WORDS + tl.arange(0, WORDS)
    bit = tl.arange(0, 32)[None, :]
    pixel = word.to(tl.int64)[:, None] * 32 + bit
    event = tl.load(last + part * pixels + pixel, mask=pixel < pixels, other=-1)
    tl.store(known + part * words + word, tl.sum((event >= 0).to(tl.int32) << bit, axis=1), mask=word < words)


@triton.jit(do_not_specialize=["total"])
def paint_kernel(last, pictures, total, BYTES: tl.constexpr):
    byte = tl.program_id(0).to(tl.int64) * BYTES + tl.arange(0, BYTES)
    event = tl.load(last + byte // 3, mask=byte < total, other=-1)
    # Of three bytes, one is 255: the last where it got darker, the first where brighter. Of the ground all are.
    lit = tl.where((event & 1) == 0, 2, 0)
    tl.store(pictures + byte, tl.where((event < 0) | (byte % 3 == lit), 255, 0).to(tl.uint8), mask=byte < total)


def sizes(x: torch.Tensor, y: torch.Tensor, slices: int) -> list[Size]:
    """Of the smallest pictures that hold each slice's events. Waits for the device.

    Args:
        x, y: [events] uint16, in order of time, on the device; at least one for each slice.

    Raises:
        ValueError: wrong types, fewer events than slices, or more than MOST_EVENTS.
    """
    _require((x, torch.uint16), (y, torch.uint16))
    each, total = _slicing(x, slices)
    extents = torch.zeros((slices, 2), dtype=torch.int32, device=x.device)
    extents_kernel[_grid(slices, total - (slices - 1) * each)](x, y, extents, each, slices, total, EVENTS=EVENTS, num_warps=WARPS)
    return as_sizes(extents)


def as_sizes(extents: torch.Tensor) -> list[Size]:
    """[slices, 2] on the device -> heights and widths. Waits for the device."""
    return [(height, width) for height, width in extents.tolist()]


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
    _require((x, torch.uint16), (y, torch.uint16), (polarity, torch.uint8))
    each, total = _slicing(x, slices)
    extents = torch.zeros((slices, 2), dtype=torch.int32, device=x.device)
    last = torch.full((slices, *canvas), -1, dtype=torch.int32, device=x.device)
    pixels, longest = math.prod(canvas), total - (slices - 1) * each
    words = math.ceil(pixels / 32)
    known = torch.empty((slices, words), dtype=torch.int32, device=x.device)
    ends = [end for end in (math.ceil(share * pixels) for share in ROUNDS) if end < longest]
    for behind, end in pairwise([0, *ends, longest]):
        if behind:
            known_kernel[(slices, math.ceil(words / WORDS))](last, known, pixels, words, WORDS=WORDS)
        last_event_kernel[_grid(slices, end - behind)](
            x, y, polarity, last, known, extents, each, slices, total, *canvas, words, behind, end - behind,
            LATER=behind > 0, EVENTS=EVENTS, num_warps=WARPS,
        )  # fmt: skip
    return last, extents


def paint(last: torch.Tensor) -> torch.Tensor:
    """[..., height, width] int32, contiguous -> [..., height, width, 3] uint8, RGB."""
    pictures = torch.empty((*last.shape, 3), dtype=torch.uint8, device=last.device)
    paint_kernel[(math.ceil(pictures.numel() / BYTES),)](last, pictures, pictures.numel(), BYTES=BYTES)
    return pictures


def unpainted(pictures: torch.Tensor) -> torch.Tensor | None:
    """Last events that such pictures could have been painted from, 0 or 1: `paint` of them is the same again.

    None if there are other colours in them. Waits for the device.

    Args:
        pictures: [..., height, width, 3] uint8, RGB.
    """
    darker, brighter, ground = ((pictures == pictures.new_tensor(colour)).all(dim=-1) for colour in (*PALETTE, GROUND))
    if not (darker | brighter | ground).all():
        return None
    return brighter.int() - ground.int()


def _require(*given: tuple[torch.Tensor, torch.dtype]) -> None:
    first, _ = given[0]
    if any(tensor.dtype != dtype or tensor.shape != first.shape or not tensor.is_contiguous() for tensor, dtype in given):
        told = ", ".join(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}" for tensor, _ in given)
        raise ValueError(f"events must be contiguous uint16, uint16 and uint8 of one length, not {told}")


def _slicing(x: torch.Tensor, slices: int) -> tuple[int, int]:
    """Events of each slice but the last, and of all."""
    (total,) = x.shape
    if not slices <= total <= MOST_EVENTS:
        raise ValueError(f"{total} events cannot be made into {slices} slices; they must be at least as many, and {MOST_EVENTS} at most")
    return total // slices, total


def _grid(slices: int, events: int) -> tuple[int, int]:
    """Slices, and programs for so many events of each."""
    return slices, min(math.ceil(events / EVENTS), PROGRAMS)


def reference(x: torch.Tensor, y: torch.Tensor, polarity: torch.Tensor, slices: int, canvas: Size) -> torch.Tensor:
    """The last events, one after the other: [slices, height, width] int32."""
    last = torch.full((slices, *canvas), -1, dtype=torch.int32)
    each = len(x) // slices
    for event, (column, row, brighter) in enumerate(zip(x.tolist(), y.tolist(), polarity.tolist(), strict=True)):
        if row < canvas[0] and column < canvas[1]:
            last[min(event // each, slices - 1), row, column] = 2 * event + (brighter != 0)
    return last.to(x.device)
