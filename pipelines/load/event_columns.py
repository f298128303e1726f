"""What a file of raw events holds, as its reader found it, and what all readers share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from evbench.errors import UserError
from evbench.results import EventWindow

Column = npt.NDArray[Any]
COLUMNS = ("x", "y", "t", "p")
MOST = 2**27
"""Events. The densest second of DSEC has a tenth of this."""
MOST_BYTES = 16 * MOST


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


def require_package(module: str, extra: str, path: Path) -> None:
    """Raises UserError if it is not installed. `extra`: of evbench, that installs it."""
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{path} is read by the package {module}, which is not installed; install it, or evbench[{extra}]")
