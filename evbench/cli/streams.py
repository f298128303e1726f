"""Standard streams that somebody has closed, or that nobody reads any more: they cost a command neither its work nor its exit code."""

from __future__ import annotations

import errno
import io
import os
import sys

STREAMS = ("stdin", "stdout", "stderr")
"""In the order of their descriptors."""


def open_streams() -> None:
    """Make all three usable. Called before anything else is opened: a file that took the number of a closed stream would be printed into.

    Streams that somebody has put in the place of the process's own are left as they are.
    """
    for number, name in enumerate(STREAMS):
        _open_closed(number)
        stream = getattr(sys, name)
        if stream is None:
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115 - it lives as long as the process
            setattr(sys, f"__{name}__", stream)
            setattr(sys, name, stream)
        if number and stream is getattr(sys, f"__{name}__") and not isinstance(getattr(stream.buffer, "raw", None), _Unread):
            setattr(sys, name, _unread(stream, number))
            setattr(sys, f"__{name}__", getattr(sys, name))


def _open_closed(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)


def _unread(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    """The same stream, of which `_Unread` is the last part."""
    stream.flush()
    buffered = io.BufferedWriter(_Unread(number))
    by_line = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(buffered, encoding=stream.encoding, errors=stream.errors, line_buffering=by_line)


class _Unread(io.RawIOBase):
    """A stream whose reader may go away, as `head -1` does. From then on, what is written to it goes nowhere."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number, self._gone = number, False

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        if self._gone:
            return view.nbytes
        try:
            return os.write(self._number, view)
        except OSError as error:
            self._gone = True
            if error.errno != errno.EPIPE and self._number == 1:  # such as a full disk
                sys.stderr.write(f"evbench: cannot print any further: {error.strerror}\n")
            return view.nbytes
