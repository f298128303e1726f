"""Event images in files: PNGs of what an event camera saw."""

from __future__ import annotations

import importlib.metadata
import os
import re
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from evbench.errors import UserError
from evbench.pipelines.load.event_images import EventImages, Pixels, is_too_long, too_long_for_a_model

LIMIT = 64
"""More images than this are a mistake: five are usual."""

DAMAGED = (OSError, ValueError, SyntaxError)
"""What PIL raises for damaged image data."""

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a PNG, by the type of its colours."""

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced PNG: the first column and row of each, and the steps to the next."""

PIECE = 2**16
"""Bytes that are read at a time."""

Reader = Callable[[Path], EventImages]


def find(path: Path) -> list[Path]:
    """The PNG files of a folder in the order of their names; the one PNG that `path` is; or those numbered ones that `path` begins.

    Raises:
        UserError: there is none.
    """
    if path.exists():
        files = [path] if path.is_file() else sorted(filter(is_png, path.iterdir()), key=natural_order)
    elif not (files := numbered(path)):
        raise UserError(f"{path}: no such file or folder; give a folder of event images (PNG)")
    if not files:
        raise UserError(f"{path} holds no PNG; give a folder of event images (PNG), named in order of time")
    if len(files) > LIMIT:
        raise UserError(f"{path} holds {len(files)} PNGs; give the event images of one sample, five as a rule")
    return files


def numbered(path: Path) -> list[Path]:
    """`street/000000_0.png`, `street/000000_1.png` and so on, of `street/000000`: where one folder has the event images of many samples.

    They are looked for one by one, up to the first that is not there: such a folder may be too large to be listed in a timed run.
    """
    named = (path.with_name(f"{path.name}_{number}.png") for number in range(LIMIT + 1))
    return list(takewhile(Path.is_file, named)) if path.name else []


def holds_images(path: Path) -> bool:
    """Whether it is a folder of event images, or what the names of numbered ones begin with."""
    return any(map(is_png, path.iterdir())) if path.is_dir() else bool(numbered(path))


def stat(path: Path) -> os.stat_result:
    """Of a sample of any kind: of its file or folder, or of the first of the numbered event images that it begins."""
    return (path if path.exists() else find(path)[0]).stat()


def probe(path: Path) -> tuple[int, int, int]:
    """Number, height and width of the event images, all of which can be read, are opaque and of one size. Raises UserError."""
    files = find(path)
    sizes = [_checked(file) for file in files]
    if len(set(sizes)) > 1:
        listed = ", ".join(f"{file.name} {width}x{height}" for file, (width, height) in zip(files, sizes, strict=True))
        raise UserError(f"{path}: the event images differ in size ({listed}); render all of a sample at one size")
    width, height = sizes[0]
    if is_too_long(height, width):
        raise UserError(f"{files[0]} {too_long_for_a_model(height, width)}; render event images of the whole sensor")
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

    Without its alpha channel a transparent pixel has any colour, black as a rule. Raises UserError.
    """
    with _opened(file) as image:
        _require_rows(file, image)
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


def _damaged(file: Path, reason: object) -> UserError:
    return UserError(f"{file} is a damaged PNG ({reason}); render it again")


def _require_rows(file: Path, image: ImageFile.ImageFile) -> None:
    """Raises UserError for fewer rows than the header says: PIL leaves missing ones black, without an error."""
    try:
        if not image.tile or image.tile[0][1] != (0, 0, *image.size):  # an animation's may be a part
            raise SyntaxError("its picture is not of the size that its header gives")
        with file.open("rb") as opened:
            header, content = _header_and_content(opened)
            expected = _length(header, *image.size)
            present = _inflated(content, expected)
    except (*DAMAGED, KeyError, zlib.error) as error:
        raise _damaged(file, error) from error
    if present < expected:
        raise _damaged(file, f"its rows end early, after {present:,} of {expected:,} bytes")


def _header_and_content(opened: BinaryIO) -> tuple[bytes, Iterator[bytes]]:
    """The first chunk of a PNG, and pieces of what is in those of the picture, compressed. Raises SyntaxError, as PIL does."""
    opened.seek(8)
    if _chunk(opened) != (b"IHDR", 13):
        raise SyntaxError("it does not begin with its header")
    header = opened.read(13)
    while True:
        opened.seek(4, 1)  # the checksum of the chunk before
        kind, length = _chunk(opened)
        if kind == b"IDAT":
            return header, _content(opened, length)
        if kind in (b"IHDR", b"fdAT", b""):  # PIL would take it for the header or the picture
            raise SyntaxError("its chunks are out of order")
        opened.seek(length, 1)


def _content(opened: BinaryIO, length: int) -> Iterator[bytes]:
    """Of the chunks of the picture that follow one another, from inside the first one."""
    kind = b"IDAT"
    while kind == b"IDAT":
        for start in range(0, length, PIECE):
            yield opened.read(min(PIECE, length - start))
        opened.seek(4, 1)
        kind, length = _chunk(opened)


def _chunk(opened: BinaryIO) -> tuple[bytes, int]:
    """Kind and length of the one that begins here. Both are of nothing at the end of the file."""
    begin = opened.read(8)
    return begin[4:], int.from_bytes(begin[:4], "big")


def _length(header: bytes, width: int, height: int) -> int:
    """Bytes of a PNG's rows, each with one for its filter. Raises KeyError if there are no colours of this type."""
    bits, interlaced = header[8] * CHANNELS[header[9]], header[12]
    total = 0
    for left, top, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // across), -((top - height) // down)
        total += max(rows, 0) * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
    return total


def _inflated(pieces: Iterator[bytes], most: int) -> int:
    """Bytes that these are when they are not compressed. They are not kept, and counted up to `most` or little more. Raises zlib.error."""
    stream, total = zlib.decompressobj(), 0
    for piece in pieces:
        pending = piece
        while pending:
            total += len(stream.decompress(pending, PIECE))
            if total >= most or stream.eof:
                return total
            pending = stream.unconsumed_tail
    return total + len(stream.flush())


def _opened(file: Path) -> ImageFile.ImageFile:
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
    if image.mode == "P" and image.palette is None:
        image.close()
        raise _damaged(file, "it has no palette")
    raw = str(image.tile[0][3]) if image.tile else image.mode  # of 16-bit colours PIL keeps the upper 8 bits, without an error
    if image.mode.startswith(("I", "F")) or "16" in raw:
        image.close()
        raise UserError(f"{file} has more than 8 bits per channel ({raw}); render event images in 8-bit RGB")
    return image


def is_png(file: Path) -> bool:
    return not file.is_dir() and file.suffix.lower() == ".png" and not file.name.startswith(".")  # macOS leaves ._1.png next to 1.png


def natural_order(file: Path) -> list[tuple[int, str]]:
    """Sort `event_2.png` before `event_10.png`: numbers by value, the text between them by letters."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", file.name)]


def _decoder() -> str:
    return f"Pillow {importlib.metadata.version('pillow')}"
