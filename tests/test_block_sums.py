"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.block_sums import BLOCK, STEPS, block_sums, reference
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = pytest.mark.device


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_kernel_equals_its_reference(blocks: int, dtype: torch.dtype) -> None:
    x = torch.randn(blocks * BLOCK * STEPS, generator=torch.Generator().manual_seed(0)).to(DEVICE, dtype)
    found = block_sums(x)
    assert (found.shape, found.dtype) == ((blocks,), torch.float32)
    assert torch.allclose(found, reference(x), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("shape", [(BLOCK * STEPS + 1,), (0,), (2, BLOCK * STEPS)], ids=str)
def test_what_is_no_row_of_whole_blocks_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="x must be one row of whole blocks"):
        block_sums(torch.zeros(shape, device=DEVICE))


def test_the_operator_tells_what_it_does_without_running() -> None:
    require_operator("block_sums", block_sums, torch.randn(2 * BLOCK * STEPS, device=DEVICE))
