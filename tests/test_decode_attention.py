"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.decode_attention import SLOTS, DecodeAttention, reference
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("products_of_bfloat16", "rounding_to_eight_bits")]

KINDS = [(1, 2, 2, 32, 300), (2, 4, 2, 16, 130), (3, 2, 1, 64, SLOTS), (1, 1, 1, 16, 7)]
"""Batch, heads, key heads, size of a head, capacity."""
# The interpreter cuts numbers to bfloat16 off where a GPU rounds them: here the turned key, and then what is made.
EIGHT_BITS = torch.float8_e4m3fn
ERROR = {torch.float32: 1e-5, torch.bfloat16: 1.2e-2 if DEVICE == "cpu" else 8e-3}


def require_equal(
    kind: tuple[int, int, int, int, int], positions: list[int], dtype: torch.dtype, stored: torch.dtype | None = None
) -> None:
    """`stored`: type of the cache, if it is another."""
    batch, heads, key_heads, size, capacity = kind
    generator = torch.Generator().manual_seed(capacity)
    attention = DecodeAttention(batch, heads, key_heads, size, capacity, DEVICE)
    angles = torch.rand(capacity, size // 2, generator=generator) * 6
    turns = angles.cos().to(DEVICE), angles.sin().to(DEVICE)
    for position in positions:
        filled = torch.randn(2, batch, key_heads, capacity, size, generator=generator)
        filled[:, :, :, position:] = torch.nan  # what is behind the position must not be looked at
        keys, values = filled.to(DEVICE, stored or dtype)
        projected = torch.randn(batch, (heads + 2 * key_heads) * size, generator=generator).to(DEVICE, dtype)
        expected_keys, expected_values = keys.clone(), values.clone()
        expected = reference(projected, expected_keys, expected_values, *turns, position, heads)
        made = attention(projected, keys, values, *turns, torch.tensor([position], device=DEVICE))
        assert (made.float() - expected.float()).abs().max() < ERROR[dtype] * expected.float().abs().max()
        # What lies in the middle between two numbers of eight bits may be rounded to either of them.
        rtol, atol = (ERROR[dtype], 1e-6) if stored is None else (0.13, 2**-9)
        assert torch.allclose(keys.float(), expected_keys.float(), rtol=rtol, atol=atol, equal_nan=True)
        assert torch.equal(values.float().nan_to_num(), expected_values.float().nan_to_num())
        assert not keys[:, :, : position + 1].float().isnan().any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_equals_its_reference(kind: tuple[int, int, int, int, int]) -> None:
    capacity = kind[-1]
    edges = {0, 1, SLOTS - 1, SLOTS, SLOTS + 1, capacity - 1}
    require_equal(kind, sorted(position for position in edges if position < capacity), torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_also_in_bfloat16(kind: tuple[int, int, int, int, int]) -> None:
    """Nothing that follows from the position depends on the type: two are enough."""
    capacity = kind[-1]
    require_equal(kind, sorted({min(SLOTS, capacity - 1), capacity - 1}), torch.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_of_eight_bits_is_written_rounded_and_read_as_it_is(kind: tuple[int, int, int, int, int], dtype: torch.dtype) -> None:
    capacity = kind[-1]
    require_equal(kind, sorted({0, min(SLOTS, capacity - 1), capacity - 1}), dtype, EIGHT_BITS)


def test_what_eight_bits_cannot_hold_becomes_the_largest_that_they_can_and_not_nan() -> None:
    attention = DecodeAttention(1, 2, 1, 16, 7, DEVICE)
    projected = torch.full((1, 64), 1e4, device=DEVICE)
    projected[0, 32:48] *= -1
    keys, values = (torch.zeros(1, 1, 7, 16, device=DEVICE).to(EIGHT_BITS) for _ in range(2))
    tables = torch.ones(7, 8, device=DEVICE), torch.zeros(7, 8, device=DEVICE)
    y = attention(projected, keys, values, *tables, torch.tensor([2], device=DEVICE))
    assert torch.equal(keys[0, 0, 2].float(), torch.full((16,), -448.0, device=DEVICE))
    assert torch.equal(values[0, 0, 2].float(), torch.full((16,), 448.0, device=DEVICE))
    assert torch.isfinite(y).all()
    projected[0, 40] = torch.nan
    attention(projected, keys, values, *tables, torch.tensor([2], device=DEVICE))
    assert keys[0, 0, 2].float().isnan().any(), "what is no number does not become one"


@pytest.mark.gpu
@pytest.mark.parametrize("stored", [None, EIGHT_BITS])
@pytest.mark.parametrize("batch", [1, 4])
def test_the_shape_of_the_large_model(batch: int, stored: torch.dtype | None) -> None:
    # Again and again: the programs of a head meet in an order that differs each time.
    require_equal((batch, 32, 32, 128, 2178), [2076, 2100, 2177] * 20, torch.bfloat16, stored)


def test_a_head_of_an_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        DecodeAttention(1, 4, 4, 24, 100, DEVICE)


@pytest.mark.parametrize("wrong", range(5), ids=["projected", "keys", "values", "cosine", "sine"])
def test_what_does_not_fit_is_refused(wrong: int) -> None:
    tensors = [torch.zeros(shape, device=DEVICE) for shape in ((1, 64), (1, 1, 7, 16), (1, 1, 7, 16), (7, 8), (7, 8))]
    tensors[wrong] = torch.cat([tensors[wrong]] * 2, dim=-1)[..., ::2]
    tensors.append(torch.tensor([3], device=DEVICE))
    with pytest.raises(ValueError, match="must be contiguous and of the shapes"):
        DecodeAttention(1, 2, 1, 16, 7, DEVICE)(*tensors)


def test_the_operator_tells_what_it_does_without_running() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 64), (2, 1, 7, 16), (2, 1, 7, 16), (7, 8), (7, 8)
    tensors = [torch.randn(shape, generator=generator).to(DEVICE) for shape in shapes]
    attention = DecodeAttention(2, 2, 1, 16, 7, DEVICE)
    buffers = attention._partial.zero_(), attention._arrived

    def attend(partial: torch.Tensor, arrived: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        attention._partial, attention._arrived = partial, arrived
        return attention(*given)

    require_operator("decode_attention", attend, *buffers, *tensors, torch.tensor([3], device=DEVICE))
