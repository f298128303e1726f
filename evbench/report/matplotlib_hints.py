"""What matplotlib says of its own caches and folders is not for who reads a verdict."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_hints() -> Iterator[None]:
    """For importing matplotlib, and for drawing with it."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
