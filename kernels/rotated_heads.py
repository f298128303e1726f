"""The projections of a prompt, or of some tokens behind it, to queries, and to keys and values where attention reads them, in one pass.

    query, key    = rotated by the position:  first half a, second half b:  a cos - b sin, b cos + a sin
    keys[b, h, t] = key;  values[b, h, t] = value                              t: position, of the first token 0 or as it is told

    projected: [batch, length, (heads + 2 key_heads) * size], queries, then keys, then values;  query: [batch, length, heads, size]
    keys, values: [batch, key_heads, capacity, size];  cosine, sine: [positions, size / 2]

There may be keys and values alone. Attention reads them from the cache, so that they are written once.

Source: rotary embedding, Su et al. 2021, arXiv 2104.09864, in the halves of GPT-NeoX.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.carveout import OF_SEVERAL, set_carveout
from evbench.kernels.dependent_launch import launch_options
from evbench.kernels.kept import rounded, stored
from evbench.kernels.registration import register

TOKENS = 16
"""Of the prompt, for a program, which takes one head of them."""


@triton.jit
def rotated_heads_kernel(
    projected_ptr,  # [batch, length, (heads + 2 key_heads) * SIZE]
    keys_ptr,  # [batch, key_heads, capacity, SIZE]
    values_ptr,  # [batch, key_heads, capacity, SIZE]
    cosine_ptr,  # [positions, SIZE / 2]
    sine_ptr,  # [positions, SIZE / 2]
    position_ptr,  # [1]
    query_ptr,  # [batch, length, heads, SIZE]
    length,
    heads,
    key_heads,
    capacity,
    BEHIND: tl.constexpr,  # whether there is a position, or the tokens are the first
    QUANTIZED: tl.constexpr,  # whether keys and values are float8_e4m3fn
    SIZE: tl.constexpr,
    TOKENS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()
    head, sample = tl.program_id(1), tl.program_id(2).to(tl.int64)
    HALF: tl.constexpr = SIZE // 2
    token, dim = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)[:, None], tl.arange(0, SIZE)[None, :]
    mask = token < length
    position = tl.load(position_ptr).to(tl.int32) if BEHIND else 0
    row = sample * length + token
    x_ptr = projected_ptr + (row * (heads + 2 * key_heads) + head) * SIZE  # [TOKENS, 1]
    x = tl.load(x_ptr + dim, mask=mask, other=0.0)  # [TOKENS, SIZE]
    if head < heads + key_heads:
        partner = tl.load(x_ptr + (dim + HALF) % SIZE, mask=mask, other=0.0).to(tl.float32)
        cosine = tl.load(cosine_ptr + (position + token) * HALF + dim % HALF, mask=mask, other=0.0)
        sine = tl.load(sine_ptr + (position + token) * HALF + dim % HALF, mask=mask, other=0.0)
        x = (x.to(tl.float32) * cosine + partner * tl.where(dim < HALF, -sine, sine)).to(query_ptr.dtype.element_ty)
    if head < heads:
        tl.store(query_ptr + (row * heads + head) * SIZE + dim, x, mask=mask)
    elif head < heads + key_heads:
        slot = (sample * key_heads + head - heads) * capacity + position + token
        tl.store(keys_ptr + slot * SIZE + dim, stored(x, keys_ptr.dtype.element_ty, QUANTIZED), mask=mask)
    else:
        slot = (sample * key_heads + head - heads - key_heads) * capacity + position + token
        tl.store(values_ptr + slot * SIZE + dim, stored(x, values_ptr.dtype.element_ty, QUANTIZED), mask=mask)


def rotated_heads(
    projected: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    position: torch.Tensor | None = None,
) -> torch.Tensor:
    """The queries, [batch, length, heads, size]. Writes `length` slots of keys and values, from the position on.

    Args:
        projected: [batch, length, (heads + 2 * key_heads) * size], contiguous, as all of them.
        keys, values: [batch, key_heads, capacity, size], of the type of `projected` or float8_e4m3fn; size a power of two.
        cosine, sine: [positions, size / 2] float32, of the positions from 0 on.
        position: [1] int64 on the device, of the first token, at most the capacity - `length`, which nobody looks at here. None: 0.

    Raises:
        ValueError: other shapes, or a tensor is not contiguous.
    """
    batch, length, columns = projected.shape
    key_heads, capacity, size = keys.shape[1:]
    heads = columns // size - 2 * key_heads
    tensors = projected, keys, values, cosine, sine
    fits = columns == (heads + 2 * key_heads) * size and heads >= 0 and keys.shape == values.shape and keys.shape[0] == batch
    if not (fits and length <= min(capacity, len(cosine)) and all(tensor.is_contiguous() for tensor in tensors)):
        found = ", ".join(f"{tuple(tensor.shape)} {tensor.stride()}" for tensor in tensors)
        raise ValueError(f"projected, keys, values, cosine and sine must fit together and be contiguous, not {found}")
    return torch.as_tensor(_operator(*tensors, position))


def _launch(
    projected: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    position: torch.Tensor | None,
) -> torch.Tensor:
    query = _fake(projected, keys, values, cosine, sine, position)
    (batch, length, heads, size), (key_heads, capacity) = query.shape, keys.shape[1:3]
    grid = math.ceil(length / TOKENS), heads + 2 * key_heads, batch
    given = projected, keys, values, cosine, sine, projected if position is None else position, query, length, heads, key_heads, capacity
    # In front of a prompt's stands a product of torch, which does not say when the next kernel may start.
    options = {"DEPENDENT": False} if position is None else launch_options(projected.device)
    launched = rotated_heads_kernel[grid](
        *given, BEHIND=position is not None, QUANTIZED=keys.dtype is torch.float8_e4m3fn, SIZE=size, TOKENS=TOKENS, **options
    )
    if position is not None:
        set_carveout(launched, OF_SEVERAL)
    return query


def _fake(
    projected: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    position: torch.Tensor | None,
) -> torch.Tensor:
    size, key_heads = keys.shape[3], keys.shape[1]
    return projected.new_empty((*projected.shape[:2], projected.shape[2] // size - 2 * key_heads, size))


_operator = register(
    "rotated_heads(Tensor projected, Tensor(a!) keys, Tensor(b!) values, Tensor cosine, Tensor sine, Tensor? position) -> Tensor",
    _launch,
    _fake,
)


def reference(
    projected: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, position: int = 0
) -> torch.Tensor:
    """Reference of `rotated_heads` in PyTorch. Writes the cache, as the kernel does."""
    length, (key_heads, size) = projected.shape[1], (keys.shape[1], keys.shape[3])
    heads = projected.shape[2] // size - 2 * key_heads
    query, key, value = projected.unflatten(2, (-1, size)).split([heads, key_heads, key_heads], dim=2)
    slots = slice(position, position + length)
    cosine, sine = cosine[slots, None], sine[slots, None]
    keys[:, :, slots] = rounded(rotated(key, cosine, sine), keys.dtype).transpose(1, 2)
    values[:, :, slots] = rounded(value, values.dtype).transpose(1, 2)
    return rotated(query, cosine, sine)


def rotated(vectors: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """The rotation alone, in float32 at least, in the type of the vectors: [..., size], with cosine and sine [..., size / 2] float32."""
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(vectors.dtype)
