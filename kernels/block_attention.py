"""Attention of a few new tokens over a cache that holds their own keys and values already: what a pass over drafted tokens does.

    y[q, h]  = softmax over s <= p + q of (query[q, h] . keys[s] / sqrt(size)) . values[s]

    query, y: [batch, COUNT, heads, size], of the positions p, p + 1 ...;  keys, values: [batch, key_heads, capacity, size]

As `evbench.kernels.decode_attention`: the slots are split, and the queries of all tokens and heads that share the keys are rows of one
product. Which slots are summed up together depends on the slot alone, and not on the position or on COUNT. So a token's row is the same,
bit for bit, whatever is drafted behind it.

Source: as there.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.carveout import OF_SEVERAL, set_carveout
from evbench.kernels.decode_attention import LEAST_ROWS, LOG2_E, LOWEST, merged, split_slots, updated
from evbench.kernels.dependent_launch import launch_options
from evbench.kernels.registration import register

PROGRAMS = 264
"""At most, if one for each key head is fewer: two for each multiprocessor of an H200. What each leaves is read for each token."""
SLOTS = 64
"""Of the cache that a program reads at a time."""
STAGES, WARPS = 2, 4


@triton.jit
def block_attention_kernel(
    query_ptr,  # [batch, COUNT, HEADS, SIZE]
    keys_ptr,  # [batch, KEY_HEADS, capacity, SIZE]
    values_ptr,  # [batch, KEY_HEADS, capacity, SIZE]
    position_ptr,  # [1]
    y_ptr,  # [batch, COUNT, HEADS, SIZE]
    partial_ptr,  # [batch * HEADS * COUNT, SPLITS, SIZE + 2] float32: weighted values, greatest score, sum of weights
    arrived_ptr,  # [batch * KEY_HEADS] int32: programs of a key head that are done; 0 before and after
    capacity,
    scale,  # of scores, which are exponents of 2
    COUNT: tl.constexpr,
    HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    ROWS: tl.constexpr,  # power of two, COUNT * HEADS / KEY_HEADS or more
    SIZE: tl.constexpr,
    SLOTS: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT_SLOTS: tl.constexpr,
    SPLITS: tl.constexpr,
    SPLITS_POWER: tl.constexpr,  # power of two, SPLITS or more
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
    split, plane = tl.program_id(0), tl.program_id(1)
    sample, key_head = plane // KEY_HEADS, plane % KEY_HEADS
    GROUP: tl.constexpr = HEADS // KEY_HEADS
    MEMBERS: tl.constexpr = GROUP * COUNT
    dim = tl.arange(0, SIZE)
    member = tl.arange(0, ROWS)  # of the queries that share the keys: head by head, its tokens
    member_mask = member < MEMBERS
    row = (sample * COUNT + member % COUNT) * HEADS + key_head * GROUP + member // COUNT  # of query and y
    cache_offset = plane.to(tl.int64) * capacity * SIZE
    # Ahead of the wait: the position, and what is in the cache before it, were written by an earlier pass.
    position = tl.load(position_ptr).to(tl.int32)
    last = position + member % COUNT  # [ROWS], the slot that a row sees last
    start = split * SPLIT_SLOTS
    end = tl.minimum(start + SPLIT_SLOTS, position + COUNT)
    slot = start + tl.arange(0, SLOTS)
    offsets = cache_offset + slot[:, None] * SIZE + dim[None, :]  # [SLOTS, SIZE], as the keys and values
    mask = (slot < tl.minimum(end, position))[:, None]
    key = tl.load(keys_ptr + offsets, mask=mask, other=0.0)
    value = tl.load(values_ptr + offsets, mask=mask, other=0.0)
    if DEPENDENT:
        gdc_wait()
    if start + SLOTS > position:
        key = tl.load(keys_ptr + offsets, mask=(slot < end)[:, None], other=0.0)
        value = tl.load(values_ptr + offsets, mask=(slot < end)[:, None], other=0.0)
    query = tl.load(query_ptr + row[:, None] * SIZE + dim[None, :], mask=member_mask[:, None], other=0.0)  # [ROWS, SIZE]

    # row_max, row_sum: [ROWS]; acc: [ROWS, SIZE]
    row_max, row_sum = tl.full([ROWS], LOWEST, tl.float32), tl.zeros([ROWS], tl.float32)
    acc = tl.zeros([ROWS, SIZE], tl.float32)
    seen = (slot < end)[None, :] & (slot[None, :] <= last[:, None])
    row_max, row_sum, acc = updated(query, key, value, seen, scale, row_max, row_sum, acc)
    for step in tl.range(start + SLOTS, end, SLOTS, num_stages=STAGES):
        slot = step + tl.arange(0, SLOTS)
        offsets = cache_offset + slot[:, None] * SIZE + dim[None, :]
        key = tl.load(keys_ptr + offsets, mask=(slot < end)[:, None], other=0.0)
        value = tl.load(values_ptr + offsets, mask=(slot < end)[:, None], other=0.0)
        seen = (slot < end)[None, :] & (slot[None, :] <= last[:, None])
        row_max, row_sum, acc = updated(query, key, value, seen, scale, row_max, row_sum, acc)

    split_ptr = partial_ptr + ((plane * MEMBERS + member) * SPLITS + split) * (SIZE + 2)  # [ROWS]
    tl.store(split_ptr[:, None] + dim[None, :], acc, mask=member_mask[:, None])
    tl.store(split_ptr + SIZE, row_max, mask=member_mask)
    tl.store(split_ptr + SIZE + 1, row_sum, mask=member_mask)

    # All threads' parts are written before this program is counted as done.
    tl.debug_barrier()
    done = tl.atomic_add(arrived_ptr + plane, 1, sem="acq_rel")
    if done == SPLITS - 1:
        tl.debug_barrier()
        for index in tl.static_range(MEMBERS):
            y = merged(partial_ptr + (plane * MEMBERS + index) * SPLITS * (SIZE + 2), SIZE, SPLITS, SPLITS_POWER)
            y_row = (sample * COUNT + index % COUNT) * HEADS + key_head * GROUP + index // COUNT
            tl.store(y_ptr + y_row * SIZE + dim, y.to(y_ptr.dtype.element_ty))
        tl.store(arrived_ptr + plane, 0)


class BlockAttention:
    """The operation for a cache of fixed size, with the memory that its programs meet in."""

    def __init__(self, batch: int, count: int, heads: int, key_heads: int, size: int, capacity: int, device: torch.device | str) -> None:
        """
        Args:
            count: new tokens of each sample.
            heads, key_heads: of the queries; of the keys and values, of which it is a multiple.
            size: of a head, a power of two.
            capacity: slots of the cache.

        Raises:
            ValueError: the size of a head is none that the kernel takes.
        """
        if size & (size - 1) or size < 16:
            raise ValueError(f"the size of a head must be a power of two from 16 on, not {size}")
        self._query, self._cache = (batch, count, heads, size), (batch, key_heads, capacity, size)
        splits = math.ceil(capacity / split_slots(batch * key_heads, capacity, SLOTS, PROGRAMS))
        self._partial = torch.empty((batch * heads * count, splits, size + 2), dtype=torch.float32, device=device)
        self._arrived = torch.zeros(batch * key_heads, dtype=torch.int32, device=device)

    def __call__(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """[batch, count, heads, size], in the type of the query.

        Args:
            query: [batch, count, heads, size], rotated; contiguous, as all of them.
            keys, values: [batch, key_heads, capacity, size], with those of the new tokens.
            position: [1] int64 on the device, of the first new token, at most capacity - count, which nobody looks at here.

        Raises:
            ValueError: other shapes, or a tensor is not contiguous.
        """
        tensors, shapes = (query, keys, values), (self._query, self._cache, self._cache)
        if any(tensor.shape != shape or not tensor.is_contiguous() for tensor, shape in zip(tensors, shapes, strict=True)):
            found = ", ".join(f"{tuple(tensor.shape)} {tensor.stride()}" for tensor in tensors)
            raise ValueError(f"query, keys and values must be contiguous and of the shapes {shapes}, not {found}")
        return torch.as_tensor(_operator(*tensors, position, self._partial, self._arrived))


def _launch(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    position: torch.Tensor,
    partial: torch.Tensor,
    arrived: torch.Tensor,
) -> torch.Tensor:
    (batch, key_heads, capacity, size), (count, heads) = keys.shape, query.shape[1:3]
    splits = partial.shape[1]
    y = torch.empty_like(query)
    launched = block_attention_kernel[(splits, batch * key_heads)](
        query,
        keys,
        values,
        position,
        y,
        partial,
        arrived,
        capacity,
        size**-0.5 * LOG2_E,
        COUNT=count,
        HEADS=heads,
        KEY_HEADS=key_heads,
        ROWS=max(LEAST_ROWS, triton.next_power_of_2(count * heads // key_heads)),
        SIZE=size,
        SLOTS=SLOTS,
        STAGES=STAGES,
        SPLIT_SLOTS=split_slots(batch * key_heads, capacity, SLOTS, PROGRAMS),
        SPLITS=splits,
        SPLITS_POWER=triton.next_power_of_2(splits),
        num_warps=WARPS,
        **launch_options(query.device),
    )
    set_carveout(launched, OF_SEVERAL)
    return y


_operator = register(
    "block_attention(Tensor query, Tensor keys, Tensor values, Tensor position, Tensor(a!) partial, Tensor(b!) arrived) -> Tensor",
    _launch,
    lambda query, keys, values, position, partial, arrived: torch.empty_like(query),
)


def reference(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, position: int) -> torch.Tensor:
    """Reference of `block_attention` in PyTorch."""
    count, heads = query.shape[1:3]
    slots = torch.arange(position + count, device=query.device)
    seen = slots <= position + torch.arange(count, device=query.device)[:, None]
    key, value = (cache[:, :, : position + count].float().repeat_interleave(heads // keys.shape[1], dim=1) for cache in (keys, values))
    y = torch.nn.functional.scaled_dot_product_attention(query.float().transpose(1, 2), key, value, attn_mask=seen)
    return y.transpose(1, 2).to(query.dtype)
