"""Attention of one new token over the keys and values before it, with its own written into the cache on the way.

    query, key   = rotated by the token's position p                       first half x, second half y: x cos - y sin, y cos + x sin
    cache[p]     = key, value
    outputs[h]   = softmax over s <= p of (query[h] . keys[s] / sqrt(size)) . values[s]

One query reads all keys and values once and does next to nothing with them, so that its time is theirs to be read. A head by itself
would use a small part of the GPU: the slots are split, each program makes the softmax of its part, and the last one of a head to be done
puts the parts together (Flash-Decoding, Dao et al. 2023). The position stays on the device, so that a CUDA graph holds for every token.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

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
    projected,  # [batch, (heads + 2 key heads) * size]
    keys,  # [batch, key heads, capacity, size]
    values,
    cosine,  # [positions, size / 2]
    sine,
    position,  # [1]
    outputs,  # [batch, heads * size]
    parts,  # [batch * heads, splits, size + 2]: weighted values, greatest score, sum of weights
    arrived,  # [batch * heads]
    capacity,
    scale,  # of scores, which are exponents of 2
    HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    HALF: tl.constexpr,
    SLOTS: tl.constexpr,
    STAGES: tl.constexpr,
    PART: tl.constexpr,
    SPLITS: tl.constexpr,
    SPLITS_POWER: tl.constexpr,
):
    split, row = tl.program_id(0), tl.program_id(1)
    sample, head = row // HEADS, row % HEADS
    key_head = head // (HEADS // KEY_HEADS)
    SIZE: tl.constexpr = 2 * HALF
    LOWEST: tl.constexpr = -1.0e30
    half = tl.arange(0, HALF)
    now = tl.load(position)
    token = projected + sample * (HEADS + 2 * KEY_HEADS) * SIZE
    turn_cosine, turn_sine = tl.load(cosine + now * HALF + half), tl.load(sine + now * HALF + half)
    kind = keys.dtype.element_ty

    first = tl.load(token + head * SIZE + half).to(tl.float32)
    second = tl.load(token + head * SIZE + HALF + half).to(tl.float32)
    query_first = (first * turn_cosine - second * turn_sine) * scale
    query_second = (second * turn_cosine + first * turn_sine) * scale

    # Each slot of a step has a softmax of its own, so that nothing passes between threads until all steps are done.
    start = split * PART
    plane = (sample * KEY_HEADS + key_head).to(tl.int64) * capacity * SIZE
    peak = tl.full([SLOTS], LOWEST, tl.float32)
    total = tl.zeros([SLOTS], tl.float32)
    mixed_first = tl.zeros([SLOTS, HALF], tl.float32)
    mixed_second = tl.zeros([SLOTS, HALF], tl.float32)
    for step in tl.range(start, tl.minimum(start + PART, now), SLOTS, num_stages=STAGES):
        slot = step + tl.arange(0, SLOTS)
        before = slot < now
        place = plane + slot[:, None] * SIZE + half[None, :]
        key_first = tl.load(keys + place, mask=before[:, None], other=0.0).to(tl.float32)
        key_second = tl.load(keys + place + HALF, mask=before[:, None], other=0.0).to(tl.float32)
        value_first = tl.load(values + place, mask=before[:, None], other=0.0).to(tl.float32)
        value_second = tl.load(values + place + HALF, mask=before[:, None], other=0.0).to(tl.float32)
        scores = tl.sum(key_first * query_first[None, :] + key_second * query_second[None, :], axis=1)
        scores = tl.where(before, scores, LOWEST)
        greater = tl.maximum(peak, scores)
        decay = tl.exp2(peak - greater)
        weights = tl.where(before, tl.exp2(scores - greater), 0.0)
        total = total * decay + weights
        mixed_first = mixed_first * decay[:, None] + weights[:, None] * value_first
        mixed_second = mixed_second * decay[:, None] + weights[:, None] * value_second
        peak = greater

    # The new token's own key and value are not in the cache yet. The program of its slot has them from the projection.
    own = (start <= now) & (now < start + PART)
    ours = token + (HEADS + key_head) * SIZE + half
    first, second = tl.load(ours).to(tl.float32), tl.load(ours + HALF).to(tl.float32)
    turned_first = (first * turn_cosine - second * turn_sine).to(kind)
    turned_second = (second * turn_cosine + first * turn_sine).to(kind)
    new_first = tl.load(ours + KEY_HEADS * SIZE).to(kind)
    new_second = tl.load(ours + KEY_HEADS * SIZE + HALF).to(kind)
    if own & (head % (HEADS // KEY_HEADS) == 0):
        there = plane + now * SIZE + half
        tl.store(keys + there, turned_first)
        tl.store(keys + there + HALF, turned_second)
        tl.store(values + there, new_first)
        tl.store(values + there + HALF, new_second)
    new_score = tl.sum(turned_first.to(tl.float32) * query_first + turned_second.to(tl.float32) * query_second, axis=0)

    greatest = tl.max(peak, axis=0)
    greatest = tl.where(own, tl.maximum(greatest, new_score), greatest)
    shares = tl.exp2(peak - greatest)
    new_weight = tl.where(own, tl.exp2(new_score - greatest), 0.0)
    mine = parts + (row * SPLITS + split) * (SIZE + 2)
    tl.store(mine + half, tl.sum(shares[:, None] * mixed_first, axis=0) + new_weight * new_first.to(tl.float32))
    tl.store(mine + HALF + half, tl.sum(shares[:, None] * mixed_second, axis=0) + new_weight * new_second.to(tl.float32))
    tl.store(mine + SIZE, greatest)
    tl.store(mine + SIZE + 1, tl.sum(shares * total, axis=0) + new_weight)

    # All threads' parts are written before this program is counted as done.
    tl.debug_barrier()
    done = tl.atomic_add(arrived + row, 1, sem="acq_rel")
    if done == SPLITS - 1:
        tl.debug_barrier()
        index = tl.arange(0, SPLITS_POWER)
        known = index < SPLITS
        of_split = parts + (row * SPLITS + index) * (SIZE + 2)
        # From the second-level cache, where other programs' writes are.
        peaks = tl.load(of_split + SIZE, mask=known, other=LOWEST, cache_modifier=".cg")
        totals = tl.load(of_split + SIZE + 1, mask=known, other=0.0, cache_modifier=".cg")
        portions = tl.exp2(peaks - tl.max(peaks, axis=0))
        whole = tl.sum(portions * totals, axis=0)
        split_first = tl.load(of_split[:, None] + half[None, :], mask=known[:, None], other=0.0, cache_modifier=".cg")
        split_second = tl.load(of_split[:, None] + HALF + half[None, :], mask=known[:, None], other=0.0, cache_modifier=".cg")
        made_first = tl.sum(portions[:, None] * split_first, axis=0) / whole
        made_second = tl.sum(portions[:, None] * split_second, axis=0) / whole
        target = outputs + sample * HEADS * SIZE + head * SIZE + half
        tl.store(target, made_first.to(outputs.dtype.element_ty))
        tl.store(target + HALF, made_second.to(outputs.dtype.element_ty))
        tl.store(arrived + row, 0)


class DecodeAttention:
    """The operation for a cache of fixed size, with the memory that its programs meet in."""

    def __init__(self, batch: int, heads: int, key_heads: int, size: int, capacity: int, device: torch.device | str) -> None:
        """
        Args:
            size: of a head, a power of two.
            capacity: slots of the cache.
        """
        if size & (size - 1) or size < 16:
            raise ValueError(f"the size of a head must be a power of two from 16 on, not {size}")
        self._heads, self._key_heads, self._size, self._capacity = heads, key_heads, size, capacity
        steps = math.ceil(capacity / SLOTS)
        self._part = SLOTS * math.ceil(steps / max(1, PROGRAMS // (batch * heads)))
        self._splits = math.ceil(capacity / self._part)
        self._parts = torch.empty((batch * heads, self._splits, size + 2), dtype=torch.float32, device=device)
        self._arrived = torch.zeros(batch * heads, dtype=torch.int32, device=device)

    def __call__(
        self,
        projected: torch.Tensor,  # [batch, (heads + 2 * key_heads) * size]
        keys: torch.Tensor,  # [batch, key_heads, capacity, size], written at `position`
        values: torch.Tensor,
        cosine: torch.Tensor,  # [positions, size / 2] float32
        sine: torch.Tensor,
        position: torch.Tensor,  # [1] int64, below capacity
    ) -> torch.Tensor:
        """[batch, heads * size]."""
        batch = projected.shape[0]
        outputs = torch.empty((batch, self._heads * self._size), dtype=projected.dtype, device=projected.device)
        decode_attention_kernel[(self._splits, batch * self._heads)](
            projected,
            keys,
            values,
            cosine,
            sine,
            position,
            outputs,
            self._parts,
            self._arrived,
            self._capacity,
            self._size**-0.5 * LOG2_E,
            HEADS=self._heads,
            KEY_HEADS=self._key_heads,
            HALF=self._size // 2,
            SLOTS=SLOTS,
            STAGES=STAGES,
            PART=self._part,
            SPLITS=self._splits,
            SPLITS_POWER=triton.next_power_of_2(self._splits),
            num_warps=WARPS,
        )
        return outputs


def reference(
    projected: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    position: int,
    heads: int,
) -> torch.Tensor:
    """The same in PyTorch. Writes the cache, as the kernel does."""
    batch, key_heads, _, size = keys.shape
    query, key, value = projected.view(batch, -1, size).float().split([heads, key_heads, key_heads], dim=1)
    turn = torch.cat([cosine[position]] * 2), torch.cat([sine[position]] * 2)

    def rotated(vectors: torch.Tensor) -> torch.Tensor:
        first, second = vectors.chunk(2, dim=-1)
        return vectors * turn[0] + torch.cat([-second, first], dim=-1) * turn[1]

    keys[:, :, position], values[:, :, position] = rotated(key).to(keys.dtype), value.to(values.dtype)
    seen, mixed = (cache[:, :, : position + 1].float().repeat_interleave(heads // key_heads, dim=1) for cache in (keys, values))
    made = torch.nn.functional.scaled_dot_product_attention(rotated(query)[:, :, None], seen, mixed)
    return made[:, :, 0].flatten(1).to(projected.dtype)
