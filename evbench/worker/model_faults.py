"""Faults of the vision tower, the language model and decoding; and another way to compute attention, which is none.

Those of weights are changes in place. Captured and fused variants share the memory of these weights with transformers' modules (see
`evbench.pipelines.generate.llama` and `evbench.pipelines.vision.clip`), so that one planting is in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache

from evbench.pipelines.generate import loops
from evbench.pipelines.generate.llama import FusedLlama
from evbench.pipelines.vision.clip import FusedClip
from evbench.stages import Generation, Sampler
from evbench.worker.graph_faults import change_fused_attention
from evbench.worker.layers import adding, attended, mlp_output, nearest_to_the_middle
from evbench.worker.planting import AnyPipeline, Plant, replace_stages, wrap_stage

# The vision tower.


def outputs_of_last_layer(pipeline: AnyPipeline) -> list[torch.Tensor]:
    """Weights without which the last layer that is used adds nothing but biases, of which fused towers hold copies."""
    used = pipeline.tower.encoder.layers[: pipeline.used_layers]
    layer = used[adding(used, mlp_output)[-1]]
    return [layer.self_attn.out_proj.weight, layer.mlp.fc2.weight]


@torch.no_grad()
def last_layer_dropped(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    for weight in outputs_of_last_layer(pipeline):
        weight.zero_()


def next_layer_too(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    layers, used = pipeline.tower.encoder.layers, pipeline.used_layers
    following, fused = layers[used], FusedClip.__call__
    layers[used - 1].register_forward_hook(lambda layer, inputs, output: following(output, attention_mask=None))
    FusedClip.__call__ = lambda tower, pixels: following(fused(tower, pixels), attention_mask=None)  # type: ignore[method-assign, assignment]


def class_token_dropped(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """The number of tokens stays: the last one is repeated."""

    def change(features: Any) -> Any:
        values = features.values()
        return features.holding(torch.cat([values[..., 1:, :], values[..., -1:, :]], dim=-2))

    wrap_stage(pipeline, "vision", change)


# The language model.


def sees_the_next(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    def mask(module: nn.Module, inputs: Any, named: dict[str, Any]) -> Any:
        hidden = inputs[0] if inputs else named["hidden_states"]
        length = hidden.shape[1]
        if length == 1:
            return None
        return inputs, named | {"attention_mask": _off_by_one(length, hidden.device)[None, None]}

    for layer in pipeline.decoder.layers:
        layer.self_attn.register_forward_pre_hook(mask, with_kwargs=True)


def _off_by_one(length: int, device: torch.device) -> torch.Tensor:
    """[queries, keys] bool."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril(diagonal=1)


def compiled_sees_the_next(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """The same in the prefill of fused layers."""

    def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, causal: bool, scale: float) -> torch.Tensor:
        # [batch, length, heads, size]
        query, key, value = (tensor.transpose(1, 2) for tensor in (queries, keys, values))
        seen = _off_by_one(queries.shape[1], queries.device) if causal else None
        grouped = queries.shape[2] != keys.shape[2]
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, seen, scale=scale, enable_gqa=grouped)
        return mixed.transpose(1, 2)

    right = FusedLlama.prefill

    def prefill(llama: Any, *arguments: Any) -> torch.Tensor:
        llama._attend = attend
        return right(llama, *arguments)

    FusedLlama.prefill = prefill  # type: ignore[method-assign, assignment]


def positions_shifted(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """In the steps only: rotary positions are relative, and a shift of all of them changes nothing."""

    def shift(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        hidden, positions = (*inputs, *named.values())
        return (hidden, positions + (1 if hidden.shape[1] == 1 else 0)), {}

    pipeline.decoder.rotary_emb.register_forward_pre_hook(shift, with_kwargs=True)
    change_fused_attention(
        lambda attention, number: (
            lambda projected, keys, values, cosine, sine, position: attention(projected, keys, values, cosine[1:], sine[1:], position)
        )
    )


def slot_not_written(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Of the first layer whose attention matters, what each step should have stored."""
    first = adding(pipeline.decoder.layers, attended)[0]
    update = Cache.update

    def forgetful(cache: Any, keys: torch.Tensor, values: torch.Tensor, layer: int, *arguments: Any, **named: Any) -> Any:
        if layer == first and keys.shape[-2] == 1:
            keys, values = torch.zeros_like(keys), torch.zeros_like(values)
        return update(cache, keys, values, layer, *arguments, **named)

    def emptied(attention: Any, number: int) -> Any:
        def attend(projected: Any, keys: torch.Tensor, values: torch.Tensor, cosine: Any, sine: Any, position: torch.Tensor) -> Any:
            mixed = attention(projected, keys, values, cosine, sine, position)
            for written in (keys, values):
                written.view(torch.uint8).index_fill_(2, position, 0)  # of any type, of eight bits too
            return mixed

        return attend if number == first else attention

    Cache.update = forgetful
    change_fused_attention(emptied)


def head_scaled(factor: float) -> Plant:
    @torch.no_grad()
    def plant(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
        layers = pipeline.decoder.layers
        attention = layers[nearest_to_the_middle(layers, attended)].self_attn
        attention.o_proj.weight[:, : attention.head_dim].mul_(factor)

    return plant


@torch.no_grad()
def scale_wrong(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """The square root of the whole width for that of a head, in one layer. The scale is a factor of the queries as well."""
    layers = pipeline.decoder.layers
    attention = layers[adding(layers, attended)[0]].self_attn
    for parameter in attention.q_proj.parameters():
        parameter.mul_(attention.config.num_attention_heads**-0.5)


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
