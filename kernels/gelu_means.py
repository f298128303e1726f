"""EventGPT's pooling: means over an image's tokens, and over the images, of features behind a GELU or as they are. Each is read once.

    given[i, t, c]         = gelu(features[i, t, c])  or  features[i, t, c]         gelu(v) = v (1 + erf(v / sqrt(2))) / 2
    means[i, c]            = mean over t of given[i, t, c]                          one row for each image
    means[images + t, c]   = mean over i of given[i, t, c]                          one row for each token

A program takes some tokens of all images, and has their means over the images when it is done. Of each image it leaves a sum over its
tokens; a second kernel adds these up, always in the same order. Sums are in float32.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

TOKENS, COLUMNS, WARPS = 8, 64, 1
"""Of a program: the fastest of those tried on an H200, for 5 images of 577 tokens with 4,096 columns. What takes its time is the erf."""
HALF_ROOT = tl.constexpr(math.sqrt(0.5))


@triton.jit
def token_means_kernel(
    features,  # [images, tokens, columns], contiguous
    sums,  # [programs along the tokens, images, columns] float32
    means,  # [images + tokens, columns]
    images,
    tokens,
    columns,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
    GELU: tl.constexpr,
):
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    there = (token < tokens) & (column < columns)
    total = tl.zeros([TOKENS, COLUMNS], tl.float32)
    for image in range(images):
        place = (tl.cast(image, tl.int64) * tokens + token) * columns + column
        value = tl.load(features + place, mask=there, other=0.0).to(tl.float32)
        if GELU:
            value = value * 0.5 * (1.0 + tl.erf(value * HALF_ROOT))
        total += value
        of_image = (tl.program_id(0).to(tl.int64) * images + image) * columns + column
        tl.store(sums + of_image, tl.sum(value, axis=0)[None, :], mask=column < columns)
    row = images + token.to(tl.int64)
    tl.store(means + row * columns + column, (total / images).to(means.dtype.element_ty), mask=there)


@triton.jit
def image_means_kernel(sums, means, parts, tokens, columns, PARTS: tl.constexpr, COLUMNS: tl.constexpr):
    image, images = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    part = tl.arange(0, PARTS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    place = sums + (part * images + image) * columns + column
    total = tl.sum(tl.load(place, mask=(part < parts) & (column < columns), other=0.0), axis=0)[None, :]
    tl.store(means + image * columns + column, (total / tokens).to(means.dtype.element_ty), mask=column < columns)


def gelu_means(features: torch.Tensor, gelu: bool) -> torch.Tensor:
    """[images, tokens, columns], contiguous -> [1, images + tokens, columns], in their type.

    Raises:
        ValueError: the features are not contiguous.
    """
    if not features.is_contiguous():
        raise ValueError(f"features must be contiguous, not {tuple(features.shape)} with strides {features.stride()}")
    images, tokens, size = features.shape
    parts, across = math.ceil(tokens / TOKENS), math.ceil(size / COLUMNS)
    sums = torch.empty((parts, images, size), dtype=torch.float32, device=features.device)
    means = torch.empty((1, images + tokens, size), dtype=features.dtype, device=features.device)
    token_means_kernel[(parts, across)](
        features, sums, means, images, tokens, size, TOKENS=TOKENS, COLUMNS=COLUMNS, GELU=gelu, num_warps=WARPS
    )
    image_means_kernel[(images, across)](
        sums, means, parts, tokens, size, PARTS=triton.next_power_of_2(parts), COLUMNS=COLUMNS, num_warps=WARPS
    )
    return means
