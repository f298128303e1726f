"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.patch_columns import patch_columns, reference
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = pytest.mark.device


@pytest.mark.parametrize(
    ("dtype", "atol", "rtol"), [(torch.float32, 0.0, 0.0), (torch.float16, 0.0, 0.0), (torch.bfloat16, 0.0, 0.0)], ids=str
)
@pytest.mark.parametrize(("images", "channels", "down", "across", "patch", "width"), [
    (1, 3, 1, 1, 14, 592), (2, 3, 2, 3, 14, 588), (1, 1, 3, 2, 2, 5), (3, 4, 1, 5, 1, 4),
])  # fmt: skip
def test_columns_are_patches_behind_a_row_of_zeros(
    images: int, channels: int, down: int, across: int, patch: int, width: int, dtype: torch.dtype, atol: float, rtol: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(images, channels, down * patch, across * patch, generator=generator).to(DEVICE, dtype)
    columns = patch_columns(pixels, patch, width)
    assert columns.dtype == dtype
    assert columns.shape == (images, 1 + down * across, width)
    assert torch.allclose(columns.double(), reference(pixels.double(), patch, width), atol=atol, rtol=rtol)


@pytest.mark.parametrize(("shape", "patch", "width"), [((1, 3, 5, 4), 2, 12), ((1, 3, 4, 5), 2, 12), ((1, 3, 4, 4), 2, 11)])
def test_pixels_that_are_no_whole_patches_are_refused(shape: tuple[int, ...], patch: int, width: int) -> None:
    with pytest.raises(ValueError, match="must be contiguous, in whole patches of 2, and fit into rows"):
        patch_columns(torch.zeros(shape, device=DEVICE), patch, width)


def test_pixels_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match="must be contiguous"):
        patch_columns(torch.zeros(1, 4, 4, 3, device=DEVICE).permute(0, 3, 1, 2), 2, 12)


def test_the_operator_tells_what_it_does_without_running() -> None:
    require_operator("patch_columns", patch_columns, torch.randn(2, 3, 4, 6, device=DEVICE), 2, 16)
