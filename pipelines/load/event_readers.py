"""What each kind of file of raw events holds: .npz, EventGPT's pickled .npy, HDF5 as in DSEC, and what cameras record."""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from evbench.errors import UserError, first_line
from evbench.pipelines.load import restricted_pickle
from evbench.pipelines.load.event_columns import COLUMNS, MOST, MOST_BYTES, Column, Columns, Reader, end_of, require_package
from evbench.pipelines.load.event_hdf5 import from_hdf5
from evbench.pipelines.load.event_words import Damaged, Events, pieces
from evbench.results import EventWindow

NPZ_ERRORS = (
    ValueError, TypeError, EOFError, LookupError, MemoryError, NotImplementedError, RuntimeError, SyntaxError, tokenize.TokenError, OSError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OverflowError,
)  # fmt: skip
"""What numpy and zipfile raise for a damaged file."""
ZIPPED = (b"PK\3\4", b"PK\5\6")
"""How a .npz begins. numpy takes anything else for a .npy or a pickle."""


def from_npz(path: Path, window: EventWindow) -> Columns:
    """Arrays x, y, t and p; the sensor's height and width may be there too, as numbers. Raises UserError."""
    try:
        with path.open("rb") as file:
            if file.read(4) not in ZIPPED:
                raise UserError(f"{path} is no .npz file; store x, y, t and p by numpy.savez")
        with np.load(path, allow_pickle=False) as stored:
            held = [name for name in (*COLUMNS, "height", "width") if name in stored.files]
            if stored.zip and sum(entry.file_size for entry in stored.zip.infolist()) > MOST_BYTES:
                raise UserError(f"{path} holds more than {MOST:,} events; split it")
            values = {name: stored[name] for name in held}
    except NPZ_ERRORS as error:
        # numpy's message for objects says how to run them.
        reason = "it holds objects" if "allow_pickle" in str(error) else first_line(error)
        raise UserError(f"{path} is damaged or no .npz ({reason}); store x, y, t and p by numpy.savez") from error
    if strange := [name for name, value in values.items() if not isinstance(value, np.ndarray)]:
        raise UserError(f"{path} is damaged: {', '.join(strange)} is no array; copy the file again")
    edges = {name: _edge(path, name, values.pop(name)) for name in ("height", "width") if name in values}
    if len(edges) == 1:
        raise UserError(f"{path} holds only the {', '.join(edges)} of its sensor; store both height and width, or neither")
    return Columns(values, sensor=(edges["height"], edges["width"]) if edges else None)


def _edge(path: Path, name: str, value: Column) -> int:
    """Of a sensor, in pixels. Whoever uses it checks that it is not too large. Raises UserError."""
    shown = str(value.item())[:40] if value.size == 1 and value.dtype.kind in "uifb" else f"of type {value.dtype} and shape {value.shape}"
    if value.size != 1 or value.dtype.kind not in "ui" or int(value.item()) < 1:
        raise UserError(
            f"{path}: {name} is {shown}, and not the number of a sensor's pixels; store height and width as integers, or neither"
        )
    return int(value.item())


def from_npy(path: Path, window: EventWindow) -> Columns:
    """A pickled dict, as XduSyL/EventGPT's samples are and numpy.save makes it: read without pickle. Raises UserError."""
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path} holds more than {MOST:,} events; split it")
    content = path.read_bytes()
    try:
        return Columns(restricted_pickle.arrays(_behind_header(content)))
    except restricted_pickle.Refused as error:
        raise UserError(f"{path} is refused: {error}; store x, y, t and p as arrays, by numpy.savez") from error


def _behind_header(content: bytes) -> bytes:
    """The pickle in a .npy file. Raises Refused. Format: numpy:numpy/lib/_format_impl.py."""
    version = content[6:8]
    if not content.startswith(b"\x93NUMPY") or version not in (b"\1\0", b"\2\0", b"\3\0"):
        raise restricted_pickle.Refused("it is no .npy file")
    start = 10 if version == b"\1\0" else 12
    end = start + int.from_bytes(content[8:start], "little")
    header = content[start:end].split()
    if b"'|O'," not in header or b"()," not in header:
        raise restricted_pickle.Refused("it is no array that holds a dict")
    return content[end:]


