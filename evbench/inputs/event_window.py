"""Which raw events of a file are read: `--event-window`, `--event-limit` and `--event-size`."""

from __future__ import annotations

import re
from typing import get_args

from evbench.errors import UserError
from evbench.results import EventWindow, PictureSize

LONGEST = "100ms"
"""XduSyL/EventGPT:common/common.py refuses events that span as much, and more."""
NUMBER = r"(\d{1,9}(?:\.\d{1,3})?)"
"""Of milliseconds, to the microsecond."""
OPTIONS = ("--event-window", "--event-limit", "--event-size")


def read(window: str | None, limit: str | None, size: str | None) -> EventWindow:
    """None where an option is not given: the whole file, the released code's limit, event images as small as their events allow.

    >>> read("0:50ms", None, None)
    EventWindow(start=0, length=50000, longest=100000, size='own')

    Raises:
        UserError: one cannot be read.
    """
    start, length = (0, None) if window is None else _window(window)
    if size not in (None, *get_args(PictureSize)):
        raise UserError(f"unknown --event-size {size!r}; there is {', '.join(get_args(PictureSize))}")
    return EventWindow(start, length, _limit(LONGEST if limit is None else limit), "sensor" if size == "sensor" else "own")


def _window(text: str) -> tuple[int, int]:
    found = re.fullmatch(rf"\s*{NUMBER}(?:ms)?:{NUMBER}ms\s*", text)
    if found is None or not _microseconds(found[2]):
        raise UserError(f"--event-window {text!r} cannot be read; write START:LENGTH after the first event, such as 0:50ms")
    return _microseconds(found[1]), _microseconds(found[2])


def _limit(text: str) -> int | None:
    if text == "none":
        return None
    found = re.fullmatch(rf"\s*{NUMBER}ms\s*", text)
    if found is None or not _microseconds(found[1]):
        raise UserError(f"--event-limit {text!r} cannot be read; write a time such as {LONGEST}, or none")
    return _microseconds(found[1])


def _microseconds(milliseconds: str) -> int:
    return round(float(milliseconds) * 1000)
