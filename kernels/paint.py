"""Each pixel's last event -> the picture.

    pictures[..., row, column] = GROUND if last[..., row, column] < 0, else PALETTE[last[..., row, column] & 1]
                                 blue where it got darker, red where brighter, white where no event was

    last: [..., height, width] int32, as evbench.kernels.last_events finds them;  pictures: [..., height, width, 3] uint8, RGB

Source: XduSyL/EventGPT:common/common.py.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from evbench.kernels.registration import register

BYTES = 1024
"""Of the pictures that a program paints."""
GROUND = (255, 255, 255)
PALETTE = ((0, 0, 255), (255, 0, 0))
"""RGB where no event was; of polarity 0 and of any other."""


@triton.jit(do_not_specialize=["total"])
def paint_kernel(
    last_ptr,  # [total / 3]
    pictures_ptr,  # [total], three bytes for a pixel
    total,
    BYTES: tl.constexpr,
):
    byte = tl.program_id(0).to(tl.int64) * BYTES + tl.arange(0, BYTES)
    mask = byte < total
    event = tl.load(last_ptr + byte // 3, mask=mask, other=-1)
    # Of three bytes, one is 255: the last where it got darker, the first where brighter. Of the ground all are.
    channel = tl.where((event & 1) == 0, 2, 0)
    tl.store(pictures_ptr + byte, tl.where((event < 0) | (byte % 3 == channel), 255, 0).to(tl.uint8), mask=mask)


def paint(last: torch.Tensor) -> torch.Tensor:
    """[..., height, width, 3] uint8, RGB.

    Args:
        last: [..., height, width] int32, contiguous.

    Raises:
        ValueError: it is not so.
    """
    if last.dtype != torch.int32 or not last.is_contiguous():
        raise ValueError(f"last events must be contiguous int32, not {last.dtype} {tuple(last.shape)} {last.stride()}")
    return torch.as_tensor(_operator(last))


def _launch(last: torch.Tensor) -> torch.Tensor:
    pictures = _fake(last)
    paint_kernel[(math.ceil(pictures.numel() / BYTES),)](last, pictures, pictures.numel(), BYTES=BYTES)
    return pictures


def _fake(last: torch.Tensor) -> torch.Tensor:
    return last.new_empty((*last.shape, 3), dtype=torch.uint8)


_operator = register("paint(Tensor last) -> Tensor", _launch, _fake)


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


def reference(last: torch.Tensor) -> torch.Tensor:
    """Reference of `paint` in PyTorch."""
    colours = torch.tensor([*PALETTE, GROUND], dtype=torch.uint8, device=last.device)
    return colours[torch.where(last < 0, 2, last & 1).long()]
