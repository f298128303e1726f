"""A KV cache in eight bits: keys, behind their rotation, and values as float8_e4m3fn, with no scale.

    kept = x between -448 and 448, rounded to the nearest that the type has

Attention sees nothing else, that of a prompt over itself among it. So a token stands for the same, whether it is of the prompt or of the
answer, and whatever is computed at once. A scale for each head would have to be known before the first token of it is seen. The type needs
none where numbers lie between 2^-6 and 448, as they do in most models: there each is off by a sixteenth at most.

A key that lies near the middle between two numbers of the type is rounded up by one computation, and down by another that is as exact:
`evbench.verdict.error_rule` tells how far outputs may be apart by that.

Source: Micikevicius et al. 2022, arXiv 2209.05433 (e4m3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from evbench.kernels.kept import rounded

STORED = "kv_cache_type"
"""Attribute of a decoder whose cache is of another type than its weights."""


class RoundedCache:
    """What transformers' attention gets in the place of a cache: keys and values are rounded on their way into it, and as they are seen."""

    def __init__(self, cache: Any) -> None:
        """`cache`: None if nothing is kept."""
        self._cache = cache

    def update(self, keys: torch.Tensor, values: torch.Tensor, *rest: Any, **named: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """[batch, key heads, length, size] -> all that there are, in the type that they came in."""
        keys, values = (rounded(x, torch.float8_e4m3fn).to(x.dtype) for x in (keys, values))
        return (keys, values) if self._cache is None else self._cache.update(keys, values, *rest, **named)


def cache_type(decoder: Any) -> torch.dtype:
    """Of the keys and values that are kept."""
    found: torch.dtype = getattr(decoder, STORED, decoder.dtype)
    return found


def full(decoder: Any) -> None:
    """transformers' LlamaModel as it is. Each function here changes one in place."""


def fp8_rounded(decoder: Any) -> None:
    def give_rounded(attention: nn.Module, inputs: Any, named: dict[str, Any]) -> Any:
        return inputs, named | {"past_key_values": RoundedCache(named.get("past_key_values"))}

    for layer in decoder.layers:
        layer.self_attn.register_forward_pre_hook(give_rounded, with_kwargs=True)


def fp8(decoder: Any) -> None:
    setattr(decoder, STORED, torch.float8_e4m3fn)
    fp8_rounded(decoder)
