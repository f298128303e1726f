"""How an event stream is cut into slices of equal count, and how programs share them out: for all operations on events.

    slice[i] = min(i // each, slices - 1)                         each = events // slices

The last slice takes the rest.
"""

from __future__ import annotations

import math

import torch

MOST_EVENTS = 2**30
"""2 i + 1 fits into 32 bits."""
EVENTS, PROGRAMS, WARPS = 4096, 52, 16
"""Events that a program takes at a time, most programs for a slice, warps of each: the fastest of those tried on an H200."""

Size = tuple[int, int]
"""Height and width."""

# The numbers change from stream to stream: Triton must not compile again where one of them happens to be a multiple of 16.
NUMBERS = ["each", "slices", "total"]


def require_events(*columns: tuple[torch.Tensor, torch.dtype]) -> None:
    """Raises ValueError if a column is of another type than that beside it, of another length than the first, or not contiguous."""
    first, _ = columns[0]
    if any(tensor.dtype != dtype or tensor.shape != first.shape or not tensor.is_contiguous() for tensor, dtype in columns):
        found = ", ".join(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}" for tensor, _ in columns)
        raise ValueError(f"events must be contiguous uint16, uint16 and uint8 of one length, not {found}")


def require_slices(x: torch.Tensor, slices: int) -> None:
    """Raises ValueError if there are fewer events than slices, or more than MOST_EVENTS."""
    (total,) = x.shape
    if not slices <= total <= MOST_EVENTS:
        raise ValueError(f"{total} events cannot be made into {slices} slices; they must be at least as many, and {MOST_EVENTS} at most")


def lengths(x: torch.Tensor, slices: int) -> tuple[int, int, int]:
    """Events of each slice but the last, of the last, which is the longest, and of all."""
    each, total = len(x) // slices, len(x)
    return each, total - (slices - 1) * each, total


def grid(slices: int, events: int) -> tuple[int, int]:
    """Slices, and programs for so many events of each."""
    return slices, min(math.ceil(events / EVENTS), PROGRAMS)
