"""A linear layer and the activation behind it: one after the other, or the activation inside the matrix product's kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear
from transformers.activations import ACT2FN

from evbench.errors import UserError, first_line
from evbench.pipelines.attention import LIBRARY_ERRORS

Raise = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, str], torch.Tensor]
"""(values [..., inputs], weight [outputs, inputs], bias [outputs], activation by transformers' name) -> [..., outputs]."""
OF_QUACK = {"quick_gelu": "quick_gelu", "gelu": "gelu_erf", "gelu_pytorch_tanh": "gelu_tanh_approx", "relu": "relu", "silu": "silu"}
"""transformers' name of an activation -> that of quack (quack/activation.py)."""


def apart(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, activation: str) -> torch.Tensor:
    """The product is written, read again, and written again."""
    made: torch.Tensor = ACT2FN[activation](linear(values, weight, bias))
    return made


def _run(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, activation: str) -> torch.Tensor:
    from quack.gemm_interface import gemm_act

    rows = values.flatten(0, -2)
    _, made = gemm_act(rows, weight.T, bias=bias, activation=OF_QUACK[activation], store_preact=False, tuned=False)
    raised: torch.Tensor = made.view(*values.shape[:-1], weight.shape[0])
    return raised


def _operation() -> Raise:
    """An operation that torch.compile takes as it is, instead of looking into it."""
    schema = "(Tensor values, Tensor weight, Tensor bias, str activation) -> Tensor"
    operation: Any = torch.library.custom_op("evbench::raised", _run, mutates_args=(), schema=schema)
    operation.register_fake(lambda values, weight, bias, activation: values.new_empty(*values.shape[:-1], weight.shape[0]))
    raised: Raise = operation
    return raised


inside = _operation()
"""In the kernel of the product, before it is written: Dao-AILab/quack, for Hopper."""


def inside_of(tower: Any) -> Raise:
    """`inside`, if it can be had for a vision tower of transformers. Raises UserError, as `require`."""
    weight = tower.encoder.layers[0].mlp.fc1.weight
    require(tower.config.hidden_act, weight.device, weight.dtype)
    return inside


def require(activation: str, device: torch.device | str, dtype: torch.dtype) -> None:
    """Run the kernel once.

    Raises:
        UserError: the library has none for this activation or type. Nothing else is taken in its place.
    """
    if activation not in OF_QUACK:
        raise UserError(f"vision=graph-fused has no kernel for {activation}, but for {', '.join(OF_QUACK)}; use vision=graph")
    square = torch.zeros((64, 64), device=device, dtype=dtype)
    try:
        inside(square, square, square[0], activation)
    except torch.OutOfMemoryError:
        raise
    except LIBRARY_ERRORS as error:
        kind = str(dtype).removeprefix("torch.")
        told = first_line(error) or type(error).__name__
        raise UserError(f"vision=graph-fused has no kernel for {activation} in {kind} ({told}); use vision=graph") from error
