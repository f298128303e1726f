"""Greedy decoding's choice, written where the next step reads it, behind a position that is known to the device alone.

    tokens[b, position + 1] <- argmax over t of  logits[b, t]                   the first of those that are the greatest

    logits: [batch, vocabulary];  tokens: [batch, capacity];  position: [1]

One program for each sample: 32,000 logits are read in less time than two programs would take to agree.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.dependent_launch import launch_options
from evbench.kernels.registration import register

BLOCK, WARPS = 16_384, 16
"""Logits that a program reads at a time, and its warps: 32 for each thread."""


@triton.jit
def greedy_token_kernel(
    logits_ptr,  # [batch, vocabulary]
    tokens_ptr,  # [batch, capacity]
    position_ptr,  # [1]
    vocabulary,
    capacity,
    BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()
    sample = tl.program_id(0).to(tl.int64)
    position = tl.load(position_ptr)
    greatest = -float("inf")
    token = 0
    for start in tl.range(0, vocabulary, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        logits = tl.load(logits_ptr + sample * vocabulary + offsets, mask=offsets < vocabulary, other=-float("inf")).to(tl.float32)
        value, index = tl.max(logits, axis=0, return_indices=True)
        token = tl.where(value > greatest, start + index, token)
        greatest = tl.maximum(value, greatest)
    tl.store(tokens_ptr + sample * capacity + position + 1, token)


def greedy_token(logits: torch.Tensor, tokens: torch.Tensor, position: torch.Tensor) -> None:
    """
    Args:
        logits: [batch, vocabulary], contiguous.
        tokens: [batch, capacity] int64, contiguous, written at `position + 1`.
        position: [1] int64 on the device, below the capacity - 1, which nobody looks at here.

    Raises:
        ValueError: a tensor is not contiguous.
    """
    if not (logits.is_contiguous() and tokens.is_contiguous()):
        raise ValueError(f"logits and tokens must be contiguous, not of the strides {logits.stride()} and {tokens.stride()}")
    _operator(logits, tokens, position)


def _launch(logits: torch.Tensor, tokens: torch.Tensor, position: torch.Tensor) -> None:
    (batch, vocabulary), capacity, options = logits.shape, tokens.shape[1], launch_options(logits.device)
    greedy_token_kernel[(batch,)](logits, tokens, position, vocabulary, capacity, BLOCK=BLOCK, num_warps=WARPS, **options)


_operator = register(
    "greedy_token(Tensor logits, Tensor(a!) tokens, Tensor position) -> ()", _launch, lambda logits, tokens, position: None
)


def reference(logits: torch.Tensor, tokens: torch.Tensor, position: torch.Tensor) -> None:
    """Reference of `greedy_token` in PyTorch."""
    tokens.index_copy_(1, position + 1, logits.argmax(dim=-1, keepdim=True))
