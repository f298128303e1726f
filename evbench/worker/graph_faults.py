"""Faults of what is captured as CUDA graphs: the decode loop, its KV cache, and replays.

They change classes, before the first run captures what these do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from evbench.kernels.matvec import Quantized
from evbench.pipelines.compute.cuda_graph import Replayed
from evbench.pipelines.generate import tensor_parallel
from evbench.pipelines.generate.graph_loop import DecodeState
from evbench.pipelines.generate.llama import FusedLlama, Sums
from evbench.worker.layers import adding, attended
from evbench.worker.planting import AnyPipeline

Attention = Callable[..., torch.Tensor]
"""Of a decode step: see evbench.kernels.decode_attention.DecodeAttention."""


def change_fused_attention(change: Callable[[Attention, int], Attention]) -> None:
    """`change(attention, number of a layer)` is what fused decode steps call in that layer."""
    right = FusedLlama.step

    def step(llama: Any, token: torch.Tensor, position: torch.Tensor, kv_cache: Any, attention: Attention) -> torch.Tensor:
        layers = iter(range(len(kv_cache)))
        return right(llama, token, position, kv_cache, lambda *tensors: change(attention, next(layers))(*tensors))  # type: ignore[arg-type]

    FusedLlama.step = step  # type: ignore[method-assign, assignment]


def position_before(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Each step writes where the token before it stands, the first one over the last of the prompt."""
    change_fused_attention(
        lambda attention, number: lambda *tensors: attention(*tensors[:-1], (tensors[-1] - 1).clamp(min=0))  # warm-ups begin at 0
    )


def cache_lost(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Of the first layer whose attention matters, after the prompt."""
    lost, right = adding(pipeline.decoder.layers, attended)[0], DecodeState.reset

    def reset(state: Any, prompt: int, logits: torch.Tensor) -> None:
        right(state, prompt, logits)
        for tensor in state._kv_cache[lost]:
            tensor.zero_()

    DecodeState.reset = reset  # type: ignore[method-assign, assignment]


def stale_logits(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Each step hands out, and chooses by, the logits of the one before."""
    right = DecodeState._step

    def step(state: Any) -> None:
        before = state.logits.clone()
        right(state)
        state.logits.copy_(before)
        state.tokens.index_copy_(1, state._position, before.argmax(dim=-1, keepdim=True))

    DecodeState._step = step  # type: ignore[method-assign, assignment]


def part_left_out(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Of the last GPU, in the sum behind the attention of the first layer whose attention matters."""
    layer, right = adding(pipeline.decoder.layers, attended)[0], tensor_parallel.part_of

    def part_of(llama: FusedLlama, rank: int, devices: Sequence[torch.device], sums: Sums) -> FusedLlama:
        part = right(llama, rank, devices, sums)
        if rank == len(devices) - 1:
            output = part.layers[layer].output
            (output.scales if isinstance(output, Quantized) else output).zero_()
        return part

    tensor_parallel.part_of = part_of


def input_not_copied(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """Each replay is of what the graph was captured with."""
    right = Replayed.__call__

    def replayed(graph: Any, x: torch.Tensor) -> torch.Tensor:
        known = graph._known.get(tuple(x.shape))
        return right(graph, x if known is None else known[0])

    Replayed.__call__ = replayed  # type: ignore[method-assign, assignment]
