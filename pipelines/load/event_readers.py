"""What each kind of file of raw events holds: .npz, EventGPT's pickled .npy, HDF5 as in DSEC, and what cameras record."""

from __future__ import annotations

import importlib.util
import re
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evbench.errors import UserError, first_line
from evbench.pipelines.load import restricted_pickle
from evbench.results import EventWindow

Column = npt.NDArray[Any]
COLUMNS = ("x", "y", "t", "p")
MOST = 2**27
"""Events. The densest second of DSEC has a tenth of this."""
MOST_BYTES = 16 * MOST
UNKNOWN = (65_535, 65_535)
"""What faery reports where a recording has no sensor size: the largest that it accepts."""


@dataclass(frozen=True)
class Columns:
    """What a file holds, not looked at yet: all of it, or a part that has all of the window."""

    values: Mapping[str, Column]
    """x, y, t and p, as far as they are there."""
    first: int | None = None
    """Time of the file's first event in microseconds. None: that of the first one here."""
    last: int | None = None
    """Of the last one that was seen."""
    sensor: tuple[int, int] | None = None
    """Height and width."""


Reader = Callable[[Path, EventWindow], Columns]


def end_of(window: EventWindow, first: int) -> int | None:
    """When a window is over, in a file with this first event. None if it is not."""
    return None if window.length is None else first + window.start + window.length


def format_window(window: EventWindow) -> str:
    """As it is asked for on the command line.

    >>> format_window(EventWindow(500, 50_000, None, "own"))
    '--event-window 0.5:50ms'
    """
    if window.length is None:
        return "the whole file"
    return f"--event-window {format_milliseconds(window.start)}:{format_milliseconds(window.length)}ms"


def format_milliseconds(microseconds: int) -> str:
    """
    >>> format_milliseconds(2_359_945), format_milliseconds(50_000)
    ('2359.945', '50')
    """
    return f"{microseconds / 1000:.15g}"


def unordered(path: Path) -> UserError:
    return UserError(f"{path}: the events are not in order of time; sort them by t")


