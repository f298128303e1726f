"""The kernel against its reference, and against the function of EventGPT that it stands for."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.gelu_means import COLUMNS, TOKENS, gelu_means, reference
from evbench.pipelines.vision.pooling import pool
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = [pytest.mark.device, pytest.mark.slow]

# The interpreter cuts numbers to bfloat16 off where a GPU rounds them.
TOLERANCES = [(torch.float32, 5e-6, 1e-6), (torch.float16, 1e-3, 6e-4), (torch.bfloat16, 5e-3, 1e-2 if DEVICE == "cpu" else 5e-3)]
"""dtype, atol, rtol."""
SHAPES = [(1, 1, 1), (5, TOKENS, COLUMNS), (2, TOKENS + 1, COLUMNS - 1), (3, 2 * TOKENS - 1, COLUMNS + 3), (64, 2, 5), (5, 37, 130)]
"""Images, tokens, columns."""


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(DEVICE) * 2


def require_equal(features: torch.Tensor, gelu: bool, atol: float, rtol: float) -> None:
    means, expected = gelu_means(features, gelu), reference(features.double(), gelu)
    assert means.dtype == features.dtype
    assert means.shape == expected.shape == (1, features.shape[0] + features.shape[1], features.shape[2])
    assert torch.allclose(means.double(), expected, atol=atol, rtol=rtol)
    assert torch.equal(means, gelu_means(features, gelu)), "always in the same order"


@pytest.mark.parametrize(("dtype", "atol", "rtol"), TOLERANCES, ids=str)
@pytest.mark.parametrize("gelu", [True, False], ids=["gelu", "as it is"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_kernel_equals_its_reference(shape: tuple[int, int, int], gelu: bool, dtype: torch.dtype, atol: float, rtol: float) -> None:
    require_equal(random(*shape).to(dtype), gelu, atol, rtol)


@pytest.mark.parametrize("gelu", [True, False], ids=["gelu", "as it is"])
def test_the_means_are_those_of_the_function(gelu: bool) -> None:
    features = random(*SHAPES[-1]).double()
    assert torch.equal(reference(features, gelu), pool(features, gelu))


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "atol", "rtol"), TOLERANCES, ids=str)
def test_the_shape_of_the_large_model(dtype: torch.dtype, atol: float, rtol: float) -> None:
    require_equal(random(5, 577, 4096).to(dtype), True, atol, rtol)


def test_a_gelu_far_from_zero() -> None:
    features = torch.tensor([[[-1e4, -20.0, 20.0, 1e4]]], device=DEVICE)
    assert gelu_means(features, True)[0, 0].tolist() == [0.0, 0.0, 20.0, 1e4]


def test_features_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match="features must be contiguous"):
        gelu_means(torch.zeros(2, 3, 4, device=DEVICE).transpose(0, 1), True)


def test_the_operator_tells_what_it_does_without_running() -> None:
    require_operator("gelu_means", gelu_means, random(2, 3, 5).half(), True)
