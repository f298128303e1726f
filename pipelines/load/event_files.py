"""Windows of raw events out of files -> EventStream, checked.

A file from outside is hostile: nothing in it is run, and what it claims is checked before it is believed. Libraries that decode such files
in C or Rust may abort the process on a damaged one, so `probe` has them try it in a separate process first.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evbench.errors import UserError
from evbench.pipelines.load.event_columns import (
    COLUMNS,
    MOST,
    Column,
    Columns,
    Reader,
    end_of,
    format_milliseconds,
    format_window,
    unordered,
)
from evbench.pipelines.load.event_images import SLICES, is_too_long, sizes_of_slices, too_long_for_a_model
from evbench.pipelines.load.event_readers import FOREIGN, READERS
from evbench.pipelines.load.event_stream import EventStream
from evbench.pipelines.load.png import is_png
from evbench.results import EventWindow

MEMORY = 16 * 2**30
"""Bytes that the process may take in which a file is tried."""
SECONDS = 300
"""Time that it may take."""
KINDS = {"x": "ui", "y": "ui", "t": "ui", "p": "uib"}
"""Of dtype that a column may be: unsigned and signed integers, and booleans."""
LARGEST = 2**12
"""Pixels along an edge of a sensor, more than any event camera has. An event image is as large as the farthest event, damaged or not."""


def is_file_of_events(path: Path) -> bool:
    """Whether it has to be one: by its name, or because it is a file and no PNG."""
    if path.is_dir():
        return path.suffix.lower() in READERS and not any(map(is_png, path.iterdir()))
    return path.suffix.lower() in READERS or (path.is_file() and path.suffix.lower() != ".png")


def read(path: Path, window: EventWindow) -> EventStream:
    """The events of a window, in order of time.

    Raises:
        UserError: the file holds no events or is damaged; the window is empty, too long, or has fewer events than event images are made.
    """
    return _windowed(path, _reader(path)(path, window), window)


def probe(path: Path, window: EventWindow) -> tuple[int, int, int]:
    """Number, height and width of the event images of a window; the largest height and width, where they differ. Raises UserError."""
    if _reader(path) in FOREIGN:
        return _tried(path, window)
    return _pictures(path, read(path, window), window)


def _reader(path: Path) -> Reader:
    if not path.exists():
        raise UserError(f"{path}: no such file; give a file of raw events ({', '.join(READERS)})")
    if path.is_dir():
        raise UserError(f"{path} is a folder that holds no PNG; give a file of raw events ({', '.join(READERS)})")
    if path.suffix.lower() not in READERS:
        raise UserError(f"{path} is no file of raw events that is known; give one of {', '.join(READERS)}, or a folder of PNGs")
    if not path.stat().st_size:
        raise UserError(f"{path} is empty; copy the file again")
    return READERS[path.suffix.lower()]


def _pictures(path: Path, stream: EventStream, window: EventWindow) -> tuple[int, int, int]:
    """See probe. Only here are shapes looked at, not whenever a stream is read: that is timed. Raises UserError."""
    _require_shapes(path, stream, window)
    if window.size == "sensor":
        assert stream.sensor is not None, "read refuses such a file"
        return SLICES, *stream.sensor
    return SLICES, int(stream.y.max()) + 1, int(stream.x.max()) + 1


def _require_shapes(path: Path, stream: EventStream, window: EventWindow) -> None:
    """Raises UserError if a slice's picture would be too long."""
    advice = "give another --event-window"
    if stream.sensor is not None and is_too_long(*stream.sensor):
        advice = "store the sensor's true size"
    elif stream.sensor is not None:
        advice += ", or --event-size sensor"
    for number, (height, width) in enumerate(sizes_of_slices(stream, window.size), 1):
        if is_too_long(height, width):
            raise UserError(f"{path}: picture {number} of {format_window(window)} {too_long_for_a_model(height, width)}; {advice}")


