"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.block_attention import SLOTS, BlockAttention, reference
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("products_of_bfloat16")]

KINDS = [(1, 5, 2, 2, 32, 300), (2, 3, 4, 2, 16, 130), (1, 9, 2, 1, 64, SLOTS), (1, 2, 1, 1, 16, 7)]
"""Batch, new tokens, heads, key heads, size of a head, capacity."""
# The interpreter cuts numbers to bfloat16 off where a GPU rounds them.
ERROR = {torch.float32: 1e-5, torch.bfloat16: 1.2e-2 if DEVICE == "cpu" else 8e-3}


def tensors(
    kind: tuple[int, int, int, int, int, int], position: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    batch, count, heads, key_heads, size, capacity = kind
    generator = torch.Generator().manual_seed(capacity + position)
    filled = torch.randn(2, batch, key_heads, capacity, size, generator=generator)
    filled[:, :, :, position + count :] = torch.nan  # what is behind the new tokens must not be looked at
    keys, values = filled.to(DEVICE, dtype)
    query = torch.randn(batch, count, heads, size, generator=generator).to(DEVICE, dtype)
    return query, keys, values, torch.tensor([position], device=DEVICE)


def require_equal(kind: tuple[int, int, int, int, int, int], positions: list[int], dtype: torch.dtype) -> None:
    attention = BlockAttention(*kind, DEVICE)
    for position in positions:
        given = tensors(kind, position, dtype)
        made, expected = attention(*given), reference(*given[:3], position)
        assert (made.float() - expected.float()).abs().max() < ERROR[dtype] * expected.float().abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_equals_its_reference(kind: tuple[int, int, int, int, int, int]) -> None:
    count, capacity = kind[1], kind[-1]
    edges = {0, 1, SLOTS - count, SLOTS - count + 1, SLOTS - 1, SLOTS, SLOTS + 1, capacity - count}
    require_equal(kind, sorted(position for position in edges if 0 <= position <= capacity - count), torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_also_in_bfloat16(kind: tuple[int, int, int, int, int, int]) -> None:
    require_equal(kind, [kind[-1] - kind[1]], torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.parametrize("count", [3, 5, 9])
def test_the_shape_of_the_large_model(count: int) -> None:
    # Again and again: the programs of a head meet in an order that differs each time.
    require_equal((1, count, 32, 32, 128, 2178), [2076, 2100, 2178 - count] * 20, torch.bfloat16)


# The interpreter's products of float32 are those of a library, which sums up the rows of a matrix in several ways.
@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=pytest.mark.gpu), torch.bfloat16], ids=str)
@pytest.mark.parametrize("position", [0, SLOTS - 2, 120])
def test_a_token_s_row_is_the_same_bit_for_bit_whatever_stands_behind_it(position: int, dtype: torch.dtype) -> None:
    """Else what a pass says of a token would depend on the drafts."""
    query, keys, values, place = tensors((2, 6, 4, 2, 16, 200), position, dtype)

    def attended(tokens: slice) -> torch.Tensor:
        part = query[:, tokens].contiguous()
        return BlockAttention(2, part.shape[1], 4, 2, 16, 200, DEVICE)(part, keys, values, place + (tokens.start or 0))

    whole = attended(slice(None))
    for count in (1, 2, 5):
        assert torch.equal(attended(slice(count)), whole[:, :count])
    for first in range(1, 6):  # the same tokens as those of a later pass
        assert torch.equal(attended(slice(first, None)), whole[:, first:])


def test_a_head_of_an_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        BlockAttention(1, 3, 4, 4, 24, 100, DEVICE)


@pytest.mark.parametrize("wrong", range(3), ids=["query", "keys", "values"])
def test_what_does_not_fit_is_refused(wrong: int) -> None:
    given = list(tensors((1, 3, 2, 1, 16, 7), 2, torch.float32))
    given[wrong] = torch.cat([given[wrong]] * 2, dim=-1)[..., ::2]
    with pytest.raises(ValueError, match="must be contiguous and of the shapes"):
        BlockAttention(1, 3, 2, 1, 16, 7, DEVICE)(*given)


def test_the_operator_tells_what_it_does_without_running() -> None:
    attention = BlockAttention(2, 3, 2, 1, 16, 7, DEVICE)
    buffers = attention._partial.zero_(), attention._arrived

    def attend(partial: torch.Tensor, arrived: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        attention._partial, attention._arrived = partial, arrived
        return attention(*given)

    query, keys, values, position = tensors((2, 3, 2, 1, 16, 7), 2, torch.float32)
    require_operator("block_attention", attend, *buffers, query, keys.nan_to_num(), values.nan_to_num(), position)
