"""Processes that measure beside this one, as a part of the same command."""

from __future__ import annotations

from pathlib import Path


def descendants(process: int) -> list[int]:
    """Numbers of the processes that it has started, and of theirs (Linux; proc(5)). Empty where the system does not tell."""
    found: list[int] = []
    waiting = [process]
    while waiting:
        for children in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            try:
                started = [int(number) for number in children.read_text(encoding="ascii").split()]
            except OSError:  # it has just ended
                continue
            found += started
            waiting += started
    return found
