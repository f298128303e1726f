"""Files of events -> EventStream."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evbench.pipelines.event_stream import EventStream
from evbench.results import EventWindow


def read(path: Path, window: EventWindow) -> EventStream:
    """The events of a window, in order of time."""
    with np.load(path) as columns:
        x, y, t, p = (columns[name] for name in "xytp")
    start, end = np.searchsorted(t, [t[0] + window.start, t[0] + window.start + window.length])
    inside = slice(start, end)
    return EventStream(x[inside], y[inside], t[inside].astype(np.int64), p[inside], (480, 640))
