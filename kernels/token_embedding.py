"""The embedding of the token at a position that is known to the device alone.

y[b] = embedding[tokens[b, position]]

tokens: [batch, capacity];  position: [1];  embedding: [vocabulary, hidden];  y: [batch, hidden]
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from evbench.kernels.dependent_launch import launch_options
from evbench.kernels.registration import register


@triton.jit
def token_embedding_kernel(
    tokens_ptr,  # [batch, capacity]
    position_ptr,  # [1]
    embedding_ptr,  # [vocabulary, hidden]
    y_ptr,  # [batch, hidden]
    capacity,
    hidden,
    BLOCK: tl.constexpr,  # power of two, hidden or more
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()
    sample = tl.program_id(0).to(tl.int64)
    token = tl.load(tokens_ptr + sample * capacity + tl.load(position_ptr))
    dim = tl.arange(0, BLOCK)
    row = tl.load(embedding_ptr + token * hidden + dim, mask=dim < hidden)
    tl.store(y_ptr + sample * hidden + dim, row, mask=dim < hidden)


def token_embedding(tokens: torch.Tensor, position: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    """[batch, hidden], in the type of the embedding.

    Args:
        tokens: [batch, capacity] int64, contiguous; each below the vocabulary, which nobody looks at here.
        position: [1] int64 on the device, below the capacity, which nobody looks at either.
        embedding: [vocabulary, hidden], contiguous.

    Raises:
        ValueError: a tensor is not contiguous.
    """
    if not (tokens.is_contiguous() and embedding.is_contiguous()):
        raise ValueError(f"tokens and embedding must be contiguous, not of the strides {tokens.stride()} and {embedding.stride()}")
    return torch.as_tensor(_operator(tokens, position, embedding))


def _launch(tokens: torch.Tensor, position: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    y = _fake(tokens, position, embedding)
    (batch, capacity), hidden = tokens.shape, embedding.shape[1]
    block = triton.next_power_of_2(hidden)
    token_embedding_kernel[(batch,)](tokens, position, embedding, y, capacity, hidden, BLOCK=block, **launch_options(tokens.device))
    return y


def _fake(tokens: torch.Tensor, position: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    return embedding.new_empty((tokens.shape[0], embedding.shape[1]))


_operator = register("token_embedding(Tensor tokens, Tensor position, Tensor embedding) -> Tensor", _launch, _fake)


def reference(tokens: torch.Tensor, position: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    """Reference of `token_embedding` in PyTorch."""
    return embedding[tokens.index_select(1, position)[:, 0]]
