"""The kernels between a tower's matrix products against PyTorch in double precision."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import layer_norm, pad, unfold

from evbench.kernels.tower import columns, quick_gelu, shifted_norm
from tests.devices import DEVICE

pytestmark = pytest.mark.device

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# The interpreter cuts numbers to bfloat16 off where a GPU rounds them.
ERROR = {torch.float32: 2e-6, torch.float16: 6e-4, torch.bfloat16: 1e-2 if DEVICE == "cpu" else 5e-3}
"""Largest, as a part of the largest value."""


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def require_equal(made: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    assert made.dtype == dtype
    assert made.shape == expected.shape
    assert (made.double() - expected).abs().max() <= ERROR[dtype] * expected.abs().max()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("images", "channels", "down", "across", "patch", "width"), [
    (1, 3, 1, 1, 14, 592), (2, 3, 2, 3, 14, 588), (1, 1, 3, 2, 2, 5), (3, 4, 1, 5, 1, 4),
])  # fmt: skip
def test_columns_are_patches_behind_a_row_of_zeros(
    images: int, channels: int, down: int, across: int, patch: int, width: int, dtype: torch.dtype
) -> None:
    pixels = random(images, channels, down * patch, across * patch).to(dtype)
    patches = unfold(pixels.double(), patch, stride=patch).transpose(1, 2)
    expected = pad(patches, (0, width - patches.shape[2], 1, 0))
    assert torch.equal(columns(pixels, patch, width).double(), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 17), (3, 5, 64), (1, 2, 1000), (2, 2, 1024)], ids=str)
@pytest.mark.parametrize("rows", [1, "tokens"])
def test_a_norm_is_of_the_sum(shape: tuple[int, int, int], rows: int | str, dtype: torch.dtype) -> None:
    hidden, size = random(*shape).to(dtype), shape[-1]
    shift = random(shape[1] if rows == "tokens" else 1, size, seed=1)
    weight, bias = (random(size, seed=seed).to(dtype) for seed in (2, 3))
    before = hidden.clone()
    expected = layer_norm(hidden.double() + shift.double(), (size,), weight.double(), bias.double(), 1e-5)
    require_equal(shifted_norm(hidden, shift, weight, bias, 1e-5), expected, dtype)
    require_equal(shifted_norm(hidden, shift[0], weight, bias, 1e-5)[:, :1], expected[:, :1], dtype)
    assert torch.equal(hidden, before)


def test_a_norm_of_values_far_from_zero_keeps_what_tells_them_apart() -> None:
    hidden = random(2, 4, 256) + 1000
    one, none = torch.ones(256, device=DEVICE), torch.zeros(256, device=DEVICE)
    expected = layer_norm(hidden.double(), (256,), eps=1e-5)
    assert (shifted_norm(hidden, none, one, none, 1e-5).double() - expected).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("count", [1, 2047, 2048, 5000])
def test_quick_gelu_is_done_in_place(count: int, dtype: torch.dtype) -> None:
    values = (random(count) * 4).to(dtype)
    expected = values.double() * torch.sigmoid(1.702 * values.double())
    made = quick_gelu(values)
    assert made is values
    require_equal(made, expected, dtype)


def test_quick_gelu_far_from_zero() -> None:
    values = torch.tensor([-torch.inf, -1e4, -100.0, 0.0, 100.0, 1e4, torch.inf, torch.nan], device=DEVICE)
    made = quick_gelu(values).tolist()
    assert made[1:7] == [0.0, 0.0, 0.0, 100.0, 1e4, torch.inf]
    assert made[7] != made[7]


@pytest.mark.parametrize(("shape", "patch", "width"), [((1, 3, 5, 4), 2, 12), ((1, 3, 4, 5), 2, 12), ((1, 3, 4, 4), 2, 11)])
def test_pixels_that_are_no_whole_patches_are_refused(shape: tuple[int, ...], patch: int, width: int) -> None:
    with pytest.raises(ValueError, match="must be contiguous, in whole patches of 2, and fit into rows"):
        columns(torch.zeros(shape, device=DEVICE), patch, width)


def test_what_does_not_fit_together_is_refused() -> None:
    hidden, row = torch.zeros(2, 3, 8, device=DEVICE), torch.zeros(8, device=DEVICE)
    for given in (
        (hidden, torch.zeros(5, 8, device=DEVICE), row, row), (hidden, torch.zeros(4, device=DEVICE), row, row),
        (hidden.transpose(0, 1), row, row, row), (hidden, row, torch.zeros(2, 8, device=DEVICE), row), (hidden, row, row, row[:4]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="must be contiguous and fit together"):
            shifted_norm(*given, 1e-5)
    with pytest.raises(ValueError, match="values must be contiguous"):
        quick_gelu(torch.zeros(4, 4, device=DEVICE).t()[1:])
    with pytest.raises(ValueError, match="must be contiguous"):
        columns(torch.zeros(1, 4, 4, 3, device=DEVICE).permute(0, 3, 1, 2), 2, 12)
