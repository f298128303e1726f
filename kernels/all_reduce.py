"""A vector, or a few, of which each GPU has a part of the sum, or some of the columns: summed up, or put side by side, on all of them.

    sum:     y[v, c]               = sum over ranks k of  x_k[v, c]  (+ residual[v, c])
    gather:  y[v, k * columns + c] = x_k[v, c]

    x_k: [vectors, columns] on the GPU of rank k;  residual: [vectors, columns];  y: [vectors, columns], or all columns side by side

A few thousand values are less to send than it is to agree on when they are there. So nobody agrees on anything: a rank writes its values
into a box that every other rank has for it, four bytes at a time, and beside them, in the same store of eight bytes, the number of the
turn. Who waits reads its own boxes until all that is in them has that number. A box is written to again when its owner has taken part in
another exchange since, and so has read it. Every rank sums in float32 and in the order of the ranks: all have the same bits.

A launch outside of a CUDA graph that is being captured exchanges nothing, and takes its boxes for what the others sent: one thread launches
for one GPU after the other, as kernels are compiled or memory is allocated, and would wait for a kernel that it has not launched yet.

Source: NCCL's protocol LL, as told by Hu et al. 2025, arXiv 2507.04786.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.dependent_launch import launch_options
from evbench.kernels.registration import register

BLOCK, WARPS = 256, 2
"""Words of four bytes that a program exchanges, and its warps: 16 bytes, and as much again of turns, for each thread."""
WORD = 4
"""Bytes that are sent beside the number of a turn."""


@triton.jit(do_not_specialize=["exchange"])
def all_reduce_kernel(
    x_ptr,  # [words] int32: two bfloat16 or one float32 each
    residual_ptr,  # [words] int32
    y_ptr,  # [words] int32; gathered, [RANKS * words]
    boxes_ptr,  # [RANKS] int64: where the boxes of each rank are
    box_ptr,  # [RANKS, words] int64: those of this rank, by who writes into them
    turns_ptr,  # [programs] int32: the last turn of each
    words,
    row,  # words of a vector
    exchange,  # 0: neither send nor wait
    RANK: tl.constexpr,
    RANKS: tl.constexpr,
    HALVES: tl.constexpr,
    GATHER: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
    program = tl.program_id(0)
    word = program * BLOCK + tl.arange(0, BLOCK)
    mask = word < words
    if DEPENDENT:
        gdc_wait()
    turn = tl.load(turns_ptr + program) + 1
    own = tl.load(x_ptr + word, mask=mask, other=0)
    if exchange != 0:
        sent = (turn.to(tl.int64) << 32) | (own.to(tl.int64) & 0xFFFFFFFF)
        for rank in tl.static_range(RANKS):
            if rank != RANK:
                theirs = tl.multiple_of(tl.load(boxes_ptr + rank).to(tl.pointer_type(tl.int64)), 16)
                tl.store(theirs + RANK * words + word, sent, mask=mask)
    low = tl.zeros([BLOCK], tl.float32)  # of two halves the one at the lower address; or the whole
    high = tl.zeros([BLOCK], tl.float32)
    for rank in tl.static_range(RANKS):
        found = own
        if rank != RANK:
            found = _received(box_ptr + rank * words + word, mask, turn, exchange)
        if GATHER:
            tl.store(y_ptr + (word // row) * (RANKS * row) + rank * row + word % row, found, mask=mask)
        else:
            low += _low(found, HALVES)
            high += _high(found, HALVES)
    if not GATHER:
        if RESIDUAL:
            residual = tl.load(residual_ptr + word, mask=mask, other=0)
            low += _low(residual, HALVES)
            high += _high(residual, HALVES)
        tl.store(y_ptr + word, _word(low, high, HALVES), mask=mask)
    if exchange != 0:
        tl.store(turns_ptr + program, turn)  # all threads have read it: they have met since


@triton.jit
def _received(ptrs, mask, turn, exchange):
    """What is in a box, as soon as all of it is of this turn."""
    found = tl.load(ptrs, mask=mask, other=0, volatile=True)
    waiting = exchange
    while waiting != 0:
        found = tl.load(ptrs, mask=mask, other=0, volatile=True)
        missing = mask & ((found >> 32).to(tl.int32) != turn)
        waiting = tl.max(missing.to(tl.int32), axis=0)
    return found.to(tl.int32)


@triton.jit
def _low(word, HALVES: tl.constexpr):
    return (word << 16).to(tl.float32, bitcast=True) if HALVES else word.to(tl.float32, bitcast=True)


@triton.jit
def _high(word, HALVES: tl.constexpr):
    """A bfloat16 is the upper half of a float32."""
    return (word & -65536).to(tl.float32, bitcast=True) if HALVES else tl.zeros_like(word).to(tl.float32)


@triton.jit
def _word(low, high, HALVES: tl.constexpr):
    if HALVES:
        lower = low.to(tl.bfloat16).to(tl.int16, bitcast=True).to(tl.int32) & 0xFFFF
        return (high.to(tl.bfloat16).to(tl.int16, bitcast=True).to(tl.int32) << 16) | lower
    return low.to(tl.int32, bitcast=True)


@dataclass(frozen=True)
class Boxes:
    """What one rank needs of one exchange, which is in the same place of every step."""

    rank: int
    addresses: torch.Tensor
    """[ranks] int64: where the boxes of each rank are, on this one's device."""
    own: torch.Tensor
    """[ranks, words] int64: what was sent to this one, and when."""
    turns: torch.Tensor
    """[programs] int32."""


