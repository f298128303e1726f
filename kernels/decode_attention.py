"""Attention of one new token over the keys and values before it, with its own written into the cache on the way.

    query, key    = rotated by the token's position p                      first half a, second half b: a cos - b sin, b cos + a sin
    keys[p]       = key;  values[p] = value
    y[h]          = softmax over s <= p of (query[h] . keys[s] / sqrt(size)) . values[s]

    projected: [batch, (heads + 2 key_heads) * size], queries, then keys, then values;  y: [batch, heads * size]
    keys, values: [batch, key_heads, capacity, size];  cosine, sine: [positions, size / 2]

One query reads all keys and values once and does next to nothing with them, so that its time is theirs to be read. A key head by itself
would use a small part of the GPU: the slots are split, each program makes the softmax of its part for all heads that share the keys, on
the tensor cores, and the last one of a key head to be done puts the parts together. The position stays on the device, so that a CUDA
graph holds for every token.

Source: Flash-Decoding, Dao et al. 2023 (https://crfm.stanford.edu/2023/10/12/flashdecoding.html); rotary embedding, Su et al. 2021,
arXiv 2104.09864, in the halves of GPT-NeoX.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.carveout import OF_SEVERAL, set_carveout
from evbench.kernels.dependent_launch import launch_options
from evbench.kernels.kept import rounded, stored, whole
from evbench.kernels.registration import register
from evbench.kernels.rotated_heads import rotated

PROGRAMS = 896
"""At most, if one for each key head is fewer: about seven for each multiprocessor of an H200, so that all run at the same time."""
SLOTS = 16
"""Of the cache that a program reads at a time."""
STAGES = 2
"""Such steps that are on their way at the same time. This, and the number of programs and warps, was the fastest of those tried there. With
more, a multiprocessor would give so much of its memory to them that little is left for what the products have on its way."""
WARPS = 1
LEAST_ROWS = 16
"""Of a product on the tensor cores: heads that share their keys, and rows of zeros."""
LOG2_E = math.log2(math.e)
LOWEST = tl.constexpr(-1.0e30)
"""Of scores: that of a slot which is not seen."""


@triton.jit
def updated(query, key, value, seen, scale, row_max, row_sum, acc):
    """The softmax of some more slots: greatest score [rows], sum of weights [rows], and weighted values [rows, size].

    query: [rows, size];  key, value: [slots, size];  seen: which slots a row sees, [rows, slots] or [1, slots].
    """
    scores = tl.where(seen, tl.dot(query, tl.trans(key), input_precision="ieee") * scale, LOWEST)
    new_max = tl.maximum(row_max, tl.max(scores, axis=1))
    decay = tl.exp2(row_max - new_max)
    weights = tl.where(seen, tl.exp2(scores - new_max[:, None]), 0.0)
    acc = tl.dot(weights.to(value.dtype), value, acc * decay[:, None], input_precision="ieee")
    return new_max, row_sum * decay + tl.sum(weights, axis=1), acc


@triton.jit
def merged(partial_ptr, SIZE: tl.constexpr, SPLITS: tl.constexpr, SPLITS_POWER: tl.constexpr):
    """The result of a row, [SIZE], from the softmax of each split: [SPLITS, SIZE + 2], as decode_attention_kernel writes them."""
    dim, index = tl.arange(0, SIZE), tl.arange(0, SPLITS_POWER)
    mask = index < SPLITS
    split_ptrs = partial_ptr + index * (SIZE + 2)  # [SPLITS_POWER]
    # From the second-level cache, where other programs' writes are.
    maxs = tl.load(split_ptrs + SIZE, mask=mask, other=LOWEST, cache_modifier=".cg")
    sums = tl.load(split_ptrs + SIZE + 1, mask=mask, other=0.0, cache_modifier=".cg")
    parts = tl.load(split_ptrs[:, None] + dim[None, :], mask=mask[:, None], other=0.0, cache_modifier=".cg")
    decay = tl.exp2(maxs - tl.max(maxs, axis=0))
    return tl.sum(decay[:, None] * parts, axis=0) / tl.sum(decay * sums, axis=0)


@triton.jit
def decode_attention_kernel(
    projected_ptr,  # [batch, (HEADS + 2 KEY_HEADS) * SIZE]
    keys_ptr,  # [batch, KEY_HEADS, capacity, SIZE]
    values_ptr,  # [batch, KEY_HEADS, capacity, SIZE]
    cosine_ptr,  # [positions, SIZE / 2]
    sine_ptr,  # [positions, SIZE / 2]
    position_ptr,  # [1]
    y_ptr,  # [batch, HEADS * SIZE]
    partial_ptr,  # [batch * HEADS, SPLITS, SIZE + 2] float32: weighted values, greatest score, sum of weights
    arrived_ptr,  # [batch * KEY_HEADS] int32: programs of a key head that are done; 0 before and after
    capacity,
    scale,  # of scores, which are exponents of 2
    HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    ROWS: tl.constexpr,  # power of two, HEADS / KEY_HEADS or more
    SIZE: tl.constexpr,
    SLOTS: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT_SLOTS: tl.constexpr,
    SPLITS: tl.constexpr,
    SPLITS_POWER: tl.constexpr,  # power of two, SPLITS or more
    DEPENDENT: tl.constexpr,
):
    _decode_attention(
        projected_ptr, keys_ptr, values_ptr, cosine_ptr, sine_ptr, position_ptr, y_ptr, partial_ptr, arrived_ptr, capacity, scale,
        False, HEADS, KEY_HEADS, ROWS, SIZE, SLOTS, STAGES, SPLIT_SLOTS, SPLITS, SPLITS_POWER, DEPENDENT,
    )  # fmt: skip


@triton.jit
def quantized_decode_attention_kernel(
    projected_ptr,  # [batch, (HEADS + 2 KEY_HEADS) * SIZE]
    keys_ptr,  # [batch, KEY_HEADS, capacity, SIZE] float8_e4m3fn
    values_ptr,  # [batch, KEY_HEADS, capacity, SIZE] float8_e4m3fn
    cosine_ptr,  # [positions, SIZE / 2]
    sine_ptr,  # [positions, SIZE / 2]
    position_ptr,  # [1]
    y_ptr,  # [batch, HEADS * SIZE]
    partial_ptr,  # [batch * HEADS, SPLITS, SIZE + 2] float32: weighted values, greatest score, sum of weights
    arrived_ptr,  # [batch * KEY_HEADS] int32: programs of a key head that are done; 0 before and after
    capacity,
    scale,  # of scores, which are exponents of 2
    HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    ROWS: tl.constexpr,  # power of two, HEADS / KEY_HEADS or more
    SIZE: tl.constexpr,
    SLOTS: tl.constexpr,
    STAGES: tl.constexpr,
    SPLIT_SLOTS: tl.constexpr,
    SPLITS: tl.constexpr,
    SPLITS_POWER: tl.constexpr,  # power of two, SPLITS or more
    DEPENDENT: tl.constexpr,
):
    """By a name of its own, so that a trace shows which of the two it is."""
    _decode_attention(
        projected_ptr, keys_ptr, values_ptr, cosine_ptr, sine_ptr, position_ptr, y_ptr, partial_ptr, arrived_ptr, capacity, scale,
        True, HEADS, KEY_HEADS, ROWS, SIZE, SLOTS, STAGES, SPLIT_SLOTS, SPLITS, SPLITS_POWER, DEPENDENT,
    )  # fmt: skip


@triton.jit
def _decode_attention(
    projected_ptr, keys_ptr, values_ptr, cosine_ptr, sine_ptr, position_ptr, y_ptr, partial_ptr, arrived_ptr, capacity, scale,
    QUANTIZED: tl.constexpr, HEADS: tl.constexpr, KEY_HEADS: tl.constexpr, ROWS: tl.constexpr, SIZE: tl.constexpr, SLOTS: tl.constexpr,
    STAGES: tl.constexpr, SPLIT_SLOTS: tl.constexpr, SPLITS: tl.constexpr, SPLITS_POWER: tl.constexpr, DEPENDENT: tl.constexpr,
):  # fmt: skip
    if DEPENDENT:
        gdc_launch_dependents()
    split, plane = tl.program_id(0), tl.program_id(1)
    sample, key_head = plane // KEY_HEADS, plane % KEY_HEADS
    GROUP: tl.constexpr = HEADS // KEY_HEADS
    HALF: tl.constexpr = SIZE // 2
    dim = tl.arange(0, SIZE)
    member = tl.arange(0, ROWS)  # of the heads that share the keys
    member_mask = member < GROUP
    first_head = sample * HEADS + key_head * GROUP
    # Float16 holds what eight bits do, and two of them are converted in one instruction: to bfloat16 it takes four. A query beyond its
    # 65504 becomes infinite, which is seen.
    dtype: tl.constexpr = tl.float16 if QUANTIZED and projected_ptr.dtype.element_ty == tl.bfloat16 else projected_ptr.dtype.element_ty
    cache_dtype = keys_ptr.dtype.element_ty
    cache_offset = plane.to(tl.int64) * capacity * SIZE
    # Ahead of the wait: the position, and what is in the cache before it, were written by an earlier step.
    position = tl.load(position_ptr).to(tl.int32)
    # cosine, sine: [SIZE], for y[dim] = x[dim] cosine[dim] + x[partner] sine[dim]
    partner = (dim + HALF) % SIZE
    cosine, sine = tl.load(cosine_ptr + position * HALF + dim % HALF), tl.load(sine_ptr + position * HALF + dim % HALF)
    sine = tl.where(dim < HALF, -sine, sine)
    start = split * SPLIT_SLOTS
    end = tl.minimum(start + SPLIT_SLOTS, position)
    slot = start + tl.arange(0, SLOTS)
    offsets = cache_offset + slot[:, None] * SIZE + dim[None, :]  # [SLOTS, SIZE], as the keys and values
    key = tl.load(keys_ptr + offsets, mask=(slot < end)[:, None], other=0.0)
    value = tl.load(values_ptr + offsets, mask=(slot < end)[:, None], other=0.0)
    if DEPENDENT:
        gdc_wait()

    token_ptr = projected_ptr + sample * (HEADS + 2 * KEY_HEADS) * SIZE
    query_ptr = token_ptr + (key_head * GROUP + member)[:, None] * SIZE
    query_mask = member_mask[:, None]
    query = tl.load(query_ptr + dim[None, :], mask=query_mask, other=0.0).to(tl.float32) * cosine[None, :]  # [ROWS, SIZE]
    query += tl.load(query_ptr + partner[None, :], mask=query_mask, other=0.0).to(tl.float32) * sine[None, :]
    query = query.to(dtype)
    key, value = whole(key, dtype, QUANTIZED), whole(value, dtype, QUANTIZED)

    # row_max, row_sum: [ROWS]; acc: [ROWS, SIZE]
    scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale  # [ROWS, SLOTS]
    scores = tl.where((slot < end)[None, :], scores, LOWEST)
    row_max = tl.max(scores, axis=1)
    weights = tl.where((slot < end)[None, :], tl.exp2(scores - row_max[:, None]), 0.0)
    row_sum = tl.sum(weights, axis=1)
    acc = tl.dot(weights.to(dtype), value, input_precision="ieee")
    for step in tl.range(start + SLOTS, end, SLOTS, num_stages=STAGES):
        slot = step + tl.arange(0, SLOTS)
        offsets = cache_offset + slot[:, None] * SIZE + dim[None, :]
        key = tl.load(keys_ptr + offsets, mask=(slot < end)[:, None], other=0.0)
        value = tl.load(values_ptr + offsets, mask=(slot < end)[:, None], other=0.0)
        key, value = whole(key, dtype, QUANTIZED), whole(value, dtype, QUANTIZED)
        row_max, row_sum, acc = updated(query, key, value, (slot < end)[None, :], scale, row_max, row_sum, acc)

    # The new token's key and value are not in the cache yet. The program of its slot has them from the projection.
    if (start <= position) & (position < start + SPLIT_SLOTS):
        new_key_ptr = token_ptr + (HEADS + key_head) * SIZE
        new_key = tl.load(new_key_ptr + dim).to(tl.float32) * cosine + tl.load(new_key_ptr + partner).to(tl.float32) * sine  # [SIZE]
        new_key = stored(new_key.to(projected_ptr.dtype.element_ty), cache_dtype, QUANTIZED)
        new_value = stored(tl.load(new_key_ptr + KEY_HEADS * SIZE + dim), cache_dtype, QUANTIZED)
        tl.store(keys_ptr + cache_offset + position * SIZE + dim, new_key)
        tl.store(values_ptr + cache_offset + position * SIZE + dim, new_value)
        new_score = tl.sum(query.to(tl.float32) * new_key.to(tl.float32)[None, :], axis=1) * scale  # [ROWS]
        new_max = tl.maximum(row_max, new_score)
        decay, new_weight = tl.exp2(row_max - new_max), tl.exp2(new_score - new_max)
        row_sum = row_sum * decay + new_weight
        acc = acc * decay[:, None] + new_weight[:, None] * new_value.to(tl.float32)[None, :]
        row_max = new_max

    split_ptr = partial_ptr + ((first_head + member) * SPLITS + split) * (SIZE + 2)  # [ROWS]
    tl.store(split_ptr[:, None] + dim[None, :], acc, mask=member_mask[:, None])
    tl.store(split_ptr + SIZE, row_max, mask=member_mask)
    tl.store(split_ptr + SIZE + 1, row_sum, mask=member_mask)

    # All threads' parts are written before this program is counted as done.
    tl.debug_barrier()
    done = tl.atomic_add(arrived_ptr + plane, 1, sem="acq_rel")
    if done == SPLITS - 1:
        tl.debug_barrier()
        for head in tl.range(first_head, first_head + GROUP):
            y = merged(partial_ptr + head * SPLITS * (SIZE + 2), SIZE, SPLITS, SPLITS_POWER)
            tl.store(y_ptr + head * SIZE + dim, y.to(y_ptr.dtype.element_ty))
        tl.store(arrived_ptr + plane, 0)


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
        splits = math.ceil(capacity / split_slots(batch * key_heads, capacity))
        self._partial = torch.empty((batch * heads, splits, size + 2), dtype=torch.float32, device=device)
        self._arrived = torch.zeros(batch * key_heads, dtype=torch.int32, device=device)

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
            keys, values: [batch, key_heads, capacity, size], of the type of `projected` or float8_e4m3fn; written at `position`.
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


def split_slots(planes: int, capacity: int, slots: int = SLOTS, programs: int = PROGRAMS) -> int:
    """Slots that a program reads, if so many key heads of all samples are to be shared out.

    Args:
        slots: that it reads at a time.
        programs: at most, if one for each key head is fewer.
    """
    return slots * math.ceil(math.ceil(capacity / slots) / max(1, programs // planes))


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
    kernel = quantized_decode_attention_kernel if keys.dtype is torch.float8_e4m3fn else decode_attention_kernel
    launched = kernel[(splits, batch * key_heads)](
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
        ROWS=max(LEAST_ROWS, triton.next_power_of_2(heads // key_heads)),
        SIZE=size,
        SLOTS=SLOTS,
        STAGES=STAGES,
        SPLIT_SLOTS=split_slots(batch * key_heads, capacity),
        SPLITS=splits,
        SPLITS_POWER=triton.next_power_of_2(splits),
        num_warps=WARPS,
        **launch_options(projected.device),
    )
    if batch > 1:
        set_carveout(launched, OF_SEVERAL)
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
    turn = cosine[position], sine[position]
    new = (kept.to(projected.dtype) for kept in (rotated(key, *turn), value))
    keys[:, :, position], values[:, :, position] = (rounded(kept, keys.dtype) for kept in new)
    key, value = (cache[:, :, : position + 1].float().repeat_interleave(heads // key_heads, dim=1) for cache in (keys, values))
    y = torch.nn.functional.scaled_dot_product_attention(rotated(query, *turn)[:, :, None], key, value)
    return y[:, :, 0].flatten(1).to(projected.dtype)
