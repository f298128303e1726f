"""How the vision stage of a model is run: as published, batched, compiled, or captured as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from evbench.choices import Variant
from evbench.pipelines.compute import attention
from evbench.pipelines.compute.cuda_graph import Replayed
from evbench.pipelines.vision.choices import VISION
from evbench.pipelines.vision.clip import FusedClip, Steps, kernel_steps, torch_steps

Encode = Callable[[torch.Tensor], torch.Tensor]
"""[..., 3, height, width] pixel values -> visual features, the input of the language model."""


class VisionModel(Protocol):
    """The vision stage of a model, in the steps that the choices of `vision` rearrange."""

    @property
    def tower(self) -> Any:
        """transformers' CLIPVisionModel."""

    @property
    def used_layers(self) -> int:
        """How many of the tower's layers the features need. Raises UserError if the choices here cannot compute them."""

    def published(self, pixels: torch.Tensor, /) -> torch.Tensor:
        """[..., 3, height, width] -> features, as the released code computes them."""

    def hidden_states(self, images: torch.Tensor, /) -> torch.Tensor:
        """[images, 3, height, width] -> [images, tokens, hidden of the tower], after the used layers."""

    def features(self, hidden: torch.Tensor, kernels: bool, /) -> torch.Tensor:
        """[images, tokens, hidden of the tower] -> features. `kernels`: by Triton kernels where there are some."""

    def finish(self, features: torch.Tensor, /) -> torch.Tensor:
        """What is left to do, outside of any graph."""


def encoder(model: VisionModel, variant: Variant) -> Encode:
    """The vision stage as the variant chooses it."""
    encode: Encode = VISION.implementation(variant["vision"])(model, variant)
    return lambda pixels: model.finish(encode(pixels))


def eager(model: VisionModel, variant: Variant) -> Encode:
    """As published."""
    return model.published


def batched(model: VisionModel, variant: Variant) -> Encode:
    """All images at once, through the layers that are used."""
    _ = model.used_layers
    return lambda pixels: model.features(model.hidden_states(pixels.flatten(0, -4)), False)


def compiled(model: VisionModel, variant: Variant) -> Encode:
    """`batched` as one torch.compile graph."""
    return torch.compile(batched(model, variant), fullgraph=True, dynamic=False)


def compiled_tower(model: VisionModel, variant: Variant) -> Encode:
    """As published, the tower compiled in its place."""
    compile_tower(model.tower)
    return model.published


def compile_tower(tower: Any) -> None:
    """In place, as users of transformers do it. Where the compiler cannot follow, a graph ends, and the next one begins behind it."""
    tower.compile()


def graph(model: VisionModel, variant: Variant) -> Encode:
    """Fused projections, each layer compiled, all of it captured as a CUDA graph."""
    return _replayed(model, torch_steps(model.tower, attention.attend(variant["attention"])), kernels=False)


def fused(model: VisionModel, variant: Variant) -> Encode:
    """Fused projections, Triton kernels between them, all of it captured as a CUDA graph."""
    return _replayed(model, kernel_steps(model.tower), kernels=True)


def _replayed(model: VisionModel, steps: Steps, kernels: bool) -> Encode:
    tower = FusedClip(model.tower, model.used_layers, steps)
    return Replayed(lambda pixels: model.features(tower(pixels.flatten(0, -4)), kernels))
