"""Decode loops that are captured as graphs, where there is no GPU: as they are, over the references of their kernels.

Triton's interpreter takes milliseconds for each program of a kernel, and kernels have tests of their own.
"""

from __future__ import annotations

import pytest
import torch

from evbench.kernels import block_attention, decode_attention, greedy_token, matvec, rotated_heads, token_embedding
from evbench.kernels.block_attention import BlockAttention
from evbench.kernels.decode_attention import DecodeAttention
from evbench.pipelines.compute import cuda_graph
from evbench.pipelines.generate import graph_loop, llama, targets


class ReferenceDecodeAttention(DecodeAttention):
    """The kernel's reference in its place."""

    def __call__(
        self,
        projected: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        position: torch.Tensor,
    ) -> torch.Tensor:
        return decode_attention.reference(projected, keys, values, cosine, sine, int(position), self._heads)


class ReferenceBlockAttention(BlockAttention):
    """The kernel's reference in its place."""

    def __call__(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        return block_attention.reference(query, keys, values, int(position))


def reference_rotated_heads(
    projected: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    position: torch.Tensor | None = None,
) -> torch.Tensor:
    """As the kernel is called: `position` is [1]."""
    return rotated_heads.reference(projected, keys, values, cosine, sine, 0 if position is None else int(position))


def uncaptured(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be captured is called."""
    monkeypatch.setattr(cuda_graph, "captured", lambda work: work)


def over_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is captured, and references are in the place of the language model's kernels."""
    uncaptured(monkeypatch)
    monkeypatch.setattr(llama, "matvec", matvec.reference)
    monkeypatch.setattr(llama, "rotated_heads", reference_rotated_heads)
    monkeypatch.setattr(llama, "token_embedding", token_embedding.reference)
    monkeypatch.setattr(graph_loop, "greedy_token", greedy_token.reference)
    monkeypatch.setattr(graph_loop, "DecodeAttention", ReferenceDecodeAttention)
    monkeypatch.setattr(targets, "BlockAttention", ReferenceBlockAttention)


def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be compiled runs as it is."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
