"""Attention over short rows of tokens, each token over all: as in a vision tower, 257 or 577 of them, 256 or 576 patches and one more.

    y[i, t, h] = softmax over s of (queries[i, t, h] . keys[i, s, h] * scale) . values[i, s, h]

    queries, keys, values, y: [images, tokens, heads, size]

Kernels for long rows take them in tiles of 128 or more, and a row of 257 is padded to 384, queries and keys alike. Here nothing is padded
but to the next 16: what is left over behind the whole tiles is taken in smaller ones, 577 as 9 * 64 and 1. The number of tokens is known
when the kernel is compiled, so that whole tiles need no mask. Each program makes a tile of the queries of one head, with a running maximum
and sum over tiles of its keys. Programs of one head follow each other: its keys and values stay in the second-level cache. Sums are in
float32. Queries, keys and values may lie interleaved, as a matrix product of all three left them.

Source: Milakov and Gimelshein 2018, arXiv 1805.02867 (running maximum and sum); Dao et al. 2022, arXiv 2205.14135.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.dependent_launch import launch_options
from evbench.kernels.registration import register

NARROWEST = 16
"""Least that tl.dot multiplies."""
LARGEST = 256
"""Size of a head: sums of more would not fit into registers."""
FEW_TOKENS = 384
"""Up to which tiles of fewer keys are faster."""
LOG2_E = math.log2(math.e)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@triton.jit
def _load_tile(head_ptr, first, stride, TOKENS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, MASKED: tl.constexpr):
    """[WIDTH, SIZE] of a head's tokens from `first` on; zeros behind the last."""
    token = first + tl.arange(0, WIDTH)
    ptrs = head_ptr + token[:, None] * stride + tl.arange(0, SIZE)[None, :]
    if MASKED:
        return tl.load(ptrs, mask=(token < TOKENS)[:, None], other=0.0)
    return tl.load(ptrs)


@triton.jit
def _accumulate(
    query,  # [queries, SIZE]
    row_max,  # [queries]: greatest score so far, as an exponent of 2
    row_sum,  # [queries]: sum of weights
    acc,  # [queries, SIZE]: sum of weighted values
    keys_ptr,  # of this head, as values_ptr
    values_ptr,
    first,
    key_stride,
    value_stride,
    scale,
    TOKENS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    MASKED: tl.constexpr,
):
    """row_max, row_sum and acc with the WIDTH keys from `first` on, of which one at least is a token."""
    key = _load_tile(keys_ptr, first, key_stride, TOKENS, SIZE, WIDTH, MASKED)  # [WIDTH, SIZE]
    value = _load_tile(values_ptr, first, value_stride, TOKENS, SIZE, WIDTH, MASKED)  # [WIDTH, SIZE]
    scores = tl.dot(query, tl.trans(key), input_precision="ieee")  # [queries, WIDTH]
    if MASKED:
        scores = tl.where((first + tl.arange(0, WIDTH) < TOKENS)[None, :], scores, -float("inf"))
    new_max = tl.maximum(row_max, tl.max(scores, axis=1) * scale)
    weights = tl.exp2(scores * scale - new_max[:, None])
    decay = tl.exp2(row_max - new_max)
    row_sum = row_sum * decay + tl.sum(weights, axis=1)
    acc = tl.dot(weights.to(value.dtype), value, acc * decay[:, None], input_precision="ieee")
    return new_max, row_sum, acc


