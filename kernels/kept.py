"""Keys and values as a cache holds them, for the kernels that write or read one: in their own type, or as float8_e4m3fn.

Its largest number is 448, and what is beyond it becomes that: as they come, larger ones would be none.

Source: Micikevicius et al. 2022, arXiv 2209.05433 (e4m3).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

LARGEST = 448.0
_LARGEST = tl.constexpr(LARGEST)


@triton.jit
def stored(x, cache_dtype: tl.constexpr, QUANTIZED: tl.constexpr):
    """As it is written into the cache. What is no number stays none."""
    if QUANTIZED:
        x = tl.clamp(x.to(tl.float32), -_LARGEST, _LARGEST, propagate_nan=tl.PropagateNan.ALL)
    return x.to(cache_dtype)


@triton.jit
def whole(x, dtype: tl.constexpr, QUANTIZED: tl.constexpr):
    """As it is read, in the type that it is multiplied in, which is float16 or float32 and holds each number of eight bits."""
    return x.to(dtype) if QUANTIZED else x


def rounded(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Reference of `stored` in PyTorch."""
    return (x.clamp(-LARGEST, LARGEST) if dtype is torch.float8_e4m3fn else x).to(dtype)
