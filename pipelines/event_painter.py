"""Event images made on the GPU."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import numpy.typing as npt
import torch

from evbench.kernels import event_images as kernel
from evbench.pipelines.event_images import SLICES, EventImages, PictureSize, picture_sizes
from evbench.pipelines.event_stream import EventStream
from evbench.pipelines.side_stream import SideStream


class EventPainter:
    """Copies the events as they are, 5 bytes each, and paints the pictures there: see evbench.kernels.event_images."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._aside = SideStream() if device == "cuda" else None
        self._decoder = f"Triton {importlib.metadata.version('triton')}"

    def __call__(self, stream: EventStream, size: PictureSize) -> EventImages:
        def work() -> list[torch.Tensor]:
            return paint(*(on_device(part, self._device) for part in (stream.x, stream.y, stream.p)), stream.sensor, size)

        return EventImages(tuple(work() if self._aside is None else self._aside.make(work)), self._decoder)


def on_device(part: npt.NDArray[np.uint16] | npt.NDArray[np.uint8], device: str) -> torch.Tensor:
    return torch.from_numpy(part).to(device)


def paint(
    x: torch.Tensor, y: torch.Tensor, polarity: torch.Tensor, sensor: tuple[int, int] | None, size: PictureSize
) -> list[torch.Tensor]:
    """The pictures of events that lie on the device.

    Their sizes are found there as well: the events have to be brought there anyway, and reading them takes the GPU microseconds, where
    NumPy takes milliseconds. That an event lies outside of the sensor is seen in the same way.
    """
    return kernel.event_images(x, y, polarity, picture_sizes(kernel.sizes(x, y, SLICES), sensor, size))
