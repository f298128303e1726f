"""Pooling of the tower's tokens over time and space, after or before the affine layers that follow the projector's activation."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn


def pool(features: torch.Tensor, gelu: bool = False) -> torch.Tensor:
    """Temporal tokens, one per image, then spatial tokens, one per patch: [images, tokens, hidden] -> [1, images + tokens, hidden].

    Args:
        gelu: whether the activation comes first.
    """
    if gelu:
        features = nn.functional.gelu(features)
    temporal = features.mean(dim=1)
    spatial = features.mean(dim=0)
    return torch.cat([temporal, spatial])[None]


class Pooling(Protocol):
    """What is done to the tower's tokens, with the pooling between the two steps."""

    gelu: bool
    """Whether the projector's activation is left to the pooling."""

    def tokens(self, hidden: torch.Tensor, /) -> torch.Tensor:
        """[images, tokens, hidden of the tower] -> [images, tokens, hidden]."""

    def pooled(self, means: torch.Tensor, /) -> torch.Tensor:
        """[1, images + tokens, hidden] -> [1, images + tokens, hidden]: the input of the language model."""


class PoolingLast:
    """As published: projector and adaptor on every token, and nothing to do after the pooling."""

    gelu = False

    def __init__(self, model: Any) -> None:
        """`model` has `projected`, [images, tokens, hidden of the tower] -> [images, tokens, hidden]."""
        self._model = model

    def tokens(self, hidden: torch.Tensor, /) -> torch.Tensor:
        return torch.as_tensor(self._model.projected(hidden))

    def pooled(self, means: torch.Tensor, /) -> torch.Tensor:
        return means


class PoolingFirst:
    """What follows the projector's activation is affine, and so is a mean: they can be exchanged.

    adaptor(second(x)) = A (W x + b) + a = (A W) x + (A b + a). One matrix then, for 582 tokens in the place of two for 2,885.
    """

    gelu = True

    def __init__(self, model: Any) -> None:
        """`model` has `visual_projector` and `feature_adaptor`. Their product is computed here: later changes of weights have no effect."""
        projector: Any = model.visual_projector
        self._first, _, second = projector
        adaptor = model.feature_adaptor
        with torch.no_grad():
            matrix, shift = adaptor.weight.double(), adaptor.bias.double()
            self._weight = (matrix @ second.weight.double()).to(adaptor.weight.dtype)
            self._bias = (matrix @ second.bias.double() + shift).to(adaptor.bias.dtype)

    def tokens(self, hidden: torch.Tensor, /) -> torch.Tensor:
        return torch.as_tensor(self._first(hidden))

    def pooled(self, means: torch.Tensor, /) -> torch.Tensor:
        return nn.functional.linear(means, self._weight, self._bias)
