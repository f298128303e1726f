"""Faults of frames, raw events and pixel values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional

from evbench.colours import CHANGES
from evbench.pipelines.load import event_files, video
from evbench.pipelines.load.event_images import SLICES
from evbench.pipelines.load.event_stream import EventStream
from evbench.pipelines.preprocess import pixels
from evbench.worker.planting import AnyPipeline, Plant, replace_stages, wrap_stage

# Frames.


def changed_frames(change: Callable[[Any], Any]) -> Plant:
    """Other frames, under the indices of the right ones."""

    def plant(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
        wrap_stage(pipeline, "load", lambda loaded: loaded.holding(_changed(loaded.values(), change)))

    return plant


def _changed(values: Any, change: Callable[[Any], Any]) -> Any:
    """An array changed; or a tensor, which stays one, on its device."""
    if isinstance(values, torch.Tensor):
        return torch.from_numpy(change(values.cpu().numpy())).to(values.device)
    return change(values)


def next_frame(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    right = pipeline.load
    policies = dict(video.POLICIES)

    def later(policy: Callable[[int, int], list[int]]) -> Callable[[int, int], list[int]]:
        return lambda total, count: [min(index + 1, total - 1) for index in policy(total, count)]

    def load(path: Path) -> Any:
        output, work = right(path)
        video.POLICIES.update({name: later(policy) for name, policy in policies.items()})
        shifted, _ = right(path)
        video.POLICIES.update(policies)
        return output.holding(shifted.values()), work

    replace_stages(pipeline, load=load)


def repeated(frames: Any) -> Any:
    changed = frames.copy()
    changed[len(changed) // 2] = changed[len(changed) // 2 - 1]
    return changed


def recoloured(name: str) -> Plant:
    change = CHANGES[name]
    return changed_frames(lambda frames: np.clip(np.rint(change(frames.astype(np.float64))), 0, 255).astype(np.uint8))


# Raw events.


def reordered(order: Callable[[EventStream, npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.int64]]) -> Plant:
    """The events of each slice in another order: (stream, slice of each event, number of each event) -> the numbers in the new order."""

    def change(stream: EventStream) -> EventStream:
        number = np.arange(len(stream.x))
        numbers = order(stream, np.minimum(number // (len(number) // SLICES), SLICES - 1), number)
        return replace(stream, x=stream.x[numbers], y=stream.y[numbers], p=stream.p[numbers])

    return changed_events(change)


def changed_events(change: Callable[[EventStream], EventStream]) -> Plant:
    def plant(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
        read = event_files.read
        event_files.read = lambda path, window: change(read(path, window))

    return plant


# Pixel values.


def normalised_otherwise(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Plant:
    def plant(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
        right = pixels.Recipe.of(pipeline.image_processor)

        def change(inputs: Any) -> Any:
            values = inputs.values()
            colours = values.float() * _of_channels(right.std, values) + _of_channels(right.mean, values)
            return inputs.holding(_normalised(colours, mean or right.mean, std or right.std).to(values.dtype))

        wrap_stage(pipeline, "preprocess", change)

    return plant


def bilinear(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    """The pixel values are made anew, of the same frames, and so with any choice of preprocessing."""
    recipe, right = pixels.Recipe.of(pipeline.image_processor), pipeline.preprocess

    def resized(frames: Any) -> torch.Tensor:
        # [frames, height, width, 3] -> [frames, 3, crop, crop], both uint8
        size = recipe.resized(*frames.shape[1:3])
        top, left = recipe.corner(*size)
        images = functional.resize(
            torch.as_tensor(frames).permute(0, 3, 1, 2), list(size), functional.InterpolationMode.BILINEAR, antialias=False
        )
        return torch.as_tensor(functional.crop(images, top, left, *recipe.crop)).contiguous()

    def preprocess(loaded: Any) -> Any:
        inputs, work = right(loaded)
        values = inputs.values()
        colours = torch.cat([resized(batch) for batch in loaded.batches()]).to(values.device).float() / 255
        return inputs.holding(_normalised(colours, recipe.mean, recipe.std).to(values.dtype)), work

    replace_stages(pipeline, preprocess=preprocess)


def _normalised(colours: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    # colours: [images, 3, height, width], 0 to 1
    return (colours - _of_channels(mean, colours)) / _of_channels(std, colours)


def _of_channels(numbers: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(numbers, device=like.device).view(3, 1, 1)
