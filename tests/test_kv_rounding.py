"""The KV cache in eight bits: what attention sees, by each computation, and what the reference loses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaModel

from evbench.errors import UserError
from evbench.kernels.kept import LARGEST, rounded
from evbench.pipelines.generate.choices import CACHE
from evbench.pipelines.generate.kv_rounding import RoundedCache, cache_type, fp8, fp8_rounded, full
from evbench.pipelines.registry import cache_value_bytes, loses_as, lossy, without_rounding
from evbench.variants.named import parse

EIGHT_BITS = torch.float8_e4m3fn


def decoder(dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}
    return LlamaModel(LlamaConfig(num_hidden_layers=3, initializer_range=0.3, **shape)).to(dtype).eval()


def test_a_number_becomes_the_nearest_of_eight_bits_and_a_large_one_the_largest() -> None:
    x = torch.tensor([0.0, 1.06, -1.07, 448.0, 463.0, 1e9, -torch.inf, torch.nan])
    kept = rounded(x, EIGHT_BITS)
    assert kept.dtype == EIGHT_BITS
    assert kept.float()[:-1].tolist() == [0.0, 1.0, -1.125, LARGEST, LARGEST, LARGEST, -LARGEST]
    assert kept.float()[-1].isnan()
    assert rounded(x, torch.float32) is not None and torch.equal(rounded(x, torch.float32).nan_to_num(), x.nan_to_num())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_kept_and_seen_is_rounded_in_the_type_that_it_came_in(dtype: torch.dtype) -> None:
    grown, (keys, values) = DynamicCache(), torch.randn(2, 1, 2, 5, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    seen = RoundedCache(grown).update(keys, values, 0)
    for found, given, kept in zip(seen, (keys, values), (grown.layers[0].keys, grown.layers[0].values), strict=True):
        assert found.dtype == dtype
        assert torch.equal(found, given.to(EIGHT_BITS).to(dtype)) and torch.equal(found, kept)
    alone = RoundedCache(None).update(keys, values, 0)
    assert all(torch.equal(*pair) for pair in zip(alone, seen, strict=True))


@torch.no_grad()
def test_the_reference_loses_the_same_at_once_as_steps_over_a_cache_do() -> None:
    """In float64: there two computations hardly ever round a number to either side."""
    model, whole = decoder(torch.float64), decoder(torch.float64)
    fp8_rounded(model)
    tokens = torch.randint(64, (1, 9), generator=torch.Generator().manual_seed(0))
    at_once = model(tokens, use_cache=False).last_hidden_state
    cache, steps = DynamicCache(config=model.config), []
    for chunk in torch.split(tokens, [5, 1, 1, 2], dim=1):
        steps.append(model(chunk, past_key_values=cache, use_cache=True).last_hidden_state)
    assert torch.allclose(torch.cat(steps, dim=1), at_once, atol=1e-9)
    assert float((at_once - whole(tokens).last_hidden_state).abs().max()) > 1e-3, "and it does lose"
    assert all(layer.keys.dtype == torch.float64 for layer in cache.layers)


def test_the_type_of_the_cache_is_that_of_the_weights_or_what_the_choice_says() -> None:
    model = decoder(torch.bfloat16)
    before = copy.deepcopy(model.state_dict())
    full(model)
    assert cache_type(model) == torch.bfloat16
    fp8(model)
    assert cache_type(model) == EIGHT_BITS
    assert all(torch.equal(values, before[key]) for key, values in model.state_dict().items())


def test_which_cache_loses_something_and_how_a_reference_does() -> None:
    chosen = parse("optimized-gpu+cache=fp8+quantization=int8").choices()
    for model in ("video-llava", "eventgpt"):
        assert lossy(chosen, model) == {"quantization": "int8", "cache": "fp8"}
        assert loses_as(chosen, model) == {"quantization": "int8-dequantized", "cache": "fp8-rounded"}
        assert cache_value_bytes(chosen, model) == 1.0
        assert cache_value_bytes(parse("optimized-gpu").choices(), model) is None
    for variant in ("baseline", "static-cache", "optimized-gpu+draft=lookup-4"):
        with pytest.raises(UserError, match=r"cache=fp8 cannot be with (generate|draft)="):
            parse(f"{variant}+cache=fp8")
    assert CACHE.entries["fp8-rounded"].hidden


def test_only_what_rounds_keys_and_values_has_more_room() -> None:
    weights = loses_as(parse("optimized-gpu+quantization=fp8").choices(), "eventgpt")
    assert without_rounding(loses_as(parse("optimized-gpu+cache=fp8").choices(), "eventgpt")) == {}
    assert without_rounding(weights) == weights
    assert without_rounding(loses_as(parse("optimized-gpu+quantization=fp8+cache=fp8").choices(), "eventgpt")) == weights
    assert without_rounding({}) == {}
