"""Faults of the vision tower, the language model and decoding; and another way to compute attention, which is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache

from evbench.pipelines.generate import loops
from evbench.stages import Generation, Sampler
from evbench.worker.planting import AnyPipeline, replace_stages, wrap_stage

# The vision tower.


def last_layer_dropped(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    _last_used(pipeline).register_forward_hook(lambda layer, inputs, output: inputs[0])


def next_layer_too(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    layers, used = pipeline.tower.encoder.layers, pipeline.used_layers
    following = layers[used]
    layers[used - 1].register_forward_hook(lambda layer, inputs, output: following(output, attention_mask=None))


def _last_used(pipeline: AnyPipeline) -> nn.Module:
    layer: nn.Module = pipeline.tower.encoder.layers[pipeline.used_layers - 1]
    return layer


def class_token_dropped(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """The number of tokens stays: the last one is repeated."""

    def change(features: Any) -> Any:
        values = features.values()
        return features.holding(torch.cat([values[..., 1:, :], values[..., -1:, :]], dim=-2))

    wrap_stage(pipeline, "vision", change)


# The language model.


def _attention_modules(pipeline: AnyPipeline) -> list[Any]:
    return [layer.self_attn for layer in pipeline.decoder.layers]


def sees_the_next(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    def mask(module: nn.Module, inputs: Any, named: dict[str, Any]) -> Any:
        hidden = inputs[0] if inputs else named["hidden_states"]
        length = hidden.shape[1]
        if length == 1:
            return None
        seen = torch.ones(length, length, dtype=torch.bool, device=hidden.device).tril(diagonal=1)
        return inputs, named | {"attention_mask": seen[None, None]}

    for module in _attention_modules(pipeline):
        module.register_forward_pre_hook(mask, with_kwargs=True)


def positions_shifted(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """In the steps only: rotary positions are relative, and a shift of all of them changes nothing."""

    def shift(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        hidden, positions = (*inputs, *named.values())
        return (hidden, positions + (1 if hidden.shape[1] == 1 else 0)), {}

    pipeline.decoder.rotary_emb.register_forward_pre_hook(shift, with_kwargs=True)


def slot_not_written(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Of the first layer, what each step should have stored."""
    update = Cache.update

    def forgetful(cache: Any, keys: torch.Tensor, values: torch.Tensor, layer: int, *arguments: Any, **named: Any) -> Any:
        if layer == 0 and keys.shape[-2] == 1:
            keys, values = torch.zeros_like(keys), torch.zeros_like(values)
        return update(cache, keys, values, layer, *arguments, **named)

    Cache.update = forgetful


def head_scaled(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    modules = _attention_modules(pipeline)
    module = modules[len(modules) // 2]
    width = module.head_dim

    def scale(layer: nn.Module, inputs: Any) -> Any:
        (heads,) = inputs
        return (torch.cat([heads[..., :width] * 1.01, heads[..., width:]], dim=-1),)

    module.o_proj.register_forward_pre_hook(scale)


def scale_wrong(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """By the square root of the whole width instead of a head's, in one layer."""
    module = _attention_modules(pipeline)[0]
    module.scaling = (module.head_dim * module.config.num_attention_heads) ** -0.5


def eight_bits(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Weights rounded to float8, each matrix with a separate scale, as such checkpoints have it."""
    with torch.no_grad():
        for module in pipeline.decoder.modules():
            if isinstance(module, nn.Linear):
                scale = module.weight.abs().max() / torch.finfo(torch.float8_e4m3fn).max
                module.weight.copy_((module.weight / scale).to(torch.float8_e4m3fn).to(module.weight.dtype) * scale)


# Decoding.


def one_token_less(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    right = pipeline.generate
    replace_stages(pipeline, generate=lambda features, new_tokens, sampler: right(features, max(1, new_tokens - 1), sampler))


def sampled(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    step = loops.StaticLoop._next

    def sampled(loop: Any, embeddings: torch.Tensor, positions: torch.Tensor, cache: Any) -> tuple[torch.Tensor, torch.Tensor]:
        logits, _ = step(loop, embeddings, positions, cache)
        return logits, torch.multinomial(logits[:, 0].float().softmax(dim=-1), 1)

    loops.StaticLoop._next = sampled  # type: ignore[method-assign, assignment]


def answers_swapped(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Each sample gets the answer to another."""
    load, right = pipeline.load, pipeline.generate
    asked: list[Path] = []

    def remember(path: Path) -> Any:
        asked[:] = [path]
        return load(path)

    def swapped(features: Any, new_tokens: int, sampler: Sampler) -> tuple[Generation, Any]:
        _, work = right(features, new_tokens, Sampler(sampler.forced))
        other = paths[(paths.index(asked[0]) + 1) % len(paths)]
        loaded, _ = load(other)
        seen, _ = pipeline.vision(pipeline.preprocess(loaded)[0])
        return right(seen, new_tokens, sampler)[0], work

    replace_stages(pipeline, load=remember, generate=swapped)


# What is no fault.


def math_attention(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """torch's scaled_dot_product_attention has several kernels, and heeds this also on a CPU."""
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
