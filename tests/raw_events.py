"""A file of raw events, as `evbench scenes make` stores them."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from evbench.results import EventWindow

COUNT, HEIGHT, WIDTH = 4003, 480, 640
WINDOW = EventWindow(0, 50_000, 100_000, "own")
_FOLDER = tempfile.TemporaryDirectory(prefix="evbench-test-events-")


@functools.cache
def stored() -> Path:
    """Its events gather in the middle of the sensor, some on one pixel; no two slices need pictures of one size."""
    random = np.random.default_rng(0)
    x, y = (random.normal(edge / 2, edge / 12, COUNT).astype(np.uint16) for edge in (WIDTH, HEIGHT))
    path = Path(_FOLDER.name) / "events.npz"
    t = np.sort(random.integers(0, WINDOW.length, COUNT))
    np.savez_compressed(path, x=x, y=y, t=t, p=random.integers(0, 2, COUNT).astype(np.uint8), height=HEIGHT, width=WIDTH)
    return path
