"""An event stream -> each pixel's last event, in slices of equal count; and from there to the pictures.

    slice[i]      = min(i // each, slices - 1)                         each = events // slices: the last slice takes the rest
    last[s, y, x] = max over the events i of slice s at x, y  of  2 i + [polarity[i] != 0];  -1 where there is none
    picture       = 255, 255, 255  if last < 0;  else PALETTE[last & 1]: blue where it got darker, red where brighter

An event's number stands above its polarity in one integer, so that one atomic maximum decides which of a pixel's events was the last, in
whatever order the programs run. Programs begin with the last events, and look at what is known of a pixel before they ask for the maximum:
what an earlier event could not change needs none. What they see may be older than the truth, but a maximum only grows: at worst one is
asked for in vain.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

MOST_EVENTS = 2**30
"""2 i + 1 fits into 32 bits."""
EVENTS, PROGRAMS, WARPS = 512, 128, 4
"""Events that a program takes at a time, most programs for a slice, warps of each. The fewer at work, the more is known when they look.

The fastest of those tried on an H100, with 13.7 million events on 640x480 pixels: 158 microseconds where they fall anywhere, 127 on 5 % of
the pixels. Reading them once would take 20: what takes the time are the maxima.
"""
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


@triton.jit(do_not_specialize=[*NUMBERS, "height", "width"])
def last_event_kernel(x, y, polarity, last, extents, each, slices, total, height, width, EVENTS: tl.constexpr):
    # Slices side by side, not one after the other: so fewer events of each are on their way at a time.
    part = tl.program_id(0)
    start, end = part * each, tl.where(part == slices - 1, total, (part + 1) * each)
    map_of_part = last + part.to(tl.int64) * height * width
    high, wide = tl.zeros([EVENTS], tl.int32), tl.zeros([EVENTS], tl.int32)
    for behind in range(tl.program_id(1) * EVENTS, end - start, tl.num_programs(1) * EVENTS):
        event = end - behind - EVENTS + tl.arange(0, EVENTS)
        there = event >= start
        row = tl.load(y + event, mask=there, other=0).to(tl.int32)
        column = tl.load(x + event, mask=there, other=0).to(tl.int32)
        number = event * 2 + (tl.load(polarity + event, mask=there, other=0) != 0).to(tl.int32)
        high, wide = tl.maximum(high, row + 1), tl.maximum(wide, column + 1)
        pixel = map_of_part + row.to(tl.int64) * width + column
        inside = there & (row < height) & (column < width)
        # Out of the multiprocessor's own cache, which is nearer but does not learn what others found: what it has is older, and less.
        known = tl.load(pixel, mask=inside, other=0)
        tl.atomic_max(pixel, number, mask=inside & (number > known), sem="relaxed")
    tl.atomic_max(extents + 2 * part, tl.max(high, axis=0), sem="relaxed")
    tl.atomic_max(extents + 2 * part + 1, tl.max(wide, axis=0), sem="relaxed")


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
    each, total, grid = _slicing(x, slices)
    extents = torch.zeros((slices, 2), dtype=torch.int32, device=x.device)
    extents_kernel[grid](x, y, extents, each, slices, total, EVENTS=EVENTS, num_warps=WARPS)
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
    each, total, grid = _slicing(x, slices)
    extents = torch.zeros((slices, 2), dtype=torch.int32, device=x.device)
    last = torch.full((slices, *canvas), -1, dtype=torch.int32, device=x.device)
    last_event_kernel[grid](x, y, polarity, last, extents, each, slices, total, *canvas, EVENTS=EVENTS, num_warps=WARPS)
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


def _slicing(x: torch.Tensor, slices: int) -> tuple[int, int, tuple[int, int]]:
    """Events of each slice but the last, and of all; and the programs for it: slices, and how many for each."""
    (total,) = x.shape
    if not slices <= total <= MOST_EVENTS:
        raise ValueError(f"{total} events cannot be made into {slices} slices; they must be at least as many, and {MOST_EVENTS} at most")
    each = total // slices
    longest = total - (slices - 1) * each
    return each, total, (slices, min(math.ceil(longest / EVENTS), PROGRAMS))


def reference(x: torch.Tensor, y: torch.Tensor, polarity: torch.Tensor, slices: int, canvas: Size) -> torch.Tensor:
    """The last events, one after the other: [slices, height, width] int32."""
    last = torch.full((slices, *canvas), -1, dtype=torch.int32)
    each = len(x) // slices
    for event, (column, row, brighter) in enumerate(zip(x.tolist(), y.tolist(), polarity.tolist(), strict=True)):
        if row < canvas[0] and column < canvas[1]:
            last[min(event // each, slices - 1), row, column] = 2 * event + (brighter != 0)
    return last.to(x.device)
