"""The activation of CLIP's vision tower, in place.

    x <- x * sigmoid(1.702 x) = x / (1 + exp(-1.702 x))                x: any shape, contiguous; computed in float32

Source: the sigmoid approximation of Hendrycks and Gimpel 2016 (arXiv 1606.08415), as openai/CLIP:clip/model.py has it (QuickGELU).
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.dependent_launch import launch_options
from evbench.kernels.registration import register

BLOCK, WARPS = 2048, 4
"""Elements of a program, and its warps: the fastest of those tried on an H200, for 2,056 and 2,885 rows of 4,096."""


@triton.jit
def quick_gelu_kernel(
    x_ptr,  # [elements]
    elements,
    BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < elements
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)  # x: [BLOCK]
    tl.store(x_ptr + offsets, (x / (1.0 + tl.exp(-1.702 * x))).to(x_ptr.dtype.element_ty), mask=mask)


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """In place; returns what it was given.

    Args:
        x: any shape, of a floating type, contiguous.

    Raises:
        ValueError: x is not contiguous.
    """
    if not x.is_contiguous():
        raise ValueError(f"x must be contiguous, not {tuple(x.shape)} with strides {x.stride()}")
    _operator(x)
    return x


def _launch(x: torch.Tensor) -> None:
    quick_gelu_kernel[(math.ceil(x.numel() / BLOCK),)](x, x.numel(), BLOCK=BLOCK, num_warps=WARPS, **launch_options(x.device))


# It returns nothing: torch.compile cannot make an operator functional that returns what it wrote to.
_operator = register("quick_gelu(Tensor(a!) x) -> ()", _launch, lambda x: None)


def reference(x: torch.Tensor) -> torch.Tensor:
    """Reference of `quick_gelu` in PyTorch, in the type of x, and not in place."""
    return x * torch.sigmoid(1.702 * x)
