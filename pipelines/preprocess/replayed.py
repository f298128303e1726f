"""The fused preprocessing, replayed as a CUDA graph.

Behind a decoder the host's caches hold nothing of what comes next: finding and launching one kernel takes the host four times as long as
the GPU needs for it. A replay asks for little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from evbench.colours import Affine
from evbench.pipelines.compute import cuda_graph
from evbench.pipelines.preprocess.pixels import FusedValues, Operation, Pixels, Recipe

Batch = tuple[Pixels, Affine | None]
"""Images of one size, as `Images.raw_batches` has them."""
KEPT = 32
"""Places in memory that are remembered."""


@dataclass(frozen=True)
class Captured:
    """A graph, and what it writes."""

    pixels: torch.Tensor
    replay: cuda_graph.Work
    operations: list[Operation]
    """With the tables that its kernels read."""


class FusedImages:
    """Batches -> pixel values: each batch written to its place, by `FusedValues`.

    A decoder's memory is used again. Where images lie at an address for the second time, what is done to them there is captured, and is
    replayed from then on.
    """

    def __init__(self, recipe: Recipe, device: str, dtype: torch.dtype, replays: bool) -> None:
        """`replays`: whether there are graphs on this device."""
        self._values, self._replays = FusedValues(recipe, device, dtype), replays
        self._known: dict[tuple[Any, ...], Captured | None] = {}
        """Where images lie, and of what shape they are -> its graph. None: they have been there once."""

    def __call__(self, count: int, batches: list[Batch]) -> torch.Tensor:
        """[count, 3, crop, crop]. What is returned may be written over when images at the same address are given again.

        Args:
            count: images of all batches together.
        """
        key = _places(batches) if self._replays else None
        if key is None:
            return self._made(count, batches)
        if key not in self._known:
            if len(self._known) == KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = None
            return self._made(count, batches)
        captured = self._known[key]
        if captured is None:
            self._known[key] = captured = self._capture(count, batches)
        captured.replay()
        return captured.pixels

    def _made(self, count: int, batches: list[Batch]) -> torch.Tensor:
        pixels = self._values.allocate(count)
        self._write(batches, pixels)
        return pixels

    def _write(self, batches: list[Batch], pixels: torch.Tensor) -> None:
        start = 0
        for images, repair in batches:
            self._values(images, repair, into=pixels[start : start + len(images)])
            start += len(images)

    def _capture(self, count: int, batches: list[Batch]) -> Captured:
        pixels = self._values.allocate(count)
        replay = cuda_graph.captured(lambda: self._write(batches, pixels))
        return Captured(pixels, replay, [self._values.operation(torch.as_tensor(images), repair) for images, repair in batches])


def _places(batches: list[Batch]) -> tuple[Any, ...] | None:
    """Where the images lie on the GPU, of what shape they are, and what is done to them. None where they are on the host."""
    places: list[Any] = []
    for images, repair in batches:
        if not isinstance(images, torch.Tensor) or not images.is_cuda:
            return None
        places += (images.data_ptr(), images.shape, images.stride(), images.dtype, None if repair is None else repair.tobytes())
    return tuple(places)
