"""Weight-only quantization: the formula, what is put in the place of linear layers, and what the reference computes with."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel

from evbench.pipelines.generate.choices import MATRICES, QUANTIZATION
from evbench.pipelines.generate.quantized import LARGEST, LINEAR, QuantizedLinear, matrices, quantize
from evbench.pipelines.registry import PARTS, layer_weight_bytes, loses_as, lossy
from evbench.variants.named import parse

TYPES = list(LARGEST)
CHOICES = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}


def weights(rows: int = 37, columns: int = 51, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Rows of very different sizes."""
    made = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    return (made * torch.logspace(-3, 3, rows)[:, None]).to(dtype)


def decoder() -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}
    return LlamaModel(LlamaConfig(num_hidden_layers=3, **shape)).eval()


@pytest.mark.parametrize("dtype", TYPES)
def test_a_value_is_the_nearest_that_its_type_has(dtype: torch.dtype) -> None:
    weight = weights()
    values, scales = quantize(weight, dtype)
    assert (values.dtype, scales.dtype) == (dtype, torch.float32)
    scaled = weight.double() / scales[:, None].double()
    # All values of the type, by their bits: no other is nearer.
    every = torch.arange(-128, 128, dtype=torch.int8).view(dtype).double()
    every = every[every.abs() <= LARGEST[dtype]]
    nearest = (scaled[..., None] - every).abs().amin(dim=-1)
    torch.testing.assert_close((scaled - values.double()).abs(), nearest, rtol=0, atol=1e-4)
    assert torch.equal(values.float().abs().amax(dim=1), torch.full((len(weight),), LARGEST[dtype])), "each row uses all of the range"


@pytest.mark.parametrize("dtype", TYPES)
def test_an_integer_is_off_by_half_a_step_and_a_float_by_a_sixteenth_of_itself(dtype: torch.dtype) -> None:
    weight = weights()
    values, scales = quantize(weight, dtype)
    off = (values.float() * scales[:, None] - weight).abs()
    # float8_e4m3fn: three bits of mantissa, and below 2^-6 steps of 2^-9.
    least = scales[:, None] / 2 if dtype is torch.int8 else torch.maximum(weight.abs() / 16, scales[:, None] * 2**-10)
    assert bool((off <= least * 1.0001).all())
    assert float(off.max()) > 0


@pytest.mark.parametrize("dtype", TYPES)
def test_a_row_of_zeros_stays_one_and_makes_no_other_wrong(dtype: torch.dtype) -> None:
    weight = weights()
    weight[3] = 0
    values, scales = quantize(weight, dtype)
    assert float(scales[3]) == 1.0
    assert not values[3].float().any()
    assert bool(torch.isfinite(values.float()).all())


@pytest.mark.parametrize("stored", TYPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_were_converted_are_quantized_to_the_same(stored: torch.dtype, dtype: torch.dtype) -> None:
    """As those of the reference are, which are float64."""
    weight = weights(dtype=dtype)
    for one, other in zip(quantize(weight, stored), quantize(weight.double(), stored), strict=True):
        assert torch.equal(one.float(), other.float())


@pytest.mark.parametrize("stored", TYPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("biased", [False, True])
@torch.no_grad()
def test_a_product_is_that_with_the_weights_made_whole(stored: torch.dtype, dtype: torch.dtype, tolerance: float, biased: bool) -> None:
    full = nn.Linear(51, 37, bias=biased)
    layer = LINEAR[stored](full, stored)
    if biased:
        layer.bias = nn.Parameter(full.bias.detach().to(dtype))
    x = torch.randn(2, 5, 51, generator=torch.Generator().manual_seed(1)).to(dtype)
    values, scales = quantize(full.weight.detach(), stored)
    expected = x.double() @ (values.double() * scales.double()[:, None]).T + (full.bias.double() if biased else 0)
    found = layer(x)
    assert found.dtype == dtype
    size = float(expected.pow(2).mean().sqrt())
    assert float((found.double() - expected).abs().max()) < 4 * tolerance * size
    assert not any(parameter.ndim == 2 for parameter in layer.parameters()), "it holds no full weights"


@pytest.mark.parametrize(("name", "stored"), CHOICES.items())
def test_every_matrix_of_every_layer_is_quantized_and_nothing_else(name: str, stored: torch.dtype) -> None:
    model, before = decoder(), decoder()
    assert len(list(matrices(model))) == 3 * MATRICES
    QUANTIZATION.implementation(name)(model)
    assert list(matrices(model)) == []
    found = [module for module in model.modules() if isinstance(module, QuantizedLinear)]
    assert len(found) == 3 * MATRICES
    assert {module.values.dtype for module in found} == {stored}
    kept = dict(model.named_parameters())
    assert all(torch.equal(values, dict(before.named_parameters())[key]) for key, values in kept.items())
    assert "embed_tokens.weight" in kept


@pytest.mark.parametrize("name", CHOICES)
@torch.no_grad()
def test_the_reference_computes_with_the_same_weights_made_whole(name: str) -> None:
    ours, exact, full = decoder(), decoder().double(), decoder().double()
    QUANTIZATION.implementation(name)(ours)
    QUANTIZATION.implementation(PARTS["quantization"].entries[name].loses_as)(exact)
    tokens = torch.arange(7)[None]
    found, expected, lossless = (model(tokens).last_hidden_state.double() for model in (ours, exact, full))
    off, lost = (float((values - expected).abs().max()) for values in (found, lossless))
    assert off < 1e-4
    assert lost > 100 * off, "and not with the full ones"
    assert len(list(matrices(exact))) == 3 * MATRICES, "by transformers' own layers"


def test_the_baseline_and_all_named_variants_keep_their_weights() -> None:
    model = decoder()
    before = copy.deepcopy(model.state_dict())
    QUANTIZATION.implementation("none")(model)
    assert all(torch.equal(values, before[key]) for key, values in model.state_dict().items())
    assert lossy(parse("optimized-h100").choices(), "video-llava") == {}


def test_which_choices_lose_something_and_how_a_reference_does() -> None:
    chosen = parse("static-cache+quantization=fp8").choices()
    for model in ("video-llava", "eventgpt"):
        assert lossy(chosen, model) == {"quantization": "fp8"}
        assert loses_as(chosen, model) == {"quantization": "fp8-dequantized"}
        assert layer_weight_bytes(chosen, model) == 1.0
    assert lossy(chosen, "auto") == {}, "there it has no effect"
    assert lossy({"no such part": "x", "quantization": "gone"}, "eventgpt") == {}, "of a result of another version"
    for part in PARTS.values():
        for entry in part.entries.values():
            if entry.loses_as:
                assert part.entries[entry.loses_as].hidden
                assert part.stages == ("generate",), "what is lost is measured there: see evbench.verdict.loss.measure"
