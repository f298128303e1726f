"""Attention over short rows of tokens, each token over all: as in a vision tower, 257 or 577 of them, 256 or 576 patches and one more.

    outputs[i, t, h]   = softmax over s of (queries[i, t, h] . keys[i, s, h] * scale) . values[i, s, h]

Kernels for long rows take them in tiles of 128 or more, and a row of 257 is padded to 384, queries and keys alike. Here nothing is padded
but to the next 16: what is left over behind the whole tiles is taken in smaller ones, 577 as 9 * 64 and 1. The number of tokens is known
when the kernel is compiled, so that whole tiles need no mask. Each program makes a tile of the queries of one head, with the running
maximum and sum of Milakov and Gimelshein (2018, arXiv 1805.02867) over tiles of its keys. Programs of one head follow each other: its
keys and values stay in the second-level cache. Sums are in float32. Queries, keys and values may lie interleaved, as a matrix product of
all three left them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

NARROWEST = 16
"""Least that tl.dot multiplies."""
LARGEST = 256
"""Size of a head: sums of more would not fit into registers."""
LOG2_E = math.log2(math.e)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@triton.jit
def _rows(of_head, first, stride, TOKENS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, MASKED: tl.constexpr):
    """[WIDTH, SIZE] of a head's tokens from `first` on; zeros behind the last."""
    token = first + tl.arange(0, WIDTH)
    places = of_head + token[:, None] * stride + tl.arange(0, SIZE)[None, :]
    if MASKED:
        return tl.load(places, mask=(token < TOKENS)[:, None], other=0.0)
    return tl.load(places)


@triton.jit
def _seen(
    query,  # [queries, SIZE]
    peak,  # [queries]: greatest score so far, as an exponent of 2
    total,  # [queries]: sum of weights
    mixed,  # [queries, SIZE]: sum of weighted values
    keys,
    values,
    first,
    key_stride,
    value_stride,
    scale,
    TOKENS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    MASKED: tl.constexpr,
):
    """peak, total and mixed with WIDTH keys more, of which one at least is there."""
    key = _rows(keys, first, key_stride, TOKENS, SIZE, WIDTH, MASKED)
    value = _rows(values, first, value_stride, TOKENS, SIZE, WIDTH, MASKED)
    scores = tl.dot(query, tl.trans(key), input_precision="ieee")
    if MASKED:
        scores = tl.where((first + tl.arange(0, WIDTH) < TOKENS)[None, :], scores, -float("inf"))
    greater = tl.maximum(peak, tl.max(scores, axis=1) * scale)
    weights = tl.exp2(scores * scale - greater[:, None])
    decay = tl.exp2(peak - greater)
    total = total * decay + tl.sum(weights, axis=1)
    mixed = tl.dot(weights.to(value.dtype), value, mixed * decay[:, None], input_precision="ieee")
    return greater, total, mixed