NPZ_ERRORS = (
    ValueError, TypeError, EOFError, LookupError, MemoryError, NotImplementedError, RuntimeError, SyntaxError, tokenize.TokenError, OSError,
    zipfile.BadZipFile, zlib.error,
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


def from_hdf5(path: Path, window: EventWindow) -> Columns:
    """As in DSEC: events/x, y, t and p, ms_to_idx, by which only the window is read, and t_offset. Raises UserError.

    Source: uzh-rpg/DSEC:scripts/utils/eventslicer.py.
    """
    for module in ("h5py", "hdf5plugin"):
        _require(module, "dsec", path)
    import h5py
    import hdf5plugin  # noqa: F401  h5py knows its compressions from here on

    try:
        with h5py.File(path, "r") as stored:
            columns = {name: _dataset(path, stored, f"events/{name}") for name in COLUMNS}
            lengths = {column.shape for column in columns.values()}
            if len(lengths) > 1 or len(columns["t"].shape) != 1:
                shapes = ", ".join(f"{name} {column.shape}" for name, column in columns.items())
                raise UserError(f"{path}: the columns differ in length ({shapes}); copy the file again")
            if not len(columns["t"]):
                return Columns({name: column[:] for name, column in columns.items()})
            if int(columns["t"][-1]) < int(columns["t"][0]):
                raise unordered(path)
            part = _part(path, columns["t"], _dataset(path, stored, "ms_to_idx"), window)
            values = {name: column[part] for name, column in columns.items()}
            offset = int(_dataset(path, stored, "t_offset")[()])
            first, last = int(columns["t"][0]) + offset, int(columns["t"][-1]) + offset
    except (OSError, LookupError, ValueError, RuntimeError, TypeError, MemoryError) as error:
        raise UserError(f"{path} is damaged or no HDF5 as in DSEC ({first_line(error)}); copy the file again") from error
    if max(abs(first), abs(last)) > np.iinfo(np.int64).max:
        raise UserError(f"{path}: with t_offset, t goes from {first} to {last}, which are no times in microseconds; copy the file again")
    if values["t"].dtype.kind in "ui":
        values["t"] = values["t"].astype(np.int64) + offset
    return Columns(values, first, last)


def _dataset(path: Path, stored: Any, name: str) -> Any:
    """Of numbers that are stored in this very file. Raises UserError."""
    import h5py

    *groups, last = name.split("/")
    place = stored
    for part in (*groups, last):
        link = place.get(part, getlink=True) if part in place else None
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{path} has no {name}; an HDF5 file as in DSEC has events/x, y, t and p, ms_to_idx and t_offset")
        place = place[part]
    if not isinstance(place, h5py.Dataset) or place.external is not None or place.is_virtual or place.dtype.kind not in "uib":
        raise UserError(f"{path}: {name} is no array of integers in this file; copy it with its content")
    return place


def _part(path: Path, times: Any, index: Any, window: EventWindow) -> slice:
    """Of the events in an HDF5 file: from the millisecond in which a window begins to the one in which it ends. Raises UserError.

    Args:
        index: millisecond -> the first event at it or later.
    """
    first, milliseconds = int(times[0]), len(index)
    begin, end = first + window.start, end_of(window, first)
    low, high = begin // 1000, None if end is None else -(-end // 1000)
    start = int(index[low]) if low < milliseconds else len(times) if begin > int(times[-1]) else int(index[-1])
    stop = len(times) if high is None or high >= milliseconds else int(index[high])
    fits = 0 <= start <= stop <= len(times) and (not start or int(times[start - 1]) < begin)
    if not fits or (stop < len(times) and end is not None and int(times[stop]) < end):
        raise UserError(f"{path}: ms_to_idx does not fit events/t; copy the file again")
    if stop - start > MOST:
        raise UserError(f"{path}: the window has {stop - start:,} events, more than {MOST:,}; give a shorter --event-window")
    return slice(start, stop)


def from_recording(path: Path, window: EventWindow) -> Columns:
    """AEDAT4, EVT 2 and 3 and DAT by faery, up to the window's end. Raises UserError."""
    _require("faery", "recordings", path)
    import faery

    _require_header(path)
    kept: list[Column] = []
    first = last = None
    try:
        stream = faery.events_stream_from_file(path, dimensions_fallback=UNKNOWN)
        for packet in stream:  # [events] with fields t, x, y and p
            if not len(packet):
                continue
            begin, last = int(packet["t"][0]), int(packet["t"].max())
            first = begin if first is None else first
            if last >= first + window.start:
                kept.append(packet)
            if sum(map(len, kept)) > MOST:
                raise UserError(f"{path}: the window has more than {MOST:,} events; give a shorter --event-window")
            end = end_of(window, first)
            if end is not None and begin >= end:
                break
        width, height = stream.dimensions()
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}); copy the file again") from error
    found = {name: np.concatenate([packet[name] for packet in kept]) if kept else np.empty(0, np.int64) for name in COLUMNS}
    return Columns(found, first, last, None if (width, height) == UNKNOWN else (height, width))


HEADERS = {".aedat4": (b"#!AER-DAT4",), ".raw": (b"% evt ", b"% format "), ".dat": (b"% version ",)}
"""Beginnings of a line at the top, one of which has to be there: faery guesses the version where it is missing."""
UNREADABLE = re.compile(rb"^% (evt 2\.1|format evt21)\b", re.MULTILINE)
"""In the header of a .raw: faery knows EVT 2.1 by its name, and panics at its first event."""


def _require_header(path: Path) -> None:
    with path.open("rb") as file:
        top = file.read(4096).lower()
    if not any(top.startswith(begin.lower()) or b"\n" + begin.lower() in top for begin in HEADERS[path.suffix.lower()]):
        raise UserError(f"{path} does not begin as a {path.suffix} recording does, with its version; copy the file again")
    if path.suffix.lower() == ".raw" and UNREADABLE.search(top):
        raise UserError(f"{path} is a recording in EVT 2.1, which faery cannot read; convert it to EVT 2 or EVT 3")


def _require(module: str, extra: str, path: Path) -> None:
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{path} is read by the package {module}, which is not installed; install it, or evbench[{extra}]")


READERS: dict[str, Reader] = {
    ".npz": from_npz,
    ".npy": from_npy,
    ".h5": from_hdf5,
    ".hdf5": from_hdf5,
    ".aedat4": from_recording,
    ".raw": from_recording,
    ".dat": from_recording,
}
"""Ending -> reader."""
FOREIGN: tuple[Reader, ...] = (from_hdf5, from_recording)
"""Those that leave the decoding to a library which may abort the process."""
