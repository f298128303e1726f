"""A linear layer with its activation: in one kernel, as one after the other."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch.nn.functional import linear
from transformers.activations import ACT2FN

from evbench.errors import UserError
from evbench.pipelines import activation
from tests.devices import DEVICE

pytestmark = pytest.mark.device
without_quack = pytest.mark.skipif(find_spec("quack") is None, reason="quack-kernels is not installed")


def layer(rows: int, inputs: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    values, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((2, rows, inputs), (outputs, inputs), (outputs,)))
    return values.to(DEVICE), (weight / inputs**0.5).to(DEVICE), bias.to(DEVICE)


@pytest.mark.parametrize("name", activation.OF_QUACK)
def test_apart_is_what_transformers_does(name: str) -> None:
    values, weight, bias = layer(5, 16, 24)
    assert torch.equal(activation.apart(values, weight, bias, name), ACT2FN[name](linear(values, weight, bias)))


@pytest.mark.gpu
@without_quack
@pytest.mark.parametrize("name", activation.OF_QUACK)
@pytest.mark.parametrize("rows", [1, 257, 1028])
@torch.inference_mode()
def test_inside_the_product_it_is_no_further_from_the_truth(name: str, rows: int) -> None:
    values, weight, bias = (tensor.bfloat16() for tensor in layer(rows, 256, 512))
    truth = activation.apart(values.double(), weight.double(), bias.double(), name)
    apart, inside = (function(values, weight, bias, name).double() - truth for function in (activation.apart, activation.inside))
    assert inside.shape == truth.shape
    assert inside.square().mean() <= 1.05 * apart.square().mean(), "one rounding less"


def test_an_activation_without_a_kernel_is_refused() -> None:
    with pytest.raises(UserError, match=r"vision=graph-fused has no kernel for gelu_new, but for quick_gelu, .*; use vision=graph"):
        activation.require("gelu_new", DEVICE, torch.bfloat16)


@pytest.mark.skipif(find_spec("quack") is not None, reason="quack-kernels is installed")
def test_a_kernel_that_is_not_there_is_no_other_one() -> None:
    with pytest.raises(UserError, match=r"no kernel for quick_gelu in bfloat16 \(No module named 'quack'\); use vision=graph"):
        activation.require("quick_gelu", DEVICE, torch.bfloat16)