@triton.jit
def _tile(
    queries,  # of this head, as keys, values and outputs
    keys,
    values,
    outputs,
    first,
    query_stride,
    key_stride,
    value_stride,
    output_stride,
    scale,
    TOKENS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    MASKED: tl.constexpr,
    KEYS: tl.constexpr,
    KEYS_LEFT: tl.constexpr,
    STAGES: tl.constexpr,
):
    """What the WIDTH queries from `first` on make."""
    query = _rows(queries, first, query_stride, TOKENS, SIZE, WIDTH, MASKED)
    peak = tl.full([WIDTH], -float("inf"), tl.float32)
    total = tl.zeros([WIDTH], tl.float32)
    mixed = tl.zeros([WIDTH, SIZE], tl.float32)
    # The smaller tiles go first: their keys come from memory together with the queries.
    for left in tl.static_range(len(KEYS_LEFT)):
        peak, total, mixed = _seen(
            query, peak, total, mixed, keys, values, KEYS_LEFT[left][0], key_stride, value_stride, scale,
            TOKENS, SIZE, KEYS_LEFT[left][1], KEYS_LEFT[left][0] + KEYS_LEFT[left][1] > TOKENS,
        )  # fmt: skip
    for start in tl.range(0, TOKENS // KEYS * KEYS, KEYS, num_stages=STAGES):
        peak, total, mixed = _seen(
            query, peak, total, mixed, keys, values, start, key_stride, value_stride, scale, TOKENS, SIZE, KEYS, False
        )  # fmt: skip
    made = mixed * (1.0 / total)[:, None]
    token = first + tl.arange(0, WIDTH)
    places = outputs + token[:, None] * output_stride + tl.arange(0, SIZE)[None, :]
    if MASKED:
        tl.store(places, made.to(outputs.dtype.element_ty), mask=(token < TOKENS)[:, None])
    else:
        tl.store(places, made.to(outputs.dtype.element_ty))


@triton.jit
def tower_attention_kernel(
    queries,
    keys,
    values,
    outputs,  # [images, tokens, heads, size], contiguous
    query_image,  # strides
    query_token,
    query_head,
    key_image,
    key_token,
    key_head,
    value_image,
    value_token,
    value_head,
    scale,  # of scores, which are exponents of 2
    TOKENS: tl.constexpr,
    SIZE: tl.constexpr,
    QUERIES: tl.constexpr,
    QUERIES_LEFT: tl.constexpr,  # (first, width) of the tiles behind those of QUERIES
    KEYS: tl.constexpr,
    KEYS_LEFT: tl.constexpr,  # likewise
    STAGES: tl.constexpr,
):
    tile, head, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    heads = tl.num_programs(1)
    queries += image * query_image + head * query_head
    keys += image * key_image + head * key_head
    values += image * value_image + head * value_head
    outputs += (image * TOKENS * heads + head) * SIZE
    WHOLE: tl.constexpr = TOKENS // QUERIES
    if tile < WHOLE:
        _tile(
            queries, keys, values, outputs, tile * QUERIES, query_token, key_token, value_token, heads * SIZE, scale,
            TOKENS, SIZE, QUERIES, False, KEYS, KEYS_LEFT, STAGES,
        )  # fmt: skip
    for left in tl.static_range(len(QUERIES_LEFT)):
        if tile == WHOLE + left:
            _tile(
                queries, keys, values, outputs, QUERIES_LEFT[left][0], query_token, key_token, value_token, heads * SIZE, scale,
                TOKENS, SIZE, QUERIES_LEFT[left][1], QUERIES_LEFT[left][0] + QUERIES_LEFT[left][1] > TOKENS, KEYS, KEYS_LEFT, STAGES,
            )  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Of a program."""

    queries: int
    keys: int
    """At a time."""
    warps: int
    stages: int
    """Tiles of keys that are on their way at the same time."""


def tower_attention(
    queries: torch.Tensor,  # [images, tokens, heads, size], of any strides but 1 for the last
    keys: torch.Tensor,  # likewise
    values: torch.Tensor,  # likewise
    scale: float,  # of scores
    shape: Shape | None = None,  # None for the fastest that is known
) -> torch.Tensor:
    """[images, tokens, heads, size], contiguous, in the type of the queries.

    Raises:
        ValueError: the tensors are not alike, or the kernel does not take them.
    """
    given = (queries, keys, values)
    if queries.dim() != 4 or any(tensor.shape != queries.shape or tensor.dtype != queries.dtype for tensor in given):
        told = ", ".join(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in given)
        raise ValueError(f"queries, keys and values must be of one type and shape [images, tokens, heads, size], not {told}")
    images, tokens, heads, size = queries.shape
    if size & (size - 1) or not NARROWEST <= size <= LARGEST:
        raise ValueError(f"the size of a head must be a power of two from {NARROWEST} to {LARGEST}, not {size}")
    if queries.dtype not in DTYPES:
        raise ValueError(f"the type must be one of {', '.join(map(str, DTYPES))}, not {queries.dtype}")
    if not queries.numel():
        raise ValueError(f"there is nothing in {tuple(queries.shape)}")
    if any(tensor.stride(3) != 1 for tensor in given):
        raise ValueError(f"the values of a head must lie side by side, and their strides are {[tensor.stride(3) for tensor in given]}")
    if not scale > 0:
        raise ValueError(f"the scale must be above 0, not {scale}")
    shape = shape or _shape(tokens, size, queries.dtype)
    queries_left = left_over(tokens, shape.queries)
    outputs = torch.empty(queries.shape, dtype=queries.dtype, device=queries.device)
    tower_attention_kernel[(tokens // shape.queries + len(queries_left), heads, images)](
        *given,
        outputs,
        *(stride for tensor in given for stride in tensor.stride()[:3]),
        scale * LOG2_E,
        TOKENS=tokens,
        SIZE=size,
        QUERIES=shape.queries,
        QUERIES_LEFT=queries_left,
        KEYS=shape.keys,
        KEYS_LEFT=left_over(tokens, shape.keys),
        STAGES=shape.stages,
        num_warps=shape.warps,
    )
    return outputs


def left_over(tokens: int, width: int) -> tuple[tuple[int, int], ...]:
    """(first, width) of smaller tiles for the tokens behind the whole tiles of a width. Only the last one may reach beyond them.

    >>> left_over(577, 128)
    ((512, 64), (576, 16))
    """
    first, found = tokens // width * width, []
    while first < tokens:
        found.append((first, max(NARROWEST, 1 << (tokens - first).bit_length() - 1)))
        first += found[-1][1]
    return tuple(found)


def _shape(tokens: int, size: int, dtype: torch.dtype) -> Shape:
    if dtype == torch.float32:
        # Multiplied one by one: tensor cores would round.
        return Shape(queries=32, keys=32, warps=8, stages=1) if size <= 64 else Shape(queries=16, keys=16, warps=8, stages=1)
    if size > 64:
        return Shape(queries=64, keys=32, warps=4, stages=2)
    return Shape(queries=64, keys=64, warps=4, stages=2)


def reference(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """The same in PyTorch, in double precision: [images, tokens, heads, size]."""
    query, key, value = (tensor.double() for tensor in (queries, keys, values))
    weights = (torch.einsum("ithd,ishd->ihts", query, key) * scale).softmax(dim=-1)
    return torch.einsum("ihts,ishd->ithd", weights, value)
