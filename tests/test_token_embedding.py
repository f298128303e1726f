"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.token_embedding import reference, token_embedding
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = pytest.mark.device


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("batch", "capacity", "vocabulary", "hidden"), [(1, 1, 3, 16), (3, 7, 90, 40), (8, 33, 11, 257)])
def test_the_kernel_equals_its_reference(batch: int, capacity: int, vocabulary: int, hidden: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(capacity)
    tokens = torch.randint(vocabulary, (batch, capacity), generator=generator).to(DEVICE)
    embedding = torch.randn(vocabulary, hidden, generator=generator).to(DEVICE, dtype)
    for place in {0, capacity // 2, capacity - 1}:
        position = torch.tensor([place], device=DEVICE)
        assert torch.equal(token_embedding(tokens, position, embedding), reference(tokens, position, embedding))


def test_what_is_not_contiguous_is_refused() -> None:
    position = torch.zeros(1, dtype=torch.long, device=DEVICE)
    with pytest.raises(ValueError, match="must be contiguous"):
        token_embedding(torch.zeros(4, 4, dtype=torch.long, device=DEVICE).t()[1:], position, torch.zeros(3, 2, device=DEVICE))


def test_the_operator_tells_what_it_does_without_running() -> None:
    tokens = torch.tensor([[1, 2], [0, 1]], device=DEVICE)
    require_operator("token_embedding", token_embedding, tokens, torch.tensor([1], device=DEVICE), torch.randn(3, 5, device=DEVICE))
