"""Input that no run has seen, as much like a sample as can be: a file with the same content, and images with a few other pixels."""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evbench.pipelines.load import beside, event_files, png
from evbench.pipelines.load.event_images import PALETTE
from evbench.results import EventWindow

SHARE = 64
"""One pixel of so many gets another colour: few enough for the images to stay alike, and everywhere, so that no crop is without."""
LENGTHS = 1000
"""Of unseen copies, in bytes more than the shortest."""


def copy_sample(path: Path, folder: Path, number: int | None, events: Path | None = None) -> tuple[Path, bool]:
    """A copy of a sample in a new folder, and whether it has other bytes, in places that decide nothing.

    Args:
        path: a file, or event images.
        folder: where the copy goes. It must not be there yet.
        number: makes the bytes and the name other than those of any other number: a cache may go by either. None for the same ones.
        events: event images that a model that drafts sees: their copy lies beside that of the clip.
    """
    folder.mkdir()
    if not path.is_file():
        copy, files = folder, _copy_images(path, folder)
    else:
        copy = folder / (path.name if number is None else f"{number}{path.suffix}")
        shutil.copyfile(path, copy)
        files = [copy]
        if events is not None:
            (its := beside.places(copy)[0]).mkdir()
            files += _copy_images(events, its)
    return copy, number is not None and all([_with_other_bytes(file, number) for file in files])


def _copy_images(path: Path, folder: Path) -> list[Path]:
    """The copies of event images, in a folder that is there."""
    return [Path(shutil.copyfile(file, folder / file.name)) for file in png.find(path)]


def _with_other_bytes(file: Path, number: int) -> bool:
    """Put a number where the file's format ignores it, near its beginning and its end, in another length: a cache may go by any of these.

    False if this is not known of the format.
    """
    with file.open("rb") as opened:
        begin = opened.read(8)
    change = next((change for place, mark, change in _CHANGES if begin[place : place + len(mark)] == mark), None)
    if change is None:
        return False
    change(file, number)
    return True


def _ignored(number: int) -> bytes:
    """The number, and so many zeros that no copy is as long as those near it: a cache may go by the size of a file."""
    return number.to_bytes(8, "big") + bytes(number % LENGTHS)


def _change_mp4(file: Path, number: int) -> None:
    """Where readers look for nothing (ISO/IEC 14496-12): the minor version of the brand (4.3), and a box `free` at the end (8.1.2)."""
    with file.open("r+b") as opened:
        if int.from_bytes(opened.read(4), "big") >= 16:
            opened.seek(12)
            opened.write((number % 2**32).to_bytes(4, "big"))
        ignored = _ignored(number)
        opened.seek(0, os.SEEK_END)
        opened.write((8 + len(ignored)).to_bytes(4, "big") + b"free" + ignored)


def _change_matroska(file: Path, number: int) -> None:
    """A Void (RFC 8794, 11.3.2) at the end, and between the header and the segment, whose places count from its own beginning."""
    ignored = _ignored(number)
    void = b"\xec" + (1 << 14 | len(ignored)).to_bytes(2, "big") + ignored
    changed = file.with_name(f"{file.name}.changed")
    with file.open("rb") as opened, changed.open("wb") as written:
        begin = opened.read(12)
        width = 9 - begin[4].bit_length()  # of the header's size, whose first bit that is set tells it
        size = int.from_bytes(begin[4 : 4 + width], "big") - (1 << 7 * width)
        opened.seek(0)
        written.write(opened.read(4 + width + size) + void)
        shutil.copyfileobj(opened, written)
        written.write(void)
    changed.replace(file)


def _change_png(file: Path, number: int) -> None:
    """Behind the header, and in front of the end if there is one, a chunk whose name says that it may be ignored."""
    content, ignored = file.read_bytes(), _ignored(number)
    body = b"evNb" + ignored
    chunk = len(ignored).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    place = 33
    while place < len(content) and content[place + 4 : place + 8] != b"IEND":
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    file.write_bytes(content[:33] + chunk + content[33:place] + (chunk if place < len(content) else b"") + content[place:])


def _change_zip(file: Path, number: int) -> None:
    """The comment at the end, and the time in the first header, which readers take from the directory at the end."""
    with zipfile.ZipFile(file, "a") as opened:
        opened.comment = _ignored(number).hex().encode()
    with file.open("r+b") as changed:  # raw events are large
        changed.seek(10)
        changed.write((number % 2**32).to_bytes(4, "little"))


_CHANGES: tuple[tuple[int, bytes, Callable[[Path, int], None]], ...] = (
    (4, b"ftyp", _change_mp4),
    (0, b"\x1a\x45\xdf\xa3", _change_matroska),
    (0, b"\x89PNG\r\n\x1a\n", _change_png),
    (0, b"PK\3\4", _change_zip),
)
"""Place and bytes at the beginning of a file -> how it is changed. MP4 and MOV, Matroska and WebM, PNG, .npz."""


def reversed_events(path: Path, window: EventWindow, file: Path) -> None:
    """Write the events of a window into a .npz, each with the other polarity: as many, at the same places and times, of other colours.

    Args:
        path: a file of raw events.
        window: it has the same events in the new file.
        file: where they are written.

    Raises:
        UserError: they cannot be read.
    """
    stream = event_files.read(path, window)
    # A window begins so long after the first event of its file. Where it leaves that one out, another takes its place.
    order = np.arange(-1 if window.start else 0, len(stream.t)).clip(0)
    times = stream.t[order]
    times[0] -= window.start
    sensor: dict[str, Any] = {} if stream.sensor is None else dict(zip(("height", "width"), stream.sensor, strict=True))
    np.savez(file, x=stream.x[order], y=stream.y[order], t=times, p=1 - stream.p[order], **sensor)


def other_pixels(values: Any, seed: int) -> Any:
    """Images in which a few pixels have another colour, out of those of event images.

    Args:
        values: [images, height, width, 3] uint8, an array or a tensor. It stays as it is.

    Returns:
        The same kind of array, on the same device. No image is without a change.
    """
    import torch

    changed = torch.as_tensor(values).clone()
    images, height, width, _ = changed.shape
    random = np.random.default_rng(seed)
    places = random.integers(0, height * width, (images, max(1, height * width // SHARE)))
    places += np.arange(images)[:, None] * height * width
    colour = random.integers(0, len(PALETTE), places.size)
    flat = changed.reshape(-1, 3)
    where = torch.from_numpy(places.reshape(-1)).to(flat.device)
    one, other = (torch.from_numpy(PALETTE[(colour + step) % len(PALETTE)]).to(flat.device) for step in (0, 1))
    there = (flat[where] == one).all(dim=1, keepdim=True)
    flat[where] = torch.where(there, other, one)
    changed = flat.reshape(changed.shape)
    return changed.numpy() if isinstance(values, np.ndarray) else changed
