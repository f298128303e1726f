"""Attention of one new token over the keys and values before it, with its own written into the cache on the way.

    query, key    = rotated by the token's position p                      first half a, second half b: a cos - b sin, b cos + a sin
    keys[p]       = key;  values[p] = value
    y[h]          = softmax over s <= p of (query[h] . keys[s] / sqrt(size)) . values[s]

    projected: [batch, (heads + 2 key_heads) * size], queries, then keys, then values;  y: [batch, heads * size]
    keys, values: [batch, key_heads, capacity, size];  cosine, sine: [positions, size / 2]

One query reads all keys and values once and does next to nothing with them, so that its time is theirs to be read. A head by itself
would use a small part of the GPU: the slots are split, each program makes the softmax of its part, and the last one of a head to be done
puts the parts together. The position stays on the device, so that a CUDA graph holds for every token.

Source: Flash-Decoding, Dao et al. 2023 (https://crfm.stanford.edu/2023/10/12/flashdecoding.html); rotary embedding, Su et al. 2021,
arXiv 2104.09864, in the halves of GPT-NeoX.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from evbench.kernels.registration import register

PROGRAMS = 416
"""At most, if one for each head is fewer: about three for each multiprocessor of an H200, so that all run at the same time."""
SLOTS = 16
"""Of the cache that a program reads at a time."""
STAGES = 3
"""Such steps that are on their way at the same time. This, and the number of programs and warps, was the fastest of those tried there."""
WARPS = 1
LOG2_E = math.log2(math.e)


@triton.jit
def decode_attention_kernel(
    projected_ptr,  # [batch, (HEADS + 2 KEY_HEADS) * SIZE]
    keys_ptr,  # [batch, KEY_HEADS, capacity, SIZE]
    values_ptr,  # [batch, KEY_HEADS, capacity, SIZE]
    cosine_ptr,  # [positions, HALF]
    sine_ptr,  # [positions, HALF]
    position_ptr,  # [1]
    y_ptr,  # [batch, HEADS * SIZE]
    partial_ptr,  # [batch * HEADS, SPLITS, SIZE + 2] float32: weighted values, greatest score, sum of weights
    arrived_ptr,  # [batch * HEADS] int32: programs of a head that are done; 0 before and after
    capacity,
    scale,  # of scores, which are exponents of 2
    HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    HALF: tl.constexpr,  # of SIZE
    SLOTS: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT_SLOTS: tl.constexpr,
    SPLITS: tl.constexpr,
    SPLITS_POWER: tl.constexpr,  # power of two, SPLITS or more
):
    split, row = tl.program_id(0), tl.program_id(1)
    sample, head = row // HEADS, row % HEADS
    key_head = head // (HEADS // KEY_HEADS)
    SIZE: tl.constexpr = 2 * HALF
    LOWEST: tl.constexpr = -1.0e30
    half = tl.arange(0, HALF)
    position = tl.load(position_ptr)
    token_ptr = projected_ptr + sample * (HEADS + 2 * KEY_HEADS) * SIZE
    cosine, sine = tl.load(cosine_ptr + position * HALF + half), tl.load(sine_ptr + position * HALF + half)  # [HALF]
    cache_dtype = keys_ptr.dtype.element_ty

    # query_a, query_b: [HALF]
    a = tl.load(token_ptr + head * SIZE + half).to(tl.float32)
    b = tl.load(token_ptr + head * SIZE + HALF + half).to(tl.float32)
    query_a = (a * cosine - b * sine) * scale
    query_b = (b * cosine + a * sine) * scale

    # Each slot of a step has a softmax of its own, so that nothing passes between threads until all steps are done.
    start = split * SPLIT_SLOTS
    plane = (sample * KEY_HEADS + key_head).to(tl.int64) * capacity * SIZE
    slot_max = tl.full([SLOTS], LOWEST, tl.float32)
    slot_sum = tl.zeros([SLOTS], tl.float32)
    acc_a = tl.zeros([SLOTS, HALF], tl.float32)
    acc_b = tl.zeros([SLOTS, HALF], tl.float32)
    for step in tl.range(start, tl.minimum(start + SPLIT_SLOTS, position), SLOTS, num_stages=STAGES):
        slot = step + tl.arange(0, SLOTS)
        mask = slot < position
        offsets = plane + slot[:, None] * SIZE + half[None, :]  # [SLOTS, HALF], as the keys and values
        key_a = tl.load(keys_ptr + offsets, mask=mask[:, None], other=0.0).to(tl.float32)
        key_b = tl.load(keys_ptr + offsets + HALF, mask=mask[:, None], other=0.0).to(tl.float32)
        value_a = tl.load(values_ptr + offsets, mask=mask[:, None], other=0.0).to(tl.float32)
        value_b = tl.load(values_ptr + offsets + HALF, mask=mask[:, None], other=0.0).to(tl.float32)
        scores = tl.sum(key_a * query_a[None, :] + key_b * query_b[None, :], axis=1)  # [SLOTS]
        scores = tl.where(mask, scores, LOWEST)
        new_max = tl.maximum(slot_max, scores)
        decay = tl.exp2(slot_max - new_max)
        weights = tl.where(mask, tl.exp2(scores - new_max), 0.0)
        slot_sum = slot_sum * decay + weights
        acc_a = acc_a * decay[:, None] + weights[:, None] * value_a
        acc_b = acc_b * decay[:, None] + weights[:, None] * value_b
        slot_max = new_max

    # The new token's key and value are not in the cache yet. The program of its slot has them from the projection.
    holds_new = (start <= position) & (position < start + SPLIT_SLOTS)
    new_key_ptr = token_ptr + (HEADS + key_head) * SIZE + half
    a, b = tl.load(new_key_ptr).to(tl.float32), tl.load(new_key_ptr + HALF).to(tl.float32)
    new_key_a = (a * cosine - b * sine).to(cache_dtype)
    new_key_b = (b * cosine + a * sine).to(cache_dtype)
    new_value_a = tl.load(new_key_ptr + KEY_HEADS * SIZE).to(cache_dtype)
    new_value_b = tl.load(new_key_ptr + KEY_HEADS * SIZE + HALF).to(cache_dtype)
    if holds_new & (head % (HEADS // KEY_HEADS) == 0):
        new_offsets = plane + position * SIZE + half
        tl.store(keys_ptr + new_offsets, new_key_a)
        tl.store(keys_ptr + new_offsets + HALF, new_key_b)
        tl.store(values_ptr + new_offsets, new_value_a)
        tl.store(values_ptr + new_offsets + HALF, new_value_b)
    new_score = tl.sum(new_key_a.to(tl.float32) * query_a + new_key_b.to(tl.float32) * query_b, axis=0)

    split_max = tl.max(slot_max, axis=0)
    split_max = tl.where(holds_new, tl.maximum(split_max, new_score), split_max)
    slot_decay = tl.exp2(slot_max - split_max)
    new_weight = tl.where(holds_new, tl.exp2(new_score - split_max), 0.0)
    split_ptr = partial_ptr + (row * SPLITS + split) * (SIZE + 2)
    tl.store(split_ptr + half, tl.sum(slot_decay[:, None] * acc_a, axis=0) + new_weight * new_value_a.to(tl.float32))
    tl.store(split_ptr + HALF + half, tl.sum(slot_decay[:, None] * acc_b, axis=0) + new_weight * new_value_b.to(tl.float32))
    tl.store(split_ptr + SIZE, split_max)
    tl.store(split_ptr + SIZE + 1, tl.sum(slot_decay * slot_sum, axis=0) + new_weight)

    # All threads' parts are written before this program is counted as done.
    tl.debug_barrier()
    done = tl.atomic_add(arrived_ptr + row, 1, sem="acq_rel")
    if done == SPLITS - 1:
        tl.debug_barrier()
        index = tl.arange(0, SPLITS_POWER)
        split_mask = index < SPLITS
        split_ptrs = partial_ptr + (row * SPLITS + index) * (SIZE + 2)  # [SPLITS_POWER]
        # From the second-level cache, where other programs' writes are.
        split_maxs = tl.load(split_ptrs + SIZE, mask=split_mask, other=LOWEST, cache_modifier=".cg")
        split_sums = tl.load(split_ptrs + SIZE + 1, mask=split_mask, other=0.0, cache_modifier=".cg")
        split_decay = tl.exp2(split_maxs - tl.max(split_maxs, axis=0))
        row_sum = tl.sum(split_decay * split_sums, axis=0)
        # split_a, split_b: [SPLITS_POWER, HALF]
        split_a = tl.load(split_ptrs[:, None] + half[None, :], mask=split_mask[:, None], other=0.0, cache_modifier=".cg")
        split_b = tl.load(split_ptrs[:, None] + HALF + half[None, :], mask=split_mask[:, None], other=0.0, cache_modifier=".cg")
        y_a = tl.sum(split_decay[:, None] * split_a, axis=0) / row_sum
        y_b = tl.sum(split_decay[:, None] * split_b, axis=0) / row_sum
        head_ptr = y_ptr + sample * HEADS * SIZE + head * SIZE + half
        tl.store(head_ptr, y_a.to(y_ptr.dtype.element_ty))
        tl.store(head_ptr + HALF, y_b.to(y_ptr.dtype.element_ty))
        tl.store(arrived_ptr + row, 0)


class DecodeAttention:
    """The operation for a cache of fixed size, with the memory that its programs meet in."""

    def __init__(self, batch: int, heads: int, key_heads: int, size: int, capacity: int, device: torch.device | str) -> None:
        """
        Args:
            heads, key_heads: of the queries; of the keys and values, of which it is a multiple.
            size: of a head, a power of two.
            capacity: slots of the cache.

        Raises:
            ValueError: the size of a head is none that the kernel takes.
        """
        if size & (size - 1) or size < 16:
            raise ValueError(f"the size of a head must be a power of two from 16 on, not {size}")
        self._heads = heads
        self._projected, self._cache = (batch, (heads + 2 * key_heads) * size), (batch, key_heads, capacity, size)
        splits = math.ceil(capacity / _split_slots(batch * heads, capacity))
        self._partial = torch.empty((batch * heads, splits, size + 2), dtype=torch.float32, device=device)
        self._arrived = torch.zeros(batch * heads, dtype=torch.int32, device=device)

    def __call__(
        self,
        projected: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        position: torch.Tensor,
    ) -> torch.Tensor:
        """[batch, heads * size], in the type of `projected`.

        Args:
            projected: [batch, (heads + 2 * key_heads) * size], contiguous, as all of them.
            keys, values: [batch, key_heads, capacity, size], written at `position`.
            cosine, sine: [positions, size / 2] float32.
            position: [1] int64 on the device, below the capacity and the number of positions, which nobody looks at here.

        Raises:
            ValueError: other shapes, or a tensor is not contiguous.
        """
        tensors = projected, keys, values, cosine, sine
        table = (cosine.shape[0], self._cache[3] // 2)
        shapes = self._projected, self._cache, self._cache, table, table
        if any(tensor.shape != shape or not tensor.is_contiguous() for tensor, shape in zip(tensors, shapes, strict=True)):
            found = ", ".join(f"{tuple(tensor.shape)} {tensor.stride()}" for tensor in tensors)
            raise ValueError(f"projected, keys, values, cosine and sine must be contiguous and of the shapes {shapes}, not {found}")
        return torch.as_tensor(_operator(*tensors, position, self._partial, self._arrived, self._heads))


def _split_slots(rows: int, capacity: int) -> int:
    """Slots that a program reads, if so many heads of all samples are to be shared out."""
    return SLOTS * math.ceil(math.ceil(capacity / SLOTS) / max(1, PROGRAMS // rows))


def _launch(
    projected: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    position: torch.Tensor,
    partial: torch.Tensor,
    arrived: torch.Tensor,
    heads: int,
) -> torch.Tensor:
    batch, key_heads, capacity, size = keys.shape
    splits = partial.shape[1]
    y = projected.new_empty((batch, heads * size))
    decode_attention_kernel[(splits, batch * heads)](
        projected,
        keys,
        values,
        cosine,
        sine,
        position,
        y,
        partial,
        arrived,
        capacity,
        size**-0.5 * LOG2_E,
        HEADS=heads,
        KEY_HEADS=key_heads,
        HALF=size // 2,
        SLOTS=SLOTS,
        STAGES=STAGES,
        SPLIT_SLOTS=_split_slots(batch * heads, capacity),
        SPLITS=splits,
        SPLITS_POWER=triton.next_power_of_2(splits),
        num_warps=WARPS,
    )
    return y


_operator = register(
    "decode_attention(Tensor projected, Tensor(a!) keys, Tensor(b!) values, Tensor cosine, Tensor sine, Tensor position,"
    " Tensor(c!) partial, Tensor(d!) arrived, int heads) -> Tensor",
    _launch,
    lambda projected, keys, values, cosine, sine, position, partial, arrived, heads: projected.new_empty(
        (keys.shape[0], heads * keys.shape[3])
    ),
)


def reference(
    projected: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    position: int,
    heads: int,
) -> torch.Tensor:
    """Reference of `decode_attention` in PyTorch. Writes the cache, as the kernel does."""
    batch, key_heads, _, size = keys.shape
    query, key, value = projected.view(batch, -1, size).float().split([heads, key_heads, key_heads], dim=1)
    cosine, sine = torch.cat([cosine[position]] * 2), torch.cat([sine[position]] * 2)

    def rotated(x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, dim=-1)
        return x * cosine + torch.cat([-b, a], dim=-1) * sine

    keys[:, :, position], values[:, :, position] = rotated(key).to(keys.dtype), value.to(values.dtype)
    key, value = (cache[:, :, : position + 1].float().repeat_interleave(heads // key_heads, dim=1) for cache in (keys, values))
    y = torch.nn.functional.scaled_dot_product_attention(rotated(query)[:, :, None], key, value)
    return y[:, :, 0].flatten(1).to(projected.dtype)
