"""One function for attention, computed in several ways: in the vision tower, the prefill, and the decode steps of transformers.

FlashAttention 2: Dao 2023, arXiv 2307.08691. FlashAttention 3: Shah et al. 2024, arXiv 2407.08608. Both and the fourth:
Dao-AILab/flash-attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from evbench.errors import UserError, first_line
from evbench.kernels.tower_attention import tower_attention
from evbench.pipelines.compute.choices import ATTENTION

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, bool, float], torch.Tensor]
"""(queries [batch, length, heads, size], keys [batch, length, key heads, size], values, causal, scale) -> as the queries.

Causal: query i sees keys up to i, and there are as many keys as queries.
"""
LIBRARY_ERRORS = (RuntimeError, AssertionError, ValueError, TypeError, NotImplementedError, ImportError)
"""What the libraries raise for a size or type that they have no kernel for, and where they are installed in part only."""


def eager(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, causal: bool, scale: float) -> torch.Tensor:
    """Written out, with the softmax in float32, as transformers does it."""
    groups = queries.shape[2] // keys.shape[2]
    keys, values = (tensor.repeat_interleave(groups, dim=2) if groups > 1 else tensor for tensor in (keys, values))
    scores = torch.einsum("bihd,bjhd->bhij", queries, keys) * scale
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1), -torch.inf)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(queries.dtype)
    return torch.einsum("bhij,bjhd->bihd", weights, values)


def sdpa(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, causal: bool, scale: float) -> torch.Tensor:
    """torch's own choice among its kernels."""
    query, key, value = (tensor.transpose(1, 2) for tensor in (queries, keys, values))
    grouped = queries.shape[2] != keys.shape[2]
    mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scale, enable_gqa=grouped)
    return mixed.transpose(1, 2)


def sdpa_flash(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, causal: bool, scale: float) -> torch.Tensor:
    """FlashAttention 2 as torch is built with it."""
    heads_first = (tensor.transpose(1, 2) for tensor in (queries, keys, values))
    mixed: Any = torch.ops.aten._scaled_dot_product_flash_attention(*heads_first, 0.0, causal, False, scale=scale)
    return torch.as_tensor(mixed[0].transpose(1, 2))


def _operation(name: str, library: Callable[..., Any]) -> Attend:
    """A library's function as an operation that torch.compile calls as a whole, instead of tracing into it."""
    schema = "(Tensor queries, Tensor keys, Tensor values, bool causal, float scale) -> Tensor"

    def run(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, causal: bool, scale: float) -> torch.Tensor:
        mixed: torch.Tensor | tuple[torch.Tensor, ...] = library(queries, keys, values, softmax_scale=scale, causal=causal)
        return mixed[0] if isinstance(mixed, tuple) else mixed

    operation = torch.library.custom_op(f"evbench::{name}", run, mutates_args=(), schema=schema)
    operation.register_fake(lambda queries, keys, values, causal, scale: torch.empty_like(queries, memory_format=torch.contiguous_format))
    function: Attend = operation
    return function


def _flash2(*tensors: torch.Tensor, **named: Any) -> Any:
    from flash_attn import flash_attn_func

    return flash_attn_func(*tensors, **named)


def _flash3(*tensors: torch.Tensor, **named: Any) -> Any:
    from flash_attn_interface import flash_attn_func

    return flash_attn_func(*tensors, **named)


def _flash4(*tensors: torch.Tensor, **named: Any) -> Any:
    from flash_attn.cute import flash_attn_func

    return flash_attn_func(*tensors, **named)


flash2 = _operation("flash2", _flash2)
flash3 = _operation("flash3", _flash3)
flash4 = _operation("flash4", _flash4)

OF_TRANSFORMERS = ("eager", "sdpa")
"""Choices that transformers knows under the same name."""


def attend(choice: str) -> Attend:
    """What computes a choice of attention."""
    function: Attend = ATTENTION.implementation(choice)
    return function


def tower(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, causal: bool, scale: float) -> torch.Tensor:
    """For short rows of tokens, as vision towers have them. Raises ValueError if asked for causal attention."""
    if causal:
        raise ValueError("in a vision tower each token sees all")
    return tower_attention(queries, keys, values, scale)


def implementation(choice: str) -> str:
    """The name by which transformers knows a choice of attention. Registers it if transformers has none of that name."""
    if choice in OF_TRANSFORMERS:
        return choice
    # transformers takes any name with "flash" in it for a library that it loads by itself.
    name = f"evbench_{choice.replace('-', '_').replace('flash', 'fa')}"
    AttentionInterface.register(name, for_transformers(attend(choice)))
    return name


def for_transformers(function: Attend) -> Callable[..., tuple[torch.Tensor, None]]:
    """The function as transformers calls it. transformers makes no mask for implementations that it does not know; one is refused."""

    def forward(
        module: nn.Module,
        query: torch.Tensor,  # [batch, heads, length, size]
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float,
        is_causal: bool | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        if attention_mask is not None:
            raise ValueError("this attention takes no mask")
        causal = bool(module.is_causal if is_causal is None else is_causal) and query.shape[2] > 1
        if causal and query.shape[2] != key.shape[2]:
            raise ValueError(f"{query.shape[2]} queries over {key.shape[2]} keys: which of them are seen is not agreed between kernels")
        return function(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), causal, scaling), None

    return forward


def require(choice: str, heads: Iterable[tuple[int, int, int]], device: str, dtype: torch.dtype) -> None:
    """Run the kernel once for each kind of head that a model has.

    Args:
        heads: (heads, key heads, size).

    Raises:
        UserError: the library has no kernel for it. Nothing else is used in its place.
    """
    for head in heads:
        _require(attend(choice), head, True, torch.empty(0, device=device, dtype=dtype), f"attention={choice}", "attention=sdpa")


def of_tower(model: Any) -> Attend:
    """The kernel for short rows of tokens, run once for heads as a tower (transformers' CLIPVisionModel) has them.

    Raises:
        UserError: it does not support them.
    """
    heads = model.config.num_attention_heads
    head = heads, heads, model.config.hidden_size // heads
    _require(tower, head, False, model.embeddings.class_embedding, "vision=fused", "vision=graph")
    return tower


def _require(function: Attend, head: tuple[int, int, int], causal: bool, like: torch.Tensor, choice: str, cure: str) -> None:
    count, key_heads, size = head
    query, key = like.new_zeros((1, 16, count, size)), like.new_zeros((1, 16, key_heads, size))
    try:
        function(query, key, key, causal, size**-0.5)
    except torch.OutOfMemoryError:
        raise
    except LIBRARY_ERRORS as error:
        kind, reason = str(like.dtype).removeprefix("torch."), first_line(error) or type(error).__name__
        raise UserError(f"{choice} has no kernel for heads of {size} in {kind} ({reason}); use {cure}") from error