def boxes(devices: Sequence[torch.device], words: int) -> list[Boxes]:
    """Of each rank, for vectors of so many words together. The devices can reach each other's memory."""
    own = [torch.zeros((len(devices), words), dtype=torch.int64, device=device) for device in devices]
    addresses = torch.tensor([found.data_ptr() for found in own])
    programs = math.ceil(words / BLOCK)
    return [
        Boxes(rank, addresses.to(device), own[rank], torch.zeros(programs, dtype=torch.int32, device=device))
        for rank, device in enumerate(devices)
    ]


def words_of(vectors: int, columns: int, dtype: torch.dtype) -> int:
    """How many words so many vectors are. Raises ValueError if one of them is not a number of whole words, or of another type."""
    if dtype not in (torch.bfloat16, torch.float32) or columns * dtype.itemsize % WORD:
        raise ValueError(f"vectors of bfloat16 or float32 and of whole words of {WORD} bytes are exchanged, not {columns} of {dtype}")
    return vectors * columns * dtype.itemsize // WORD


def all_reduce(x: torch.Tensor, residual: torch.Tensor | None, at: Boxes) -> torch.Tensor:
    """The sum of what all ranks call this with, [vectors, columns] in the type of x. All have to.

    Args:
        x: [vectors, columns], contiguous.
        residual: [vectors, columns], contiguous, added behind: equal on all ranks.

    Raises:
        ValueError: it is not so, or the boxes are of another size.
    """
    if residual is not None and not (residual.shape == x.shape and residual.is_contiguous() and residual.dtype == x.dtype):
        raise ValueError(f"a residual must be contiguous {x.dtype} {tuple(x.shape)}, not {residual.dtype} {tuple(residual.shape)}")
    return _called(x, residual, at, gather=False)


def all_gather(x: torch.Tensor, at: Boxes) -> torch.Tensor:
    """The columns of all ranks side by side, [vectors, ranks * columns]. All have to call this. Raises as `all_reduce`."""
    return _called(x, None, at, gather=True)


def _called(x: torch.Tensor, residual: torch.Tensor | None, at: Boxes, *, gather: bool) -> torch.Tensor:
    if not x.is_contiguous() or words_of(x.shape[0], x.shape[1], x.dtype) != at.own.shape[1]:
        raise ValueError(f"{tuple(x.shape)} {x.dtype} of the strides {x.stride()} does not fill boxes of {at.own.shape[1]} words")
    return torch.as_tensor(_operator(x, residual, at.addresses, at.own, at.turns, at.rank, gather))


def exchanges(device: torch.device) -> bool:
    """Whether what is launched now is launched on all GPUs before anything is waited for."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _launch(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    addresses: torch.Tensor,
    own: torch.Tensor,
    turns: torch.Tensor,
    rank: int,
    gather: bool,
) -> torch.Tensor:
    y = _fake(x, residual, addresses, own, turns, rank, gather)
    launch(x, residual, y, addresses, own, turns, rank, gather, exchanges(x.device))
    return y


def launch(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    y: torch.Tensor,
    addresses: torch.Tensor,
    own: torch.Tensor,
    turns: torch.Tensor,
    rank: int,
    gather: bool,
    exchange: bool,
) -> None:
    """The kernel on tensors that fit. Only tests say whether it exchanges."""
    ranks, words = own.shape
    all_reduce_kernel[(math.ceil(words / BLOCK),)](
        x.view(torch.int32),
        (x if residual is None else residual).view(torch.int32),  # in the place of none, something that is not read
        y.view(torch.int32),
        addresses,
        own,
        turns,
        words,
        words // x.shape[0],
        int(exchange),
        RANK=rank,
        RANKS=ranks,
        HALVES=x.dtype == torch.bfloat16,
        GATHER=gather,
        RESIDUAL=residual is not None,
        BLOCK=BLOCK,
        num_warps=WARPS,
        **launch_options(x.device),
    )


def _fake(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    addresses: torch.Tensor,
    own: torch.Tensor,
    turns: torch.Tensor,
    rank: int,
    gather: bool,
) -> torch.Tensor:
    return x.new_empty((x.shape[0], x.shape[1] * (own.shape[0] if gather else 1)))


_operator = register(
    "all_reduce(Tensor x, Tensor? residual, Tensor addresses, Tensor(a!) own, Tensor(b!) turns, int rank, bool gather) -> Tensor",
    _launch,
    _fake,
)


def reference(parts: Sequence[torch.Tensor], residual: torch.Tensor | None = None) -> torch.Tensor:
    """Reference of `all_reduce` in PyTorch, given what each rank has, on one device."""
    added = list(parts) if residual is None else [*parts, residual]
    total = torch.zeros_like(parts[0], dtype=torch.float32)
    for part in added:
        total = total + part.float()
    return total.to(parts[0].dtype)