@triton.jit
def _attend(
    queries_ptr,  # of this head, as the three behind
    keys_ptr,
    values_ptr,
    y_ptr,
    first,
    query_stride,
    key_stride,
    value_stride,
    y_stride,
    scale,
    TOKENS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    MASKED: tl.constexpr,
    KEYS: tl.constexpr,
    KEYS_LEFT: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Attention of the WIDTH queries from `first` on over all keys."""
    query = _load_tile(queries_ptr, first, query_stride, TOKENS, SIZE, WIDTH, MASKED)  # [WIDTH, SIZE]
    row_max = tl.full([WIDTH], -float("inf"), tl.float32)
    row_sum = tl.zeros([WIDTH], tl.float32)
    acc = tl.zeros([WIDTH, SIZE], tl.float32)
    # The smaller tiles go first: their keys come from memory together with the queries.
    for left in tl.static_range(len(KEYS_LEFT)):
        row_max, row_sum, acc = _accumulate(
            query, row_max, row_sum, acc, keys_ptr, values_ptr, KEYS_LEFT[left][0], key_stride, value_stride, scale,
            TOKENS, SIZE, KEYS_LEFT[left][1], KEYS_LEFT[left][0] + KEYS_LEFT[left][1] > TOKENS,
        )  # fmt: skip
    for start in tl.range(0, TOKENS // KEYS * KEYS, KEYS, num_stages=STAGES):
        row_max, row_sum, acc = _accumulate(
            query, row_max, row_sum, acc, keys_ptr, values_ptr, start, key_stride, value_stride, scale, TOKENS, SIZE, KEYS, False
        )  # fmt: skip
    y = acc * (1.0 / row_sum)[:, None]
    token = first + tl.arange(0, WIDTH)
    ptrs = y_ptr + token[:, None] * y_stride + tl.arange(0, SIZE)[None, :]
    if MASKED:
        tl.store(ptrs, y.to(y_ptr.dtype.element_ty), mask=(token < TOKENS)[:, None])
    else:
        tl.store(ptrs, y.to(y_ptr.dtype.element_ty))


@triton.jit
def tower_attention_kernel(
    queries_ptr,  # [images, TOKENS, heads, SIZE], the last stride 1, as keys and values
    keys_ptr,
    values_ptr,
    y_ptr,  # [images, TOKENS, heads, SIZE], contiguous
    query_image_stride,
    query_stride,
    query_head_stride,
    key_image_stride,
    key_stride,
    key_head_stride,
    value_image_stride,
    value_stride,
    value_head_stride,
    scale,  # of scores, which are exponents of 2
    TOKENS: tl.constexpr,
    SIZE: tl.constexpr,
    QUERIES: tl.constexpr,
    QUERIES_LEFT: tl.constexpr,  # (first, width) of the tiles behind those of QUERIES
    KEYS: tl.constexpr,
    KEYS_LEFT: tl.constexpr,  # likewise
    STAGES: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()
    tile, head, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    heads = tl.num_programs(1)
    queries_ptr += image * query_image_stride + head * query_head_stride
    keys_ptr += image * key_image_stride + head * key_head_stride
    values_ptr += image * value_image_stride + head * value_head_stride
    y_ptr += (image * TOKENS * heads + head) * SIZE
    WHOLE: tl.constexpr = TOKENS // QUERIES
    if tile < WHOLE:
        _attend(
            queries_ptr, keys_ptr, values_ptr, y_ptr, tile * QUERIES, query_stride, key_stride, value_stride, heads * SIZE, scale,
            TOKENS, SIZE, QUERIES, False, KEYS, KEYS_LEFT, STAGES,
        )  # fmt: skip
    for left in tl.static_range(len(QUERIES_LEFT)):
        if tile == WHOLE + left:
            _attend(
                queries_ptr, keys_ptr, values_ptr, y_ptr, QUERIES_LEFT[left][0], query_stride, key_stride, value_stride, heads * SIZE,
                scale, TOKENS, SIZE, QUERIES_LEFT[left][1], QUERIES_LEFT[left][0] + QUERIES_LEFT[left][1] > TOKENS, KEYS, KEYS_LEFT, STAGES,
            )  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Of a program."""

    queries: int
    keys: int
    """At a time."""
    warps: int
    stages: int
    """Tiles of keys that are on their way at the same time."""


def tower_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, config: Config | None = None
) -> torch.Tensor:
    """[images, tokens, heads, size], contiguous, in the type of the queries.

    Args:
        queries, keys, values: [images, tokens, heads, size], of any strides but 1 for the last; in one of DTYPES.
        scale: of scores.
        config: None for the fastest that is known.

    Raises:
        ValueError: the tensors are not alike, or the kernel does not take them.
    """
    tensors = (queries, keys, values)
    if queries.dim() != 4 or any(tensor.shape != queries.shape or tensor.dtype != queries.dtype for tensor in tensors):
        found = ", ".join(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in tensors)
        raise ValueError(f"queries, keys and values must be of one type and shape [images, tokens, heads, size], not {found}")
    size = queries.shape[3]
    if size & (size - 1) or not NARROWEST <= size <= LARGEST:
        raise ValueError(f"the size of a head must be a power of two from {NARROWEST} to {LARGEST}, not {size}")
    if queries.dtype not in DTYPES:
        raise ValueError(f"the type must be one of {', '.join(map(str, DTYPES))}, not {queries.dtype}")
    if not queries.numel():
        raise ValueError(f"there is nothing in {tuple(queries.shape)}")
    if any(tensor.stride(3) != 1 for tensor in tensors):
        raise ValueError(f"the values of a head must lie side by side, and their strides are {[tensor.stride(3) for tensor in tensors]}")
    if not scale > 0:
        raise ValueError(f"the scale must be above 0, not {scale}")
    return torch.as_tensor(_operator(*tensors, scale, None if config is None else astuple(config)))


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


def _config(tokens: int, size: int, dtype: torch.dtype) -> Config:
    if dtype == torch.float32:
        # Multiplied one by one: tensor cores would round.
        return Config(queries=32, keys=32, warps=8, stages=1) if size <= 64 else Config(queries=16, keys=16, warps=8, stages=1)
    if size > 64:
        return Config(queries=64, keys=32, warps=4, stages=2)
    # The fastest of those tried on an H200, for 257 and for 577 tokens.
    return Config(queries=64, keys=32, warps=4, stages=3) if tokens <= FEW_TOKENS else Config(queries=64, keys=64, warps=4, stages=2)


def _launch(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, config: list[int] | None) -> torch.Tensor:
    images, tokens, heads, size = queries.shape
    tiles = _config(tokens, size, queries.dtype) if config is None else Config(*config)
    queries_left = left_over(tokens, tiles.queries)
    y = _fake(queries, keys, values, scale, config)
    tower_attention_kernel[(tokens // tiles.queries + len(queries_left), heads, images)](
        queries,
        keys,
        values,
        y,
        *queries.stride()[:3],
        *keys.stride()[:3],
        *values.stride()[:3],
        scale * LOG2_E,
        TOKENS=tokens,
        SIZE=size,
        QUERIES=tiles.queries,
        QUERIES_LEFT=queries_left,
        KEYS=tiles.keys,
        KEYS_LEFT=left_over(tokens, tiles.keys),
        STAGES=tiles.stages,
        num_warps=tiles.warps,
        **launch_options(queries.device),
    )
    return y


def _fake(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, config: list[int] | None) -> torch.Tensor:
    return queries.new_empty(queries.shape)


_operator = register("tower_attention(Tensor queries, Tensor keys, Tensor values, float scale, int[4]? config) -> Tensor", _launch, _fake)


def reference(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """Reference of `tower_attention` in PyTorch, in double precision: [images, tokens, heads, size]."""
    query, key, value = (tensor.double() for tensor in (queries, keys, values))
    weights = (torch.einsum("ithd,ishd->ihts", query, key) * scale).softmax(dim=-1)
    return torch.einsum("ihts,ishd->ithd", weights, value)
