"""Event images made on the GPU."""

from __future__ import annotations

import importlib.metadata

import torch

from evbench.kernels import event_images as kernel
from evbench.pipelines.event_images import SLICES, EventImages, PictureSize, picture_sizes
from evbench.pipelines.event_stream import EventStream
from evbench.pipelines.side_stream import SideStream

Events = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""x and y [events] uint16, polarity [events] uint8: 5 bytes each."""


class EventPainter:
    """Copies the events as they are, and paints the pictures there: see evbench.kernels.event_images."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._aside = SideStream() if device == "cuda" else None
        self._decoder = f"Triton {importlib.metadata.version('triton')}"

    def __call__(self, stream: EventStream, size: PictureSize) -> EventImages:
        def work() -> list[torch.Tensor]:
            return paint(copied(stream, self._device), stream.sensor, size)

        return EventImages(tuple(work() if self._aside is None else self._aside.make(work)), self._decoder)


def copied(stream: EventStream, device: str) -> Events:
    x, y, polarity = (torch.from_numpy(column).to(device).contiguous() for column in (stream.x, stream.y, stream.p))
    return x, y, polarity


def paint(events: Events, sensor: tuple[int, int] | None, size: PictureSize) -> list[torch.Tensor]:
    """The pictures of events that lie on the device.

    Their sizes are found there as well: the events have to be brought there anyway, and reading them takes the GPU microseconds, where
    NumPy takes milliseconds. That an event lies outside of the sensor is seen in the same way.
    """
    x, y, polarity = events
    return kernel.event_images(x, y, polarity, picture_sizes(kernel.sizes(x, y, SLICES), sensor, size))
