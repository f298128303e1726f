"""An event stream -> height and width of the smallest picture that holds all events of a slice.

    extents[s] = max over the events i of slice s of (y[i] + 1, x[i] + 1)

    x, y: [events] uint16;  extents: [slices, 2] int32

Slices: see evbench.kernels.event_slices.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from evbench.kernels import event_slices
from evbench.kernels.event_slices import NUMBERS, WARPS, Size, require_events, require_slices
from evbench.kernels.registration import register


@triton.jit(do_not_specialize=NUMBERS)
def extents_kernel(
    x_ptr,  # [total]
    y_ptr,  # [total]
    extents_ptr,  # [slices, 2], zeros
    each,
    slices,
    total,
    EVENTS: tl.constexpr,
):
    index = tl.program_id(0)
    start, end = index * each, tl.where(index == slices - 1, total, (index + 1) * each)
    height, width = tl.zeros([EVENTS], tl.int32), tl.zeros([EVENTS], tl.int32)
    for first in range(start + tl.program_id(1) * EVENTS, end, tl.num_programs(1) * EVENTS):
        event = first + tl.arange(0, EVENTS)
        height = tl.maximum(height, tl.load(y_ptr + event, mask=event < end, other=0).to(tl.int32) + 1)
        width = tl.maximum(width, tl.load(x_ptr + event, mask=event < end, other=0).to(tl.int32) + 1)
    tl.atomic_max(extents_ptr + 2 * index, tl.max(height, axis=0), sem="relaxed")
    tl.atomic_max(extents_ptr + 2 * index + 1, tl.max(width, axis=0), sem="relaxed")


def extents(x: torch.Tensor, y: torch.Tensor, slices: int) -> torch.Tensor:
    """[slices, 2] int32: height and width. Waits for nothing.

    Args:
        x, y: [events] uint16, in order of time, on the device; at least one for each slice.

    Raises:
        ValueError: wrong types, fewer events than slices, or more than MOST_EVENTS.
    """
    require_events((x, torch.uint16), (y, torch.uint16))
    require_slices(x, slices)
    return torch.as_tensor(_operator(x, y, slices))


def sizes(x: torch.Tensor, y: torch.Tensor, slices: int) -> list[Size]:
    """Extents as numbers of Python. Waits for the device."""
    return as_sizes(extents(x, y, slices))


def as_sizes(extents: torch.Tensor) -> list[Size]:
    """[slices, 2] on the device -> heights and widths. Waits for the device."""
    return [(height, width) for height, width in extents.tolist()]


def _launch(x: torch.Tensor, y: torch.Tensor, slices: int) -> torch.Tensor:
    each, longest, total = event_slices.lengths(x, slices)
    found = torch.zeros((slices, 2), dtype=torch.int32, device=x.device)
    grid = event_slices.grid(slices, longest)
    extents_kernel[grid](x, y, found, each, slices, total, EVENTS=event_slices.EVENTS, num_warps=WARPS)
    return found


_operator = register(
    "extents(Tensor x, Tensor y, int slices) -> Tensor", _launch, lambda x, y, slices: x.new_empty((slices, 2), dtype=torch.int32)
)


def reference(x: torch.Tensor, y: torch.Tensor, slices: int) -> torch.Tensor:
    """Reference of `extents` in PyTorch, slice by slice."""
    each = len(x) // slices
    bounds = [(index * each, len(x) if index == slices - 1 else (index + 1) * each) for index in range(slices)]
    largest = [[int(line[start:end].int().max()) + 1 for line in (y, x)] for start, end in bounds]
    return torch.tensor(largest, dtype=torch.int32, device=x.device)
