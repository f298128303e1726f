"""Text, tables and progress for a person, on a terminal or in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PIPE_WIDTH = 140
"""Columns when the output goes into a file or a pipe, so that no line of a table is folded."""
screen = Console(width=None if sys.stdout is not None and sys.stdout.isatty() else PIPE_WIDTH)  # None: closed, see streams.py
errors = Console(stderr=True)


class ProgressLines:
    """Progress without a terminal: one line for each kind of step and each tenth of the way."""

    def __init__(self) -> None:
        self._printed: set[tuple[str, int]] = set()

    def step(self, activity: str, done: int, total: int, /) -> None:
        kind = activity.rstrip("0123456789 ")
        if (kind, 10 * done // total) not in self._printed:
            self._printed.add((kind, 10 * done // total))
            errors.print(f"[{done}/{total}] {kind}", highlight=False, markup=False)

    def message(self, text: str, /) -> None:
        errors.print(f"evbench: {text}", highlight=False, markup=False, soft_wrap=True)


class ProgressBar(ProgressLines):
    """Progress on a terminal: a live bar."""

    def __init__(self, bar: Progress) -> None:
        super().__init__()
        self._bar, self._task = bar, bar.add_task("", total=None)

    def step(self, activity: str, done: int, total: int, /) -> None:
        self._bar.update(self._task, description=activity, completed=done, total=total)


@contextmanager
def show_progress() -> Iterator[ProgressLines]:
    """A live bar on a terminal; elsewhere lines."""
    if not errors.is_terminal:
        yield ProgressLines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        yield ProgressBar(bar)


def print_line(text: str) -> None:
    screen.print(text, highlight=False, markup=False, soft_wrap=True)


def print_error(message: str) -> None:
    errors.print(f"evbench: {message}", style="red", highlight=False, markup=False, soft_wrap=True)
