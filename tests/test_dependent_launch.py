"""Kernels that start before the one in front of them has ended read nothing too early."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear

from evbench.kernels.quick_gelu import quick_gelu
from evbench.kernels.shifted_norm import shifted_norm
from evbench.kernels.tower_attention import tower_attention
from evbench.pipelines.compute.cuda_graph import captured

IMAGES, TOKENS, HEADS, SIZE = 8, 257, 16, 64
HIDDEN = HEADS * SIZE
REPLAYS = 200


@pytest.mark.gpu
def test_a_layer_of_the_vision_tower_reads_nothing_too_early() -> None:
    generator = torch.Generator("cuda").manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device="cuda").to(torch.bfloat16)

    hidden, shift, gain, bias = drawn(IMAGES, TOKENS, HIDDEN), drawn(HIDDEN), drawn(HIDDEN), drawn(HIDDEN)
    projections, output, up = (drawn(rows, HIDDEN) / HIDDEN**0.5 for rows in (3 * HIDDEN, HIDDEN, 4 * HIDDEN))
    written: list[torch.Tensor] = []

    def chain() -> None:
        normal = shifted_norm(hidden, shift, gain, bias, 1e-5)
        projected = linear(normal, projections)
        query, key, value = projected.view(IMAGES, TOKENS, 3, HEADS, SIZE).unbind(dim=2)
        mixed = tower_attention(query, key, value, SIZE**-0.5)
        added = linear(mixed.flatten(2), output)
        again = shifted_norm(added, shift, gain, bias, 1e-5)
        activated = quick_gelu(linear(again, up))
        last = shifted_norm(activated.view(IMAGES, TOKENS * 4, HIDDEN), shift, gain, bias, 1e-5)
        written[:] = normal, projected, mixed, added, again, activated, last

    replay = captured(chain)
    replay()
    expected = [tensor.clone() for tensor in written]
    assert all(bool(tensor.isfinite().all()) for tensor in expected)
    for _ in range(REPLAYS):
        for tensor in written:
            tensor.fill_(torch.nan)
        replay()
        assert all(torch.equal(ours, right) for ours, right in zip(written, expected, strict=True))
