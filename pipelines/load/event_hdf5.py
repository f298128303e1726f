"""Raw events in HDF5, as in DSEC. Only the window is read, by an index of milliseconds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from evbench.errors import UserError, first_line
from evbench.pipelines.load.event_columns import COLUMNS, MOST, Columns, end_of, require_package, unordered
from evbench.results import EventWindow

LARGEST_CHUNK = 2**26
"""Bytes. HDF5 unpacks a whole chunk for one event of it; h5py makes chunks of up to 2^20 bytes by itself."""


def from_hdf5(path: Path, window: EventWindow) -> Columns:
    """As in DSEC: events/x, y, t and p, ms_to_idx, by which only the window is read, and t_offset. Raises UserError.

    Source: uzh-rpg/DSEC:scripts/utils/eventslicer.py.
    """
    for module in ("h5py", "hdf5plugin"):
        require_package(module, "dsec", path)
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
            offset = int(_dataset(path, stored, "t_offset", most=1)[()])
            first, last = int(columns["t"][0]) + offset, int(columns["t"][-1]) + offset
    except (OSError, LookupError, ValueError, RuntimeError, TypeError, MemoryError) as error:
        raise UserError(f"{path} is damaged or no HDF5 as in DSEC ({first_line(error)}); copy the file again") from error
    if max(abs(first), abs(last)) > np.iinfo(np.int64).max:
        raise UserError(f"{path}: with t_offset, t goes from {first} to {last}, which are no times in microseconds; copy the file again")
    if values["t"].dtype.kind in "ui":
        values["t"] = values["t"].astype(np.int64) + offset
    return Columns(values, first, last)


def _dataset(path: Path, stored: Any, name: str, most: int | None = None) -> Any:
    """Of numbers that are stored in this very file, `most` at the most, and not read yet. Raises UserError."""
    import h5py

    *groups, last = name.split("/")
    place = stored
    for part in (*groups, last):
        if isinstance(place, h5py.Dataset):
            stored_as = f"{place.name.lstrip('/')} as one array of shape {place.shape}, with {place.dtype}"
            raise UserError(f"{path} holds {stored_as[:120]}, and not {name}; store x, y, t and p as arrays of their own, as DSEC does")
        link = place.get(part, getlink=True) if part in place else None
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{path} has no {name}; an HDF5 file as in DSEC has events/x, y, t and p, ms_to_idx and t_offset")
        place = place[part]
    if not isinstance(place, h5py.Dataset) or place.external is not None or place.is_virtual or place.dtype.kind not in "uib":
        raise UserError(f"{path}: {name} is no array of integers in this file; copy it with its content")
    if place.chunks is not None and (size := math.prod(place.chunks) * place.dtype.itemsize) > LARGEST_CHUNK:
        least = f"{size / 2**20:,.0f} MiB, which would be unpacked for a single event, and up to {LARGEST_CHUNK // 2**20} are taken"
        raise UserError(f"{path}: {name} is stored in chunks of {least}; store it in smaller ones")
    if most is not None and place.size > most:
        raise UserError(f"{path}: {name} has {place.size:,} numbers, more than {most:,}; copy the file again")
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
