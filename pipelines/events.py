"""Event images: PNGs of what an event camera saw, as EventGPT is given them."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from evbench.errors import UserError
from evbench.pipelines.event_images import EventImages, Pixels

LIMIT = 64
"""More images than this are a mistake: the model is made for five."""

DAMAGED = (OSError, ValueError, SyntaxError)
"""What PIL raises for damaged image data."""

Reader = Callable[[Path], EventImages]


def find(path: Path) -> list[Path]:
    """The PNG files of a folder in the order of their names, or the one PNG that `path` is.

    Raises:
        UserError: there is none.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a folder of event images (PNG)")
    files = [path] if path.is_file() else sorted(filter(is_png, path.iterdir()), key=_natural)
    if not files:
        raise UserError(f"{path} holds no PNG; give a folder of event images (PNG), named in order of time")
    if len(files) > LIMIT:
        raise UserError(f"{path} holds {len(files)} PNGs; give the event images of one sample, five as a rule")
    return files


def probe(path: Path) -> tuple[int, int, int]:
    """Number, height and width of the event images, all of which can be read, are opaque and of one size. Raises UserError."""
    files = find(path)
    sizes = [_checked(file) for file in files]
    if len(set(sizes)) > 1:
        told = ", ".join(f"{file.name} {width}x{height}" for file, (width, height) in zip(files, sizes, strict=True))
        raise UserError(f"{path}: the event images differ in size ({told}); render all of a sample at one size")
    width, height = sizes[0]
    return len(sizes), height, width


def size(file: Path) -> tuple[int, int]:
    """Height and width of an event image, without decoding it. Raises UserError if it is none that can be read."""
    with _opened(file) as image:
        return image.height, image.width


def read_plain(path: Path) -> EventImages:
    """One after the other."""
    return EventImages(tuple(_read(file) for file in find(path)), _decoder())


def read_threaded(path: Path) -> EventImages:
    """All at the same time."""
    files = find(path)
    with ThreadPoolExecutor(len(files)) as pool:
        return EventImages(tuple(pool.map(_read, files)), _decoder())


def _read(file: Path) -> Pixels:
    with _opened(file) as image:
        return np.array(_decoded(file, image, "RGB"))


def _checked(file: Path) -> tuple[int, int]:
    """Width and height of one that can be read, and through which nothing is seen.

    Whoever drops what lets something through gets any colour in its place, black as a rule. Raises UserError.
    """
    with _opened(file) as image:
        if not image.has_transparency_data:
            return _decoded(file, image, "RGB").size
        if _decoded(file, image, "RGBA").getchannel("A").getextrema()[0] != 255:
            raise UserError(f"{file} is transparent in places, and a model is given colours only; render event images on white")
        return image.size


def _decoded(file: Path, image: Image.Image, mode: str) -> Image.Image:
    try:
        return image.convert(mode)
    except DAMAGED as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(f"{file} is a damaged PNG ({error}); render it again")


def _opened(file: Path) -> Image.Image:
    if not file.exists():
        raise UserError(f"{file} points to nothing; copy the image itself")
    if not file.stat().st_size:
        raise UserError(f"{file} is empty; render it again")
    try:
        image = Image.open(file, formats=["PNG"])
    except UnidentifiedImageError as error:
        raise UserError(f"{file} is no PNG image; give event images rendered as PNG") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{file} is too large for an event image ({error})") from error
    except DAMAGED as error:
        raise _damaged(file, error) from error
    raw = str(image.tile[0][3]) if image.tile else image.mode  # of colours that have 16 bits, PIL takes the upper 8 without a word
    if image.mode.startswith(("I", "F")) or "16" in raw:
        image.close()
        raise UserError(f"{file} has more than 8 bits per channel ({raw}); render event images in 8-bit RGB")
    return image


def reader(choice: str, device: str) -> Reader:
    """What reads event images by a variant's choice `decode`: plain, threaded or dali."""
    if choice == "dali":
        from evbench.pipelines.dali_images import DaliImages

        return DaliImages(device)
    return {"plain": read_plain, "threaded": read_threaded}[choice]


def is_png(file: Path) -> bool:
    return not file.is_dir() and file.suffix.lower() == ".png" and not file.name.startswith(".")  # macOS leaves ._1.png beside 1.png


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sort `event_2.png` before `event_10.png`: numbers by value, the text between them by letters."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", file.name)]


def _decoder() -> str:
    return f"Pillow {importlib.metadata.version('pillow')}"
