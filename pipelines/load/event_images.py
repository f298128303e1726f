"""Event images, and how they are rendered from an event stream.

Five slices of equal count, the last with what remains. White ground, blue where it got darker (polarity 0), red where brighter; the last
event of a pixel wins. Source: XduSyL/EventGPT:common/common.py. All renderers agree byte for byte.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from evbench.colours import Affine
from evbench.pipelines.load.event_stream import EventStream

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]
PictureSize = Literal["own", "sensor"]
"""As small as a slice's events allow, which is the original's way; or the whole sensor."""
SLICES = 5
GROUND, DARKER, BRIGHTER = (255, 255, 255), (0, 0, 255), (255, 0, 0)
"""RGB."""
PALETTE = np.array([DARKER, BRIGHTER, GROUND], np.uint8)
LONGEST_SHAPE = 32
"""Times its shorter side that a picture's longer one may be. The shorter becomes 336 in a model's input: what is longer takes minutes."""


class Images(Protocol):
    """The event images of a sample, in order of time: painted already, or not yet."""

    @property
    def pixels(self) -> tuple[Pixels | torch.Tensor, ...]:
        """Each [height, width, 3] RGB, uint8; tensors where the GPU rendered them. Of raw events, they may differ in size."""

    @property
    def decoder(self) -> str:
        """What read or rendered them."""

    def __len__(self) -> int: ...

    def values(self) -> Pixels | torch.Tensor:
        """[images, height, width, 3]: those that are smaller than others have more of the ground at the right and at the bottom."""

    def holding(self, values: Any, /) -> Images:
        """Images with these values, each of the size that it has here."""

    def largest(self) -> tuple[int, int]:
        """Height and width that hold every image."""

    def each(self) -> tuple[Pixels | torch.Tensor, ...]:
        """`pixels`. This, batches and raw_batches are what evbench.pipelines.preprocess.preprocessors.Images asks for."""

    def batches(self) -> Iterator[Pixels | torch.Tensor]: ...

    def raw_batches(self) -> Iterator[tuple[Pixels | torch.Tensor, Affine | None]]: ...


def alike(images: Sequence[Pixels | torch.Tensor]) -> Iterator[torch.Tensor]:
    """Neighbours of one size stacked: [images, height, width, 3] uint8."""
    import torch

    for _, several in groupby(map(torch.as_tensor, images), key=lambda image: image.shape):
        yield torch.stack(list(several))


@dataclass(frozen=True)
class EventImages:
    """Pictures in memory: see Images."""

    pixels: tuple[Pixels | torch.Tensor, ...]
    decoder: str

    def __len__(self) -> int:
        return len(self.pixels)

    def each(self) -> tuple[Pixels | torch.Tensor, ...]:
        return self.pixels

    def batches(self) -> Iterator[Pixels | torch.Tensor]:
        return alike(self.pixels)

    def raw_batches(self) -> Iterator[tuple[Pixels | torch.Tensor, None]]:
        return ((batch, None) for batch in self.batches())

    def values(self) -> Pixels | torch.Tensor:
        height, width = self.largest()
        first: Any = self.pixels[0]
        shape = (len(self.pixels), height, width, 3)
        canvas = np.full(shape, 255, np.uint8) if isinstance(first, np.ndarray) else first.new_full(shape, 255)
        for ground, image in zip(canvas, self.pixels, strict=True):
            ground[: image.shape[0], : image.shape[1]] = image
        return canvas

    def holding(self, values: Pixels | torch.Tensor) -> EventImages:
        cut = (place[: picture.shape[0], : picture.shape[1]] for place, picture in zip(values, self.pixels, strict=True))
        return dataclasses.replace(self, pixels=tuple(cut))

    def largest(self) -> tuple[int, int]:
        return max(picture.shape[0] for picture in self.pixels), max(picture.shape[1] for picture in self.pixels)


Renderer = Callable[[EventStream, PictureSize], Images]
"""Raises ValueError for fewer events than slices, or an event outside of the sensor, if its size is known."""


def loop(stream: EventStream, size: PictureSize) -> EventImages:
    """Event by event, as the original does it."""
    images = []
    for x, y, polarity, (height, width) in _slices(stream, size):
        picture = np.full((height, width, 3), 255, np.uint8)
        for column, row, brighter in zip(x, y, polarity, strict=True):
            if brighter == 0:
                picture[row, column] = np.array(DARKER)
            else:
                picture[row, column] = np.array(BRIGHTER)
        images.append(picture)
    return EventImages(tuple(images), f"Python {NUMPY}")


def vectorised(stream: EventStream, size: PictureSize) -> EventImages:
    """All events of a slice in one assignment: of equal places numpy keeps the last. Colours come in when there is one number a pixel."""
    images = []
    for x, y, polarity, (height, width) in _slices(stream, size):
        last = np.full(height * width, 2, np.uint8)
        last[y.astype(np.intp) * width + x] = polarity != 0
        images.append(np.take(PALETTE, last, axis=0, mode="clip").reshape(height, width, 3))  # "clip": it need not look for what is outside
    return EventImages(tuple(images), NUMPY)


Part = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16], npt.NDArray[np.uint8], tuple[int, int]]
"""x, y and polarity of a slice, and height and width of its picture."""


def _slices(stream: EventStream, size: PictureSize) -> list[Part]:
    """Raises ValueError: see Renderer."""
    parts = _parts(len(stream.x))
    sizes = sizes_of_slices(stream, size)
    return [(stream.x[part], stream.y[part], stream.p[part], each) for part, each in zip(parts, sizes, strict=True)]


def sizes_of_slices(stream: EventStream, size: PictureSize) -> list[tuple[int, int]]:
    """Height and width of each slice's picture, without painting it. Raises ValueError: see Renderer."""
    extents = [(int(stream.y[part].max()) + 1, int(stream.x[part].max()) + 1) for part in _parts(len(stream.x))]
    return picture_sizes(extents, stream.sensor, size)


def _parts(total: int) -> list[slice]:
    each = total // SLICES
    if not each:
        raise ValueError(f"{total} events cannot be made into {SLICES} event images")
    bounds = [*range(0, SLICES * each, each), total]
    return [slice(start, end) for start, end in pairwise(bounds)]


def picture_sizes(extents: list[tuple[int, int]], sensor: tuple[int, int] | None, size: PictureSize) -> list[tuple[int, int]]:
    """Height and width of each slice's picture.

    Args:
        extents: the least height and width that hold each slice's events.

    Raises:
        ValueError: the sensor's size is asked for and not known, or an event lies outside of it.
    """
    if sensor is not None and any(height > sensor[0] or width > sensor[1] for height, width in extents):
        raise ValueError(f"events lie outside of a sensor of {sensor[1]}x{sensor[0]} pixels: they need {extents}")
    if size == "own":
        return extents
    if sensor is None:
        raise ValueError("the size of the sensor is not known")
    return [sensor] * len(extents)


def is_too_long(height: int, width: int) -> bool:
    """Whether a picture is so much longer than wide, or the other way round, that a model's input would be huge.

    >>> is_too_long(1, 32), is_too_long(33, 1)
    (False, True)
    """
    return max(height, width) > LONGEST_SHAPE * min(height, width)


def too_long_for_a_model(height: int, width: int) -> str:
    """For a refusal: what is wrong with an image that is too long."""
    return f"has {width}x{height} pixels, and no side may be more than {LONGEST_SHAPE} times the other"


NUMPY = f"NumPy {importlib.metadata.version('numpy')}"
