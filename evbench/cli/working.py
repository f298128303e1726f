"""The work of a command: with progress, and one line if it is interrupted or loses a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from evbench.cli.console import print_error
from evbench.cli.interrupts import FAULT, INTERRUPTED
from evbench.cli.progress import ProgressLines, show_progress
from evbench.worker.client import WorkerDied


@contextmanager
def working(remains: Callable[[], str], advice: Callable[[], str] = str) -> Iterator[ProgressLines]:
    """Shows progress. An interruption and a dead worker end the command.

    Args:
        remains: what is left after an interruption, looked up then. Empty if nothing is.
        advice: a sentence on what to do. Empty if there is nothing to do.
    """
    try:
        with show_progress() as progress:
            yield progress
    except KeyboardInterrupt:
        left = remains()
        print_error(_sentences(f"interrupted; {left}" if left else "interrupted", advice()))
        raise typer.Exit(INTERRUPTED) from None
    except WorkerDied as error:
        print_error(_sentences(str(error), advice()))
        raise typer.Exit(FAULT) from None


def _sentences(message: str, advice: str) -> str:
    return f"{message}. {advice}" if advice else message