def from_words(path: Path, window: EventWindow) -> Columns:
    """EVT 2 and 3 and DAT, up to the window's end. Raises UserError."""
    try:
        decoded = pieces(path)
        return _until_end(path, ((events, found.sensor) for found, events in decoded), window)
    except Damaged as error:
        raise UserError(f"{path} cannot be read: {error}; copy the file again, or convert it to EVT 2 or EVT 3") from error


def from_aedat(path: Path, window: EventWindow) -> Columns:
    """AEDAT4 by faery, up to the window's end. Raises UserError."""
    require_package("faery", "recordings", path)
    import faery

    with path.open("rb") as file:
        if file.read(len(AEDAT)) != AEDAT:  # faery guesses the version where it is missing
            raise UserError(f"{path} does not begin as an .aedat4 recording does, with its version; copy the file again")
    try:
        stream = faery.events_stream_from_file(path, dimensions_fallback=UNKNOWN)
        width, height = stream.dimensions()
        sensor = None if (width, height) == UNKNOWN else (height, width)
        packets = (({name: packet[name] for name in COLUMNS}, sensor) for packet in stream)  # each [events] with fields t, x, y and p
        return _until_end(path, packets, window)
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}); copy the file again") from error


def _until_end(path: Path, packets: Iterable[tuple[Events, tuple[int, int] | None]], window: EventWindow) -> Columns:
    """Packets of events, each with height and width of the sensor, from the one in which a window begins to the one in which it ends.

    Raises:
        UserError: there are too many, the clock steps back before the end, or an event lies where the sensor has no pixel.
    """
    kept: list[Events] = []
    first = last = sensor = None
    count = seen = 0
    for events, sensor in packets:
        times = events["t"]
        if not len(times):
            continue
        _require_clock(path, times, last, seen)
        _require_inside(path, events, sensor)
        begin, last = int(times[0]), int(times[-1])
        first, seen = begin if first is None else first, seen + len(times)
        if last >= first + window.start:
            kept.append(events)
            count += len(times)
        if count > MOST:
            raise UserError(f"{path}: the window has more than {MOST:,} events; give a shorter --event-window")
        end = end_of(window, first)
        if end is not None and begin >= end:
            break
    found = {name: np.concatenate([events[name] for events in kept]) if kept else np.empty(0, np.int64) for name in COLUMNS}
    return Columns(found, first, last, sensor)


def _require_clock(path: Path, times: Column, last: int | None, seen: int) -> None:
    """Raises UserError for times that step back.

    Args:
        last: of the events before. None if there are none.
        seen: their number.
    """
    before = np.concatenate([times[:1] if last is None else np.array([last], times.dtype), times[:-1]])
    if (back := np.flatnonzero(times < before)).size:
        place = int(back[0])
        step = f"its clock steps back from {before[place]:,} to {times[place]:,} us at event {seen + place:,}"
        raise UserError(f"{path}: {step}; record it again, or cut it there")


def _require_inside(path: Path, events: Events, sensor: tuple[int, int] | None) -> None:
    """Raises UserError for an event where no pixel is."""
    for name, edge in zip("yx", sensor or (), strict=False):
        if (most := int(events[name].max())) >= edge:
            raise UserError(f"{path} is damaged: an event has {name} {most}, and {edge} is the sensor's edge; copy the file again")


AEDAT = b"#!AER-DAT4"
"""How such a recording begins."""
UNKNOWN = (65_535, 65_535)
"""What faery reports where a recording has no sensor size: the largest that it accepts."""


READERS: dict[str, Reader] = {
    ".npz": from_npz,
    ".npy": from_npy,
    ".h5": from_hdf5,
    ".hdf5": from_hdf5,
    ".aedat4": from_aedat,
    ".raw": from_words,
    ".dat": from_words,
}
"""Ending -> reader."""
FOREIGN: tuple[Reader, ...] = (from_hdf5, from_aedat)
"""Those that leave the decoding to a library which may abort the process."""
