"""Kernels that start before the one in front of them has ended read nothing too early."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.quick_gelu import quick_gelu
from evbench.kernels.shifted_norm import shifted_norm
from evbench.kernels.tower_attention import tower_attention
from evbench.pipelines.compute.cuda_graph import captured

TOKENS, HEADS, SIZE = 257, 16, 64
"""Of one image: few, so that all programs of a kernel run at the same time, and those of the next start beside them."""
HIDDEN = HEADS * SIZE
REPLAYS = 200


@pytest.mark.gpu
def test_the_tower_reads_nothing_before_the_kernel_in_front_has_written_it() -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    hidden, shift, gain, bias = (
        torch.randn(shape, generator=generator, device="cuda").to(torch.bfloat16)
        for shape in ((1, TOKENS, HIDDEN), (HIDDEN,), (HIDDEN,), (HIDDEN,))
    )
    written: list[torch.Tensor] = []

    def chain() -> None:
        normal = shifted_norm(hidden, shift, gain, bias, 1e-5)
        heads = normal.view(1, TOKENS, HEADS, SIZE)
        activated = quick_gelu(tower_attention(heads, heads, heads, SIZE**-0.5))
        written[:] = normal, activated, shifted_norm(activated.flatten(2), shift, gain, bias, 1e-5)

    replay = captured(chain)
    replay()
    expected = [tensor.clone() for tensor in written]
    assert all(bool(tensor.isfinite().all()) for tensor in expected)
    for _ in range(REPLAYS):
        for tensor in written:
            tensor.fill_(torch.nan)
        replay()
        assert all(torch.equal(ours, right) for ours, right in zip(written, expected, strict=True))
