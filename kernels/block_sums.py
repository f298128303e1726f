"""Sums over blocks of a vector: nothing but a read of memory, to measure how fast that can be.

    y[b] = sum over the elements of block b of x            x: [blocks * BLOCK * STEPS];  y: [blocks], float32

PyTorch's sum reads an H200's memory at 4.2 to 4.4 TB/s, this at 4.6.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from evbench.kernels.registration import register

BLOCK, STEPS, WARPS = 4096, 2, 4
"""Elements that a program reads at a time, how many times, all of them before it adds up anything, and its warps: the fastest of seven
tried on an H200."""


@triton.jit
def block_sums_kernel(
    x_ptr,  # [blocks * STEPS * BLOCK]
    y_ptr,  # [blocks]
    BLOCK: tl.constexpr,
    STEPS: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * (BLOCK * STEPS)
    total = tl.zeros([BLOCK], tl.float32)
    for step in tl.static_range(STEPS):
        total += tl.load(x_ptr + first + step * BLOCK + tl.arange(0, BLOCK)).to(tl.float32)
    tl.store(y_ptr + tl.program_id(0), tl.sum(total))


def block_sums(x: torch.Tensor) -> torch.Tensor:
    """Float32 [blocks].

    Args:
        x: [elements], of a floating type, contiguous, whole blocks of BLOCK * STEPS elements.

    Raises:
        ValueError: it is not so.
    """
    if x.ndim != 1 or not x.is_contiguous() or not x.numel() or x.numel() % (BLOCK * STEPS):
        raise ValueError(f"x must be one row of whole blocks of {BLOCK * STEPS} elements, not {tuple(x.shape)} of strides {x.stride()}")
    return torch.as_tensor(_operator(x))


def _launch(x: torch.Tensor) -> torch.Tensor:
    y = _fake(x)
    block_sums_kernel[(len(y),)](x, y, BLOCK=BLOCK, STEPS=STEPS, num_warps=WARPS)
    return y


def _fake(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.numel() // (BLOCK * STEPS), dtype=torch.float32)


_operator = register("block_sums(Tensor x) -> Tensor", _launch, _fake)


def reference(x: torch.Tensor) -> torch.Tensor:
    """Reference of `block_sums` in PyTorch."""
    return x.float().reshape(-1, BLOCK * STEPS).sum(dim=1)