def _tried(path: Path, window: EventWindow) -> tuple[int, int, int]:
    """`probe` in a separate process. Raises UserError."""
    command = [sys.executable, "-m", "evbench.pipelines.load.event_files", str(path), json.dumps(asdict(window))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{path}: reading it took more than {SECONDS} s; give a shorter --event-window, or a smaller file") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        how = f"{signal.Signals(-done.returncode).name}" if done.returncode < 0 else lines[-1][:160]
        raise UserError(f"{path} is damaged: its reader gave up ({how}); copy the file again")
    answer = json.loads(done.stdout)
    if "refused" in answer:
        raise UserError(answer["refused"])
    count, height, width = answer["pictures"]
    return count, height, width


def _try(path: Path, window: EventWindow) -> dict[str, Any]:
    try:
        return {"pictures": _pictures(path, read(path, window), window)}
    except UserError as error:
        return {"refused": str(error)}


def _windowed(path: Path, columns: Columns, window: EventWindow) -> EventStream:
    """Check what a file holds, and cut the window out of it. Raises UserError."""
    values = {name: _column(path, name, columns.values) for name in COLUMNS}
    if len({len(value) for value in values.values()}) > 1:
        lengths = ", ".join(f"{name} {len(value):,}" for name, value in values.items())
        raise UserError(f"{path}: the columns differ in length ({lengths}); copy the file again")
    times = values["t"]
    if not len(times) and columns.first is None:
        raise UserError(f"{path} holds no events; give a recording in which something moved")
    if (times[1:] < times[:-1]).any():
        raise unordered(path)
    if len(times) and times[-1] > np.iinfo(np.int64).max:
        raise UserError(f"{path}: t goes up to {times[-1]}, which is no time in microseconds; store those")
    first = int(times[0]) if columns.first is None else columns.first
    last = int(times[-1]) if columns.last is None else columns.last
    if last < first:  # of events that a reader left out
        raise unordered(path)
    start, end = _place(times, first + window.start), _place(times, end_of(window, first))
    kept = {name: value[start:end] for name, value in values.items()}
    _require_events(path, kept["t"], last - first, window)
    _require_places(path, kept, columns.sensor, window)
    return EventStream(
        x=kept["x"].astype(np.uint16, copy=False),
        y=kept["y"].astype(np.uint16, copy=False),
        t=kept["t"].astype(np.int64, copy=False),
        p=_polarity(path, kept["p"]),
        sensor=columns.sensor,
    )


def _place(times: Column, edge: int | None) -> int:
    """Index of the first event at `edge` or later; None is after all. Searched in the column's type, or numpy would convert all of it."""
    limits = np.iinfo(times.dtype)
    if edge is None or edge > limits.max:
        return len(times)
    return int(np.searchsorted(times, times.dtype.type(max(edge, limits.min))))


def _column(path: Path, name: str, values: Mapping[str, Column]) -> Column:
    if name not in values:
        stored = ", ".join(sorted(values)[:8]) or "none"
        raise UserError(f"{path} has no array {name} (of these it has {stored}); events are stored as x, y, t and p")
    value = values[name]
    if value.ndim != 1 or value.dtype.kind not in KINDS[name]:
        raise UserError(f"{path}: {name} has type {value.dtype} and {value.ndim} dimensions; store one integer for each event")
    return value


def _require_events(path: Path, times: Column, duration: int, window: EventWindow) -> None:
    """Raises UserError for too few, too many, or over too long a time."""
    asked = format_window(window)
    if window.start > duration:
        duration_ms = format_milliseconds(duration)
        raise UserError(f"{path} ends {duration_ms} ms behind its first event, and {asked} starts later; give an earlier --event-window")
    if len(times) < SLICES:
        raise UserError(f"{path}: of {SLICES} events at least pictures are made, and {asked} has {len(times)}; give another --event-window")
    span = int(times[-1]) - int(times[0])
    if window.longest is not None and span >= window.longest:
        span_ms, limit = format_milliseconds(span), format_milliseconds(window.longest)
        raise UserError(
            f"{path}: the events of {asked} span {span_ms} ms, and less than {limit} ms are taken; "
            "give --event-window START:LENGTH such as 0:50ms, or another --event-limit (none: as long as they are)"
        )
    if len(times) > MOST:
        raise UserError(f"{path}: {asked} has {len(times):,} events, more than {MOST:,}; give a shorter --event-window")


def _require_places(path: Path, kept: Mapping[str, Column], sensor: tuple[int, int] | None, window: EventWindow) -> None:
    """Raises UserError for events where no pixel is."""
    if sensor is not None and max(sensor) > LARGEST:
        size = f"{sensor[1]}x{sensor[0]} pixels, and no event camera has more than {LARGEST:,} along an edge"
        raise UserError(f"{path} names a sensor of {size}; store its true size")
    for name, edge in (("x", sensor[1] if sensor else LARGEST), ("y", sensor[0] if sensor else LARGEST)):
        least, most = int(kept[name].min()), int(kept[name].max())
        if least < 0 or most >= edge:
            edges = (
                f"its sensor has {sensor[1]}x{sensor[0]} pixels"
                if sensor
                else f"no event camera has more than {LARGEST:,} pixels along an edge"
            )
            raise UserError(f"{path}: {name} goes from {least} to {most}, and {edges}; copy the file again")
    if window.size == "sensor" and sensor is None:
        raise UserError(f"{path} does not hold the sensor's size (a .npz may, as numbers height and width); leave out --event-size sensor")


def _polarity(path: Path, polarity: Column) -> npt.NDArray[np.uint8]:
    """1 brighter, 0 darker, of 0 and 1, -1 and 1, or booleans. Raises UserError."""
    least, most = int(polarity.min()), int(polarity.max())
    if least == -1 and most in (-1, 1) and (polarity != 0).all():
        return (polarity > 0).astype(np.uint8)
    if least < 0 or most > 1:
        raise UserError(f"{path}: p goes from {least} to {most}; polarity is 0 and 1 throughout, or -1 and 1")
    return polarity.astype(np.uint8, copy=False)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stdout.write(json.dumps(_try(Path(sys.argv[1]), EventWindow(**json.loads(sys.argv[2])))))
