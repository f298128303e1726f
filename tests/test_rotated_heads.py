"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from evbench.kernels.rotated_heads import TOKENS, reference, rotated_heads
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = pytest.mark.device

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def tensors(batch: int, length: int, heads: int, key_heads: int, size: int, capacity: int, dtype: torch.dtype = torch.float32) -> Tensors:
    generator = torch.Generator().manual_seed(length)
    projected = torch.randn(batch, length, (heads + 2 * key_heads) * size, generator=generator).to(DEVICE, dtype)
    keys, values = torch.full((2, batch, key_heads, capacity, size), 7.0).to(DEVICE, dtype)
    angles = torch.rand(capacity + 3, size // 2, generator=generator) * 6
    return projected, keys, values, angles.cos().to(DEVICE), angles.sin().to(DEVICE)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2 if DEVICE == "cpu" else 8e-3)], ids=str)
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 2, 2, 32, 1), (2, TOKENS + 1, 4, 2, 16, 2 * TOKENS), (1, 3 * TOKENS, 3, 1, 64, 3 * TOKENS), (1, 9, 0, 2, 16, 40)],
    ids=["one token", "grouped", "whole", "keys and values alone"],
)
def test_the_kernel_equals_its_reference(shape: tuple[int, int, int, int, int, int], dtype: torch.dtype, error: float) -> None:
    projected, keys, values, cosine, sine = tensors(*shape, dtype)
    expected_keys, expected_values = keys.clone(), values.clone()
    expected = reference(projected, expected_keys, expected_values, cosine, sine)
    query = rotated_heads(projected, keys, values, cosine, sine)
    assert query.shape == expected.shape
    assert query.dtype == dtype
    for made, wanted in ((query, expected), (keys, expected_keys)):
        assert torch.allclose(made.float(), wanted.float(), rtol=error, atol=error)
    assert torch.equal(values, expected_values)
    assert (keys[:, :, shape[1] :] == 7).all(), "slots behind the prompt are left as they are"


@pytest.mark.usefixtures("rounding_to_eight_bits")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cache_of_eight_bits_is_written_rounded(dtype: torch.dtype) -> None:
    projected, *cache, cosine, sine = tensors(2, TOKENS + 1, 4, 2, 16, 2 * TOKENS, dtype)
    projected[0, 3] = 1e4
    made, expected = ([kept.to(torch.float8_e4m3fn) for kept in cache] for _ in range(2))
    query = rotated_heads(projected, made[0], made[1], cosine, sine)
    reference(projected, expected[0], expected[1], cosine, sine)
    assert query.dtype == dtype
    # What lies in the middle between two numbers may be rounded to either of them.
    assert torch.allclose(made[0].float(), expected[0].float(), rtol=0.13, atol=2**-9)
    assert torch.equal(made[1].float(), expected[1].float())
    assert float(made[1].float().max()) == 448


@pytest.mark.parametrize("position", [0, 1, 33])
def test_tokens_behind_a_prompt_stand_where_they_are_told(position: int) -> None:
    projected, keys, values, cosine, sine = tensors(2, 5, 4, 2, 16, 40)
    expected_keys, expected_values = keys.clone(), values.clone()
    expected = reference(projected, expected_keys, expected_values, cosine, sine, position)
    query = rotated_heads(projected, keys, values, cosine, sine, torch.tensor([position], device=DEVICE))
    for made, wanted in ((query, expected), (keys, expected_keys)):
        assert torch.allclose(made, wanted, rtol=1e-6, atol=1e-6)
    assert torch.equal(values, expected_values)
    assert (keys[:, :, position + 5 :] == 7).all()
    assert (keys[:, :, :position] == 7).all()


@pytest.mark.gpu
def test_the_shape_of_the_large_model() -> None:
    projected, keys, values, cosine, sine = tensors(1, 2076, 32, 32, 128, 2178, torch.bfloat16)
    expected_keys, expected_values = keys.clone(), values.clone()
    expected = reference(projected, expected_keys, expected_values, cosine, sine)
    query = rotated_heads(projected, keys, values, cosine, sine)
    assert torch.allclose(query.float(), expected.float(), rtol=8e-3, atol=8e-3)
    assert torch.allclose(keys.float(), expected_keys.float(), rtol=8e-3, atol=8e-3)
    assert torch.equal(values, expected_values)


@pytest.mark.parametrize("wrong", range(5), ids=["projected", "keys", "values", "cosine", "sine"])
def test_what_is_not_contiguous_is_refused(wrong: int) -> None:
    given = list(tensors(1, 5, 2, 1, 16, 8))
    given[wrong] = torch.cat([given[wrong]] * 2, dim=-1)[..., ::2]
    with pytest.raises(ValueError, match="must fit together and be contiguous"):
        rotated_heads(*given)


def test_a_prompt_that_is_longer_than_the_cache_is_refused() -> None:
    with pytest.raises(ValueError, match="must fit together"):
        rotated_heads(*tensors(1, 9, 2, 1, 16, 8))


def test_the_operator_tells_what_it_does_without_running() -> None:
    require_operator("rotated_heads", rotated_heads, *tensors(2, 5, 2, 1, 16, 8))
    require_operator("rotated_heads", rotated_heads, *tensors(2, 5, 2, 1, 16, 8), torch.tensor([2], device=DEVICE))
