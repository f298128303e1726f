"""How a command ends that is interrupted: with one line, and an exit code of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from evbench.cli.console import print_error

INTERRUPTED, FAULT = 130, 1
"""Exit codes."""
ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals by which a batch system or a closed terminal ends a command."""


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """The signals of ENDING do what Ctrl-C does, unless they are ignored, as `nohup` has it."""
    changed = []
    if threading.current_thread() is threading.main_thread():  # no other may
        changed = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def ignore_further() -> None:
    """From here on Ctrl-C does nothing: all is told and released, and one more would only change the exit code of the process."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Interruptible(TyperGroup):
    """Commands that end with a line also where Ctrl-C comes before or after their work, such as while input is probed."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _exit_if_interrupted():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _exit_if_interrupted():
            return super().invoke(ctx)


@contextmanager
def _exit_if_interrupted() -> Iterator[None]:
    """Raises typer.Exit, which typer itself would do without a message."""
    try:
        yield
    except KeyboardInterrupt:
        print_error("interrupted")
        raise typer.Exit(INTERRUPTED) from None
