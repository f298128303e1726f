"""Standard streams that somebody has closed, or that nobody reads any more: they cost a command neither its work nor its exit code.

Output that was to be kept, and that a full disk did not take, is a fault: it is told, and success is not claimed.
"""

from __future__ import annotations

import errno
import io
import os
import sys

STREAMS = ("stdin", "stdout", "stderr")
"""In the order of their descriptors."""


def open_streams() -> None:
    """Make all three usable. Called before anything else is opened: a file that took the number of a closed stream would be printed into.

    A stream that somebody has put in the place of the process's own is left as it is.
    """
    for number, name in enumerate(STREAMS):
        _open_closed(number)
        if getattr(sys, name) is None:
            opened = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
            setattr(sys, f"__{name}__", opened)
            setattr(sys, name, opened)
        stream = getattr(sys, name)
        if number and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _Unread(stream))


def all_is_printed() -> bool:
    """Whether everything for standard output got there, or had nobody who reads it. To be asked when nothing more is printed."""
    if not isinstance(sys.stdout, _Unread):
        return True
    sys.stdout.flush()
    return not sys.stdout.lost


def _open_closed(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        _open_nowhere(number)


def _open_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


class _Unread(io.TextIOWrapper):
    """A stream whose reader may go away, as `head -1` does. From then on, what is written to it goes nowhere."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._shared = stream  # which would close the buffer of both when it is deleted
        self.lost = False
        """Whether something that was written could not be kept, as on a full disk. Not if nobody reads it."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        _open_nowhere(self.fileno())
        if error.errno != errno.EPIPE and self.fileno() == 1:  # such as a full disk
            self.lost = True
            sys.stderr.write(f"evbench: cannot print any further: {error.strerror}; give the output another place\n")
