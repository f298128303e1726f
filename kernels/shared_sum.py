"""Large tensors, of which each GPU has a part of the sum: summed up on all of them, each doing its share.

    y[i]  =  sum over ranks k of  x_k[i]

    x_k: a tensor on the GPU of rank k;  y: of the same shape, on all of them

Each rank copies its part where the others can read it. They meet. Rank k sums up the values of its share, reading them from all ranks in
float32 and in the order of the ranks, and writes the sums to all. They meet again, and each has the whole. Each value is summed up once, so
that all have the same bits, and a rank reads and writes no more than a share of the tensor for each other rank, however many there are.

As with `evbench.kernels.all_reduce`, ranks wait for each other only in what is captured as a CUDA graph.

Source: Thakur, Rabenseifner and Gropp 2005, "Optimization of Collective Communication Operations in MPICH": reduce-scatter, then allgather.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from evbench.kernels.all_reduce import exchanges
from evbench.kernels.all_reduce import reference as reference
from evbench.kernels.registration import register

BLOCK, WARPS = 2048, 8
"""Values that a program sums up, and its warps: eight for each thread, 16 bytes in bfloat16."""


@triton.jit
def shared_sum_kernel(
    parts_ptr,  # [RANKS] int64: where the part of each rank is
    sums_ptr,  # [RANKS] int64: where each rank has the sums
    like_ptr,  # of the type of both
    first,  # value of this rank's share
    values,
    RANKS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    offsets = first + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < values
    acc = tl.zeros([BLOCK], tl.float32)
    for rank in tl.static_range(RANKS):
        part = tl.multiple_of(tl.load(parts_ptr + rank).to(tl.pointer_type(like_ptr.dtype.element_ty)), 16)
        # Not from the cache of the multiprocessor, which may have what was there before.
        acc += tl.load(part + offsets, mask=mask, other=0.0, cache_modifier=".cg").to(tl.float32)
    for rank in tl.static_range(RANKS):
        total = tl.multiple_of(tl.load(sums_ptr + rank).to(tl.pointer_type(like_ptr.dtype.element_ty)), 16)
        tl.store(total + offsets, acc.to(like_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["exchange"])
def meeting_kernel(
    flags_ptr,  # [RANKS] int64: where the flags of each rank are
    own_ptr,  # [RANKS] int32: flags of this one, by who sets them: how often they have come
    turn_ptr,  # [1] int32: how often this one has
    exchange,  # 0: nobody is waited for
    RANK: tl.constexpr,
    RANKS: tl.constexpr,
):
    """All ranks have come here, and what each had written before is there for the others."""
    if exchange != 0:
        turn = tl.load(turn_ptr) + 1
        for rank in tl.static_range(RANKS):
            if rank != RANK:
                theirs = tl.load(flags_ptr + rank).to(tl.pointer_type(tl.int32))
                tl.atomic_xchg(theirs + RANK, turn, sem="release", scope="sys")
        for rank in tl.static_range(RANKS):
            if rank != RANK:
                while tl.atomic_add(own_ptr + rank, 0, sem="acquire", scope="sys") < turn:
                    pass
        tl.store(turn_ptr, turn)


class Memory:
    """Where one rank has its part and the sums, and knows those of the others."""

    def __init__(self, rank: int, parts: Sequence[torch.Tensor], sums: Sequence[torch.Tensor], flags: Sequence[torch.Tensor]) -> None:
        """
        Args:
            parts, sums: of each rank, [capacity].
            flags: of each rank, [ranks] int32, zeros.
        """
        device = parts[rank].device
        self.rank, self.part, self.sums, self.flags = rank, parts[rank], sums[rank], flags[rank]
        self.turn = torch.zeros(1, dtype=torch.int32, device=device)
        self.addresses = torch.tensor([[one.data_ptr() for one in some] for some in (parts, sums, flags)]).to(device)
        """[3, ranks] int64: of parts, sums and flags."""

    @property
    def ranks(self) -> int:
        return self.flags.shape[0]


def memories(devices: Sequence[torch.device], capacity: int, dtype: torch.dtype) -> list[Memory]:
    """Of each rank, for tensors of so many values at most. The devices can reach each other's memory."""
    parts, sums = ([torch.zeros(capacity, dtype=dtype, device=device) for device in devices] for _ in range(2))
    flags = [torch.zeros(len(devices), dtype=torch.int32, device=device) for device in devices]
    return [Memory(rank, parts, sums, flags) for rank in range(len(devices))]


_places: list[Memory] = []
"""By their number, which is what the compiler sees of them: it neither copies them nor thinks that a call could be left out."""


def new_place(memory: Memory) -> int:
    """A number for `shared_sum`, which sums up in this memory until another is set."""
    _places.append(memory)
    return len(_places) - 1


def set_place(place: int, memory: Memory) -> None:
    """For what is launched from now on. What was captured before still uses the other, which its owner keeps."""
    _places[place] = memory


def shared_sum(x: torch.Tensor, place: int) -> torch.Tensor:
    """The sum of what all ranks call this with, contiguous, each with its own place. All have to.

    Raises:
        ValueError: the memory there is of another type or too small.
    """
    return torch.as_tensor(_operator(x, place))


def _launch(x: torch.Tensor, place: int) -> torch.Tensor:
    memory, values = _places[place], x.numel()
    if x.dtype != memory.part.dtype or values > memory.part.numel():
        raise ValueError(f"{memory.part.numel()} values of {memory.part.dtype} can be summed up there, not {values} of {x.dtype}")
    exchange = exchanges(x.device)
    memory.part[:values].view(x.shape).copy_(x)
    meet(memory, exchange)
    sum_share(memory, values)
    meet(memory, exchange)
    return memory.sums[:values].view(x.shape).clone()


def meet(memory: Memory, exchange: bool) -> None:
    meeting_kernel[(1,)](memory.addresses[2], memory.flags, memory.turn, int(exchange), RANK=memory.rank, RANKS=memory.ranks, num_warps=1)


def sum_share(memory: Memory, values: int) -> None:
    """Of the rank that the memory is of."""
    programs = math.ceil(values / (memory.ranks * BLOCK))
    shared_sum_kernel[(programs,)](
        memory.addresses[0], memory.addresses[1], memory.part, memory.rank * programs * BLOCK, values,
        RANKS=memory.ranks, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip


_operator = register("shared_sum(Tensor x, int place) -> Tensor", _launch, lambda x, place: x.new_empty(x.shape))
