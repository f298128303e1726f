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
        wrap_stage(pipeline, "load", lambda loaded: loaded.holding(change(_array(loaded.values()))))

    return plant


def _array(values: Any) -> Any:
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


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
        return output.holding(_array(shifted.values())), work

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
        numbers = (right.mean, right.std, mean or right.mean, std or right.std)

        def change(inputs: Any) -> Any:
            values = inputs.values()
            right_mean, right_std, mean, std = (torch.tensor(one, device=values.device).view(3, 1, 1) for one in numbers)
            return inputs.holding(((values.float() * right_std + right_mean - mean) / std).to(values.dtype))

        wrap_stage(pipeline, "preprocess", change)

    return plant


def bilinear(pipeline: AnyPipeline, paths: Sequence[Path]) -> None:
    class Bilinear:
        InterpolationMode = functional.InterpolationMode

        @staticmethod
        def resize(images: torch.Tensor, size: list[int], **usual: Any) -> torch.Tensor:
            resized: torch.Tensor = functional.resize(images, size, interpolation=functional.InterpolationMode.BILINEAR, antialias=False)
            return resized

    pixels.functional = Bilinear  # type: ignore[attr-defined]
