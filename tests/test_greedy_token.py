"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.greedy_token import BLOCK, greedy_token, reference
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = pytest.mark.device


def chosen(logits: torch.Tensor, position: int = 1) -> torch.Tensor:
    """The tokens, of which all but the chosen are -7."""
    tokens = torch.full((logits.shape[0], position + 3), -7, device=DEVICE)
    expected, place = tokens.clone(), torch.tensor([position], device=DEVICE)
    greedy_token(logits, tokens, place)
    reference(logits, expected, place)
    assert torch.equal(tokens, expected)
    return tokens[:, position + 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("vocabulary", [1, 90, BLOCK, BLOCK + 1, 32_003])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_kernel_equals_its_reference(vocabulary: int, batch: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    for position in (0, 5):
        chosen(torch.randn(batch, vocabulary, generator=generator).to(DEVICE, dtype), position)


def test_of_several_that_are_the_greatest_the_first_is_chosen() -> None:
    logits = torch.zeros(2, 2 * BLOCK, device=DEVICE)
    logits[0, [7, BLOCK - 1, BLOCK + 3]] = 2.0
    logits[1, [BLOCK + 3, 2 * BLOCK - 1]] = 2.0
    assert chosen(logits).tolist() == [7, BLOCK + 3]


def test_logits_that_are_masked_are_not_chosen() -> None:
    logits = torch.full((1, BLOCK + 50), -torch.inf, device=DEVICE)
    logits[0, BLOCK + 9] = -1e30
    assert chosen(logits).tolist() == [BLOCK + 9]


def test_what_is_not_contiguous_is_refused() -> None:
    tokens = torch.zeros(4, 4, dtype=torch.long, device=DEVICE)
    with pytest.raises(ValueError, match="must be contiguous"):
        greedy_token(torch.zeros(4, 4, device=DEVICE).t(), tokens, tokens[0, :1])


def test_the_operator_tells_what_it_does_without_running() -> None:
    tokens = torch.tensor([[1, 2, 3], [0, 1, 2]], device=DEVICE)
    require_operator("greedy_token", greedy_token, torch.randn(2, 40, device=DEVICE), tokens, torch.tensor([1], device=DEVICE))
