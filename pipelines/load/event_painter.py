"""Event images rendered on the GPU: each pixel's last event is found at once, and an image is painted when it is asked for."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch

from evbench.kernels import extents
from evbench.kernels.event_slices import Size
from evbench.kernels.last_events import last_events
from evbench.kernels.paint import paint, unpainted
from evbench.pipelines.compute.side_stream import SideStream
from evbench.pipelines.load.event_images import SLICES, EventImages, Images, PictureSize, Pixels, alike, picture_sizes
from evbench.pipelines.load.event_stream import EventStream

Events = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""x and y [events] uint16, polarity [events] uint8: 5 bytes each."""


@dataclass(frozen=True)
class EventMaps:
    """Images that nobody has painted yet: see evbench.pipelines.load.event_images.Images.

    The kernel for pixel values reads the last events themselves. Who asks for `pixels` or `values` gets pictures, painted then.
    """

    last: torch.Tensor
    """[images, height, width] int32 on the device, as evbench.kernels.last_events finds them. Each map is large enough for all."""
    sizes: tuple[Size, ...]
    """Height and width of each picture, from the map's upper left corner; further out there are no events."""
    decoder: str

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def pixels(self) -> tuple[torch.Tensor, ...]:
        return tuple(picture[:height, :width].contiguous() for picture, (height, width) in zip(self._painted, self.sizes, strict=True))

    def values(self) -> torch.Tensor:
        height, width = self.largest()
        return self._painted[:, :height, :width].contiguous()

    def holding(self, values: Pixels | torch.Tensor) -> Images:
        """Maps, so that the same kernels run, if the values have only the three colours of a painted image.

        Otherwise the images, as they are.
        """
        pictures = torch.as_tensor(values).to(self.last.device)
        known = unpainted(pictures)
        if known is None:
            cut = (picture[:height, :width] for picture, (height, width) in zip(pictures, self.sizes, strict=True))
            return EventImages(tuple(cut), self.decoder)
        last = torch.full_like(self.last, -1)
        for place, found, (height, width) in zip(last, known, self.sizes, strict=True):
            place[:height, :width] = found[:height, :width]
        return dataclasses.replace(self, last=last)

    def largest(self) -> tuple[int, int]:
        return max(height for height, _ in self.sizes), max(width for _, width in self.sizes)

    def each(self) -> tuple[torch.Tensor, ...]:
        return self.pixels

    def batches(self) -> Iterator[torch.Tensor]:
        return alike(self.pixels)

    def raw_batches(self) -> Iterator[tuple[torch.Tensor, None]]:
        """Last events, not painted: neighbours of one size together, as views, [images, height, width] int32."""
        start = 0
        for (height, width), several in groupby(self.sizes):
            count = len(list(several))
            yield self.last[start : start + count, :height, :width], None
            start += count

    @cached_property
    def _painted(self) -> torch.Tensor:
        """[images, height, width, 3], as large as the maps."""
        return paint(self.last)


class EventPainter:
    """Copies the events as they are, and finds each pixel's last there: see evbench.kernels.last_events."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._stream = SideStream() if device == "cuda" else None
        self._decoder = f"Triton {importlib.metadata.version('triton')}"

    def __call__(self, stream: EventStream, size: PictureSize) -> EventMaps:
        found: list[Size] = []

        def work() -> list[torch.Tensor]:
            last, sizes = search(copied(stream, self._device), stream.sensor, size)
            found.extend(sizes)
            return [last]

        (last,) = work() if self._stream is None else self._stream.run(work)
        return EventMaps(last, tuple(found), self._decoder)


def copied(stream: EventStream, device: str) -> Events:
    # A column of a pickle is a read-only view of the file, for which torch warns.
    columns = (column if column.flags.writeable else column.copy() for column in (stream.x, stream.y, stream.p))
    x, y, polarity = (torch.from_numpy(column).to(device).contiguous() for column in columns)
    return x, y, polarity


def search(events: Events, sensor: Size | None, size: PictureSize) -> tuple[torch.Tensor, list[Size]]:
    """The last events [slices, height, width] of events that lie on the device, and the size of each slice's picture.

    Sizes are found there as well: the events have to be brought there anyway, and reading them takes the GPU microseconds, where NumPy
    takes milliseconds. In the same pass, where the sensor's size is known and so is that of the maps; otherwise in a separate pass before.
    Events outside of the sensor are detected there, too.

    Raises:
        ValueError: see evbench.pipelines.load.event_images.Renderer.
    """
    x, y, polarity = events
    if sensor is None:
        sizes = picture_sizes(extents.sizes(x, y, SLICES), None, size)
        canvas = max(height for height, _ in sizes), max(width for _, width in sizes)
        return last_events(x, y, polarity, SLICES, canvas)[0], sizes
    last, needed = last_events(x, y, polarity, SLICES, sensor)
    return last, picture_sizes(extents.as_sizes(needed), sensor, size)
