"""Text and tables for a person, on a terminal or in a file."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console

from evbench.report.render import Summary, Table, plain, to_rich, to_summary

PIPE_WIDTH = 140
"""Columns when the output goes into a file or a pipe that does not say by COLUMNS how wide it is."""
MOST_LINES = 40
"""Of the end of a session: what a terminal shows at once."""
LEFT_OUT = "... and {} more lines in the report"
_is_terminal = sys.stdout is not None and sys.stdout.isatty()  # None: closed, see streams.py
screen = Console(width=None if _is_terminal or "COLUMNS" in os.environ else PIPE_WIDTH)
errors = Console(stderr=True)


def print_summary(summary: Summary, ending: Sequence[str]) -> None:
    """What does not fit into MOST_LINES is left out: generated text first, then what is least important.

    Args:
        ending: lines after what to do next, before the exit code.
    """
    lines = [*(f"Next: {step}" for step in summary.steps), *ending, summary.exit]
    while len(screen.render_lines(to_summary(summary))) + _height(lines) > MOST_LINES and (summary.said or summary.texts):
        if summary.said:
            summary = dataclasses.replace(summary, said=_without_last(summary.said))
        else:
            summary = dataclasses.replace(summary, texts=_without_last(summary.texts))
    screen.print(to_summary(summary))
    for line in lines:
        print_line(line)


def _without_last(texts: dict[str, str]) -> dict[str, str]:
    return dict(list(texts.items())[:-1])


def print_details(tables: Iterable[Table], notes: Iterable[str]) -> None:
    """What `--details` adds."""
    for table in tables:
        screen.print(to_rich(table, numbers=True))
    for note in notes:
        print_line(note)


def print_lines(lines: Sequence[str], ending: Sequence[str], left_out_text: str = LEFT_OUT) -> None:
    """As many of them as fit into MOST_LINES with the ending, which is printed in any case.

    Args:
        left_out_text: where the others are; {} is their number.
    """
    shown = min(len(lines), MOST_LINES)
    while shown and _height([*lines[:shown], left_out_text, *ending]) > MOST_LINES:
        shown -= 1
    left_out = [left_out_text.format(len(lines) - shown)] if shown < len(lines) else []
    for line in (*lines[:shown], *left_out):
        print_sentence(line)
    for line in ending:
        print_line(line)


def _height(lines: Sequence[str]) -> int:
    """Lines of the terminal that they take, if each is broken between words."""
    return sum(max(1, len(plain(line).wrap(screen, screen.width))) for line in lines)


def print_sentence(text: str) -> None:
    """What is to be read: a terminal has it broken between words, a file or pipe on one line."""
    screen.print(plain(text), soft_wrap=not screen.is_terminal)


def print_line(text: str) -> None:
    """What may be copied, such as a command: always one line, however wide the terminal is."""
    screen.print(plain(text), soft_wrap=True)


def print_note(text: str) -> None:
    """One sentence beside what is printed."""
    errors.print(plain(f"evbench: {text}"), soft_wrap=True)


def print_error(message: str) -> None:
    errors.print(plain(f"evbench: {message}", "red"), soft_wrap=True)
