"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.shifted_norm import reference, shifted_norm
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = pytest.mark.device

# The interpreter cuts numbers to bfloat16 off where a GPU rounds them.
TOLERANCES = [(torch.float32, 5e-6, 2e-6), (torch.float16, 1e-3, 6e-4), (torch.bfloat16, 5e-3, 1e-2 if DEVICE == "cpu" else 5e-3)]
"""dtype, atol, rtol."""


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@pytest.mark.parametrize(("dtype", "atol", "rtol"), TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 17), (3, 5, 64), (1, 2, 1000), (2, 2, 1024)], ids=str)
@pytest.mark.parametrize("rows", [1, "tokens"])
def test_a_norm_is_of_the_sum(shape: tuple[int, int, int], rows: int | str, dtype: torch.dtype, atol: float, rtol: float) -> None:
    x, columns = random(*shape).to(dtype), shape[-1]
    shift = random(shape[1] if rows == "tokens" else 1, columns, seed=1)
    weight, bias = (random(columns, seed=seed).to(dtype) for seed in (2, 3))
    before = x.clone()
    expected = reference(x.double(), shift.double(), weight.double(), bias.double(), 1e-5)
    y = shifted_norm(x, shift, weight, bias, 1e-5)
    assert (y.dtype, y.shape) == (dtype, x.shape)
    assert torch.allclose(y.double(), expected, atol=atol, rtol=rtol)
    one_row = shifted_norm(x, shift[0], weight, bias, 1e-5)
    assert torch.allclose(one_row[:, :1].double(), expected[:, :1], atol=atol, rtol=rtol)
    assert torch.equal(x, before)


def test_a_norm_of_values_far_from_zero_keeps_what_tells_them_apart() -> None:
    x = random(2, 4, 256) + 1000
    one, none = torch.ones(256, device=DEVICE), torch.zeros(256, device=DEVICE)
    expected = reference(x.double(), none.double(), one.double(), none.double(), 1e-5)
    assert (shifted_norm(x, none, one, none, 1e-5).double() - expected).abs().max() < 1e-4


def test_what_does_not_fit_together_is_refused() -> None:
    x, row = torch.zeros(2, 3, 8, device=DEVICE), torch.zeros(8, device=DEVICE)
    for tensors in (
        (x, torch.zeros(5, 8, device=DEVICE), row, row), (x, torch.zeros(4, device=DEVICE), row, row),
        (x.transpose(0, 1), row, row, row), (x, row, torch.zeros(2, 8, device=DEVICE), row), (x, row, row, row[:4]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="must be contiguous and fit together"):
            shifted_norm(*tensors, 1e-5)


def test_the_operator_tells_what_it_does_without_running() -> None:
    shift, weight, bias = random(3, 9, seed=1), random(9, seed=2).half(), random(9, seed=3).half()
    require_operator("shifted_norm", shifted_norm, random(2, 3, 9).half(), shift, weight, bias, 1e-5)
