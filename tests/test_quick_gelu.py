"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.quick_gelu import BLOCK, quick_gelu, reference
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = pytest.mark.device

# The interpreter cuts numbers to bfloat16 off where a GPU rounds them.
TOLERANCES = [(torch.float32, 1e-6, 2e-6), (torch.float16, 1e-4, 6e-4), (torch.bfloat16, 1e-4, 8e-3 if DEVICE == "cpu" else 4e-3)]
"""dtype, atol, rtol."""


@pytest.mark.parametrize(("dtype", "atol", "rtol"), TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", [(1,), (BLOCK - 1,), (BLOCK,), (5000,), (3, 1, 17), (2, 0, 5)], ids=str)
def test_the_kernel_equals_its_reference_in_place(shape: tuple[int, ...], dtype: torch.dtype, atol: float, rtol: float) -> None:
    x = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 4).to(DEVICE, dtype)
    expected = reference(x.double())
    y = quick_gelu(x)
    assert y is x
    assert y.dtype == dtype
    assert torch.allclose(y.double(), expected, atol=atol, rtol=rtol)


def test_quick_gelu_far_from_zero() -> None:
    x = torch.tensor([-torch.inf, -1e4, -100.0, 0.0, 100.0, 1e4, torch.inf, torch.nan], device=DEVICE)
    y = quick_gelu(x).tolist()
    assert y[1:7] == [0.0, 0.0, 0.0, 100.0, 1e4, torch.inf]
    assert y[7] != y[7]


def test_what_is_not_contiguous_is_refused() -> None:
    with pytest.raises(ValueError, match="x must be contiguous"):
        quick_gelu(torch.zeros(4, 4, device=DEVICE).t()[1:])


def test_the_operator_tells_what_it_does_without_running() -> None:
    require_operator("quick_gelu", quick_gelu, torch.randn(3, 7, device=DEVICE))
