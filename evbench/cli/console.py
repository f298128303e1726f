"""Text and tables for a person, on a terminal or in a file."""

from __future__ import annotations

import os
import sys

from rich.console import Console

PIPE_WIDTH = 140
"""Columns when the output goes into a file or a pipe that does not say by COLUMNS how wide it is."""
screen = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH)
errors = Console(stderr=True)


def print_line(text: str) -> None:
    screen.print(text, highlight=False, markup=False, soft_wrap=True)


def print_error(message: str) -> None:
    errors.print(f"evbench: {message}", style="red", highlight=False, markup=False, soft_wrap=True)
