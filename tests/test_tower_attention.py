"""The kernel against its reference."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from evbench.kernels.tower_attention import NARROWEST, Config, left_over, reference, tower_attention
from tests.devices import DEVICE
from tests.operators import require_operator

pytestmark = [pytest.mark.device, pytest.mark.slow, pytest.mark.usefixtures("products_of_bfloat16")]

KINDS = [
    (1, 1, 1, 16), (2, 15, 1, 32), (1, 16, 2, 64), (1, 17, 3, 16), (1, 49, 1, 256), (3, 63, 1, 32), (1, 64, 1, 128), (2, 65, 2, 16),
    (1, 127, 1, 64), (1, 257, 2, 64), (1, 300, 1, 32), (1, 577, 1, 16),
]  # fmt: skip
"""Images, tokens, heads, size of a head."""
TOWERS = [(8, 257, 16, 64), (5, 577, 16, 64)]
Given = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Queries, keys, values."""
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# The interpreter cuts numbers to bfloat16 off where a GPU rounds them: here the weights, and then what is made.
CUT = DEVICE == "cpu"
ERROR = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""Largest, as a part of the largest value."""
OF_SDPA = {torch.float32: 3.0, torch.float16: 3.0, torch.bfloat16: 6.0 if CUT else 3.0}
"""How many times as large as its error."""


def interleaved(kind: tuple[int, int, int, int], dtype: torch.dtype) -> torch.Tensor:
    """Queries, keys and values as one matrix product leaves them: [images, tokens, 3, heads, size]."""
    images, tokens, heads, size = kind
    generator = torch.Generator().manual_seed(tokens)
    return torch.randn(images, tokens, 3, heads, size, generator=generator).to(DEVICE, dtype)


def apart(whole: torch.Tensor) -> Given:
    queries, keys, values = whole.unbind(dim=2)
    return queries, keys, values


def require_equal(given: Given, scale: float, error: float, config: Config | None = None) -> None:
    made = tower_attention(*given, scale, config)
    exact = reference(*given, scale)
    assert made.shape == given[0].shape
    assert made.dtype == given[0].dtype
    assert made.is_contiguous()
    assert (made.double() - exact).abs().max() < error * exact.abs().max()
    query, key, value = (tensor.transpose(1, 2) for tensor in given)
    sdpa = scaled_dot_product_attention(query, key, value, scale=scale).transpose(1, 2)
    ours, theirs = ((tensor.double() - exact).square().mean().sqrt() for tensor in (made, sdpa))
    assert ours <= OF_SDPA[made.dtype] * theirs


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_kernel_equals_its_reference(kind: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    require_equal(apart(interleaved(kind, dtype)), kind[-1] ** -0.5, ERROR[dtype])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", TOWERS, ids=str)
def test_the_shapes_of_the_large_models(kind: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    require_equal(apart(interleaved(kind, dtype)), 0.125, ERROR[dtype])


@pytest.mark.parametrize("config", [Config(16, 16, 1, 1), Config(128, 32, 8, 3), Config(32, 256, 4, 1), Config(64, 64, 4, 4)], ids=str)
@pytest.mark.parametrize("tokens", [50, 257])
def test_every_config_of_a_program_does_the_same(config: Config, tokens: int) -> None:
    require_equal(apart(interleaved((1, tokens, 1, 32), torch.float16)), 0.2, ERROR[torch.float16], config)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large_scores_neither_overflow_nor_vanish(dtype: torch.dtype) -> None:
    """Up to some thousands: what is rounded off a score is no small part of a weight."""
    queries, keys, values = apart(interleaved((1, 65, 2, 64), dtype))
    assert torch.einsum("ithd,ishd->ihts", queries.double(), keys.double()).abs().max() * 100 > 2000
    require_equal((queries, keys, values), 100.0, max(ERROR[dtype], 1e-3))
    require_equal((queries - 4, keys + 4, values), 1.0, max(ERROR[dtype], 1e-3))  # all of them far below zero


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_whatever_the_strides(dtype: torch.dtype) -> None:
    whole = interleaved((2, 37, 3, 32), dtype)
    contiguous = apart(whole.movedim(2, 0).contiguous().movedim(0, 2))
    assert all(tensor.is_contiguous() for tensor in contiguous)
    expected = tower_attention(*contiguous, 0.2)
    heads_first = apart(whole.transpose(1, 3).contiguous().transpose(1, 3))
    unaligned = apart(torch.nn.functional.pad(whole, (3, 2))[..., 3:-2])
    for given in (apart(whole), heads_first, unaligned, (contiguous[0], heads_first[1], unaligned[2])):
        assert torch.equal(tower_attention(*given, 0.2), expected)
    queries, keys, values = contiguous
    one = queries[:1].expand(2, -1, -1, -1)
    assert torch.equal(tower_attention(one, keys, values, 0.2), tower_attention(one.contiguous(), keys, values, 0.2))


@pytest.mark.parametrize("tokens", [1, 15, 33, 65])
def test_nothing_behind_the_last_token_is_looked_at(tokens: int) -> None:
    larger = torch.full((2, tokens + 70, 3, 2, 16), torch.nan, device=DEVICE)
    larger[:, :tokens] = interleaved((2, tokens, 2, 16), torch.float32)
    require_equal(apart(larger[:, :tokens]), 0.25, ERROR[torch.float32])


def test_smaller_tiles_make_up_what_is_left_over() -> None:
    assert left_over(577, 128) == ((512, 64), (576, NARROWEST))
    for width in (16, 32, 128):
        for tokens in range(1, 300):
            first = tokens // width * width
            for start, wide in left_over(tokens, width):
                assert start == first < tokens
                assert NARROWEST <= wide <= width
                assert wide.bit_count() == 1
                first += wide
            assert tokens <= first < tokens + NARROWEST


HEADS = torch.zeros(1, 4, 2, 32)


@pytest.mark.parametrize(
    ("given", "scale", "told"),
    [
        ((HEADS, HEADS[:, :2], HEADS), 0.1, r"of one type and shape \[images, tokens, heads, size\], not .* \(1, 2, 2, 32\)"),
        ((HEADS, HEADS.half(), HEADS), 0.1, "of one type and shape .*torch.float16"),
        ((HEADS[0],) * 3, 0.1, r"of one type and shape .* \(4, 2, 32\)"),
        ((HEADS[..., :24],) * 3, 0.1, "the size of a head must be a power of two from 16 to 256, not 24"),
        ((HEADS[..., :8],) * 3, 0.1, "from 16 to 256, not 8"),
        ((HEADS.repeat(1, 1, 1, 16),) * 3, 0.1, "from 16 to 256, not 512"),
        ((HEADS.double(),) * 3, 0.1, "the type must be one of .*, not torch.float64"),
        ((HEADS[:, :0],) * 3, 0.1, r"nothing in \(1, 0, 2, 32\)"),
        ((HEADS[..., ::2],) * 3, 0.1, "must lie side by side"),
        ((HEADS,) * 3, 0.0, "the scale must be above 0"),
        ((HEADS,) * 3, -0.1, "the scale must be above 0, not -0.1"),
    ],
    ids=range(11),
)
def test_what_it_does_not_take_is_refused(given: Given, scale: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        tower_attention(*given, scale)


@pytest.mark.parametrize("config", [None, Config(16, 16, 1, 1)], ids=str)
def test_the_operator_tells_what_it_does_without_running(config: Config | None) -> None:
    given = apart(interleaved((2, 19, 2, 16), torch.float16))
    require_operator("tower_attention", lambda queries, keys, values: tower_attention(queries, keys, values, 0.2, config), *given)
