"""Files of raw events to test with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from evbench.results import EventWindow

HEIGHT, WIDTH = 48, 64
WHOLE = EventWindow(0, None, None, "own")
Columns = dict[str, npt.NDArray[Any]]


def make_events(count: int = 1000, microseconds: int = 50_000, start: int = 7_000_000) -> Columns:
    """In order of time, over a sensor of 64x48."""
    random = np.random.default_rng(3)
    times = np.sort(random.integers(0, microseconds, count)).astype(np.int64)
    times[[0, -1]] = 0, microseconds - 1
    return {
        "x": random.integers(0, WIDTH, count).astype(np.uint16),
        "y": random.integers(0, HEIGHT, count).astype(np.uint16),
        "t": times + start,
        "p": random.integers(0, 2, count).astype(np.uint8),
    }


def save_npz(path: Path, events: Mapping[str, Any]) -> Path:
    np.savez(path, **events)
    return path


def save_npy(path: Path, events: Mapping[str, Any]) -> Path:
    """As numpy.save stores a dict, which is how EventGPT's samples came about."""
    np.save(path, np.array(dict(events), dtype=object))
    return path


def milliseconds(times: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """ms_to_idx of DSEC: of each millisecond the first event at it or later."""
    return np.searchsorted(times, np.arange(int(times[-1]) // 1000 + 1) * 1000).astype(np.uint64)


def save_hdf5(path: Path, events: Mapping[str, Any], /, **replaced: Any) -> Path:
    """As DSEC stores them: times relative to t_offset, compressed by Blosc. `replaced`: datasets instead of those, None for none."""
    blosc = hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE)
    relative = (events["t"] - events["t"][0]).astype(np.uint32)
    stored = {"events/x": events["x"], "events/y": events["y"], "events/t": relative, "events/p": events["p"]}
    stored |= {"ms_to_idx": milliseconds(relative), "t_offset": np.int64(events["t"][0])}
    stored |= {name.replace("__", "/"): value for name, value in replaced.items()}
    with h5py.File(path, "w") as file:
        for name, value in stored.items():
            options = dict(blosc) if np.ndim(value) else {}
            options |= {"chunks": (64,)} if np.ndim(value) == 1 and np.size(value) > 64 else {}
            if value is not None:
                file.create_dataset(name, data=value, **options)
    return path


SAVE: dict[str, Callable[[Path, Mapping[str, Any]], Path]] = {".npz": save_npz, ".npy": save_npy, ".h5": save_hdf5}
