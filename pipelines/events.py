"""Event images: PNGs of what an event camera saw, as EventGPT is given them."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from evbench.errors import UserError

Pixels = npt.NDArray[np.uint8]
LIMIT = 64
"""More images than this are a mistake: the model is made for five."""


@dataclass(frozen=True)
class EventImages:
    """Decoded event images, in order of time."""

    pixels: tuple[Pixels, ...]
    """Each [height, width, 3] RGB, uint8."""
    decoder: str

    def values(self) -> Pixels:
        """[images, height, width, 3]."""
        return np.stack(self.pixels)

    def holding(self, values: Pixels) -> EventImages:
        return dataclasses.replace(self, pixels=tuple(values))


Reader = Callable[[Path], EventImages]


def find(path: Path) -> list[Path]:
    """The PNG files of a folder in the order of their names, or the one PNG that `path` is.

    Raises:
        UserError: there is none.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a folder of event images (PNG)")
    files = [path] if path.is_file() else sorted(filter(_is_png, path.iterdir()), key=_natural)
    if not files:
        raise UserError(f"{path} holds no PNG; give a folder of event images (PNG), named in order of time")
    if len(files) > LIMIT:
        raise UserError(f"{path} holds {len(files)} PNGs; give the event images of one sample, five as a rule")
    return files


def probe(path: Path) -> tuple[int, int, int]:
    """Number, height and width of the event images, all of which can be read and are of one size. Raises UserError."""
    files = find(path)
    sizes = [_read(file).shape[1::-1] for file in files]
    if len(set(sizes)) > 1:
        told = ", ".join(f"{file.name} {width}x{height}" for file, (width, height) in zip(files, sizes, strict=True))
        raise UserError(f"{path}: the event images differ in size ({told}); render all of a sample at one size")
    width, height = sizes[0]
    return len(sizes), height, width


def read_plain(path: Path) -> EventImages:
    """One after the other."""
    return EventImages(tuple(_read(file) for file in find(path)), _decoder())


def read_threaded(path: Path) -> EventImages:
    """All at the same time."""
    files = find(path)
    with ThreadPoolExecutor(len(files)) as pool:
        return EventImages(tuple(pool.map(_read, files)), _decoder())


def slice_images(
    x: npt.NDArray[np.integer[Any]],
    y: npt.NDArray[np.integer[Any]],
    polarity: npt.NDArray[np.integer[Any]],
    height: int,
    width: int,
    count: int,
) -> list[Pixels]:
    """Event images of an event stream in order of time: `count` slices of equal count, the last takes the rest.

    White ground, blue where it got darker (polarity 0), red where brighter; the last event of a pixel wins.
    Source: XduSyL/EventGPT:common/common.py.

    Returns:
        Each [height, width, 3] RGB, uint8.
    """
    size = len(x) // count
    bounds = [*(index * size for index in range(count)), len(x)]
    images = []
    for start, end in pairwise(bounds):
        image = np.full((height, width, 3), 255, np.uint8)
        # Of equal places numpy keeps the last.
        image[y[start:end], x[start:end]] = np.array([(0, 0, 255), (255, 0, 0)], np.uint8)[polarity[start:end]]
        images.append(image)
    return images


def _read(file: Path) -> Pixels:
    with _opened(file) as image:
        if image.mode.startswith(("I", "F")):
            raise UserError(f"{file} has more than 8 bits per channel ({image.mode}); render event images in 8-bit RGB")
        try:
            return np.array(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:  # what PIL raises for damaged image data
            raise UserError(f"{file} is a damaged PNG ({error}); render it again") from error


def _opened(file: Path) -> Image.Image:
    if not file.exists():
        raise UserError(f"{file} points to nothing; copy the image itself")
    if not file.stat().st_size:
        raise UserError(f"{file} is empty; render it again")
    try:
        return Image.open(file, formats=["PNG"])
    except UnidentifiedImageError as error:
        raise UserError(f"{file} is no PNG image; give event images rendered as PNG") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{file} is too large for an event image ({error})") from error


def _is_png(file: Path) -> bool:
    return file.suffix.lower() == ".png" and not file.name.startswith(".")  # macOS leaves ._1.png beside 1.png


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sort `event_2.png` before `event_10.png`: numbers by value, the text between them by letters."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", file.name)]


def _decoder() -> str:
    return f"Pillow {importlib.metadata.version('pillow')}"
