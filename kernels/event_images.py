"""An event stream -> its pictures: slices of equal count, and in each the last event of a pixel gives it its colour.

    slice[i]      = min(i // each, slices - 1)                         each = events // slices: the last slice takes the rest
    last[s, y, x] = max over the events i of slice s at x, y  of  2 i + [polarity[i] != 0];  -1 where there is none
    picture       = 255, 255, 255  if last < 0;  else PALETTE[last & 1]: blue where it got darker, red where brighter

An event's number stands above its polarity in one integer, so that one atomic maximum decides which of a pixel's events was the last, in
whatever order the programs run. The pictures may differ in size: they lie one behind the other, `last` and colours alike, and each of
them is contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl

MOST_EVENTS = 2**30
"""2 i + 1 fits into 32 bits."""
EVENTS, BYTES = 1024, 4096
"""That a program takes at a time."""
PALETTE = ((0, 0, 255), (255, 0, 0))
"""RGB of polarity 0 and of any other. Source: XduSyL/EventGPT:common/common.py."""

Size = tuple[int, int]
"""Height and width."""

# The numbers change from stream to stream: Triton must not compile again where one of them happens to be a multiple of 16.
NUMBERS = ["each", "slices", "total"]


@triton.jit(do_not_specialize=NUMBERS)
def extents_kernel(x, y, extents, each, slices, total, EVENTS: tl.constexpr):
    part = tl.program_id(1)
    end = tl.where(part == slices - 1, total, (part + 1) * each)
    event = part * each + tl.program_id(0) * EVENTS + tl.arange(0, EVENTS)
    row = tl.load(y + event, mask=event < end, other=0).to(tl.int32)
    column = tl.load(x + event, mask=event < end, other=0).to(tl.int32)
    tl.atomic_max(extents + 2 * part, tl.max(row, axis=0) + 1)
    tl.atomic_max(extents + 2 * part + 1, tl.max(column, axis=0) + 1)


@triton.jit(do_not_specialize=NUMBERS)
def last_event_kernel(x, y, polarity, places, last, each, slices, total, EVENTS: tl.constexpr):
    part = tl.program_id(1)
    end = tl.where(part == slices - 1, total, (part + 1) * each)
    event = part * each + tl.program_id(0) * EVENTS + tl.arange(0, EVENTS)
    there = event < end
    row = tl.load(y + event, mask=there, other=0).to(tl.int64)
    column = tl.load(x + event, mask=there, other=0).to(tl.int64)
    brighter = (tl.load(polarity + event, mask=there, other=0) != 0).to(tl.int32)
    start, width = tl.load(places + 2 * part), tl.load(places + 2 * part + 1)
    tl.atomic_max(last + start + row * width + column, event * 2 + brighter, mask=there, sem="relaxed")


@triton.jit(do_not_specialize=["total"])
def paint_kernel(last, pictures, total, BYTES: tl.constexpr):
    byte = tl.program_id(0).to(tl.int64) * BYTES + tl.arange(0, BYTES)
    there = byte < total
    event = tl.load(last + byte // 3, mask=there, other=-1)
    # Of three colours, one byte is 255: the last where it got darker, the first where brighter. Of the ground all are.
    lit = tl.where((event & 1) == 0, 2, 0)
    level = tl.where((event < 0) | (byte % 3 == lit), 255, 0)
    tl.store(pictures + byte, level.to(tl.uint8), mask=there)


def sizes(x: torch.Tensor, y: torch.Tensor, slices: int) -> list[Size]:
    """Of the smallest pictures that hold each slice's events. Waits for the device: memory cannot be had before.

    Args:
        x, y: [events] uint16, at least one for each slice.
    """
    each, longest, total = _slicing(x, slices)
    extents = torch.zeros((slices, 2), dtype=torch.int32, device=x.device)
    extents_kernel[(math.ceil(longest / EVENTS), slices)](x, y, extents, each, slices, total, EVENTS=EVENTS)
    return [(height, width) for height, width in extents.tolist()]


def event_images(x: torch.Tensor, y: torch.Tensor, polarity: torch.Tensor, pictures: Sequence[Size]) -> list[torch.Tensor]:
    """A picture of each slice.

    Args:
        x, y: [events] uint16, in order of time, on the device; at least one for each slice.
        polarity: [events] uint8.
        pictures: the size of each slice's picture, no smaller than `sizes` says.

    Returns:
        For each slice [height, width, 3] uint8, contiguous, on the device.

    Raises:
        ValueError: wrong types, fewer events than slices, or more than MOST_EVENTS.
    """
    given = (x, torch.uint16), (y, torch.uint16), (polarity, torch.uint8)
    if any(tensor.dtype != dtype or tensor.shape != x.shape or not tensor.is_contiguous() for tensor, dtype in given):
        told = ", ".join(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}" for tensor, _ in given)
        raise ValueError(f"events must be contiguous uint16, uint16 and uint8 of one length, not {told}")
    each, longest, total = _slicing(x, len(pictures))
    starts = [0]
    for height, width in pictures:
        starts.append(starts[-1] + height * width)
    places = torch.tensor([(start, width) for start, (_, width) in zip(starts, pictures, strict=False)], device=x.device)
    last = torch.full((starts[-1],), -1, dtype=torch.int32, device=x.device)
    grid = (math.ceil(longest / EVENTS), len(pictures))
    last_event_kernel[grid](x, y, polarity, places, last, each, len(pictures), total, EVENTS=EVENTS)
    made = torch.empty((starts[-1], 3), dtype=torch.uint8, device=x.device)
    paint_kernel[(math.ceil(made.numel() / BYTES),)](last, made, made.numel(), BYTES=BYTES)
    return [made[start : start + size[0] * size[1]].view(*size, 3) for start, size in zip(starts, pictures, strict=False)]


def _slicing(x: torch.Tensor, slices: int) -> tuple[int, int, int]:
    """Events of each slice, of the last one, and of all."""
    (total,) = x.shape
    if not slices <= total <= MOST_EVENTS:
        raise ValueError(f"{total} events cannot be made into {slices} slices; they must be at least as many, and {MOST_EVENTS} at most")
    each = total // slices
    return each, total - (slices - 1) * each, total


def reference(x: torch.Tensor, y: torch.Tensor, polarity: torch.Tensor, pictures: Sequence[Size]) -> list[torch.Tensor]:
    """The same, one event after the other."""
    each, _, total = _slicing(x, len(pictures))
    made = []
    for part, size in enumerate(pictures):
        picture = torch.full((*size, 3), 255, dtype=torch.uint8)
        end = total if part == len(pictures) - 1 else (part + 1) * each
        for event in range(part * each, end):
            picture[int(y[event]), int(x[event])] = torch.tensor(PALETTE[int(polarity[event] != 0)], dtype=torch.uint8)
        made.append(picture.to(x.device))
    return made
