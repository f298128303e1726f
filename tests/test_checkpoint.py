from __future__ import annotations

import pytest
import torch
from torch import nn

from evbench.pipelines.checkpoint import fingerprint, seeded


def layer(seed: int, dtype: torch.dtype = torch.float32) -> nn.Linear:
    with seeded(seed, "cpu", dtype):
        return nn.Linear(30, 20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_seed_gives_the_same_weights(dtype: torch.dtype) -> None:
    assert fingerprint(layer(0, dtype)) == fingerprint(layer(0, dtype)) != fingerprint(layer(1, dtype))
    assert layer(0, dtype).weight.dtype == dtype
    assert torch.get_default_dtype() == torch.float32


def test_one_changed_bit_is_another_model() -> None:
    model = layer(0)
    before = fingerprint(model)
    with torch.no_grad():
        model.weight[3, 4] = torch.nextafter(model.weight[3, 4], torch.tensor(9.0))
    assert fingerprint(model) != before
