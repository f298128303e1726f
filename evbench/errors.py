"""The one error that is a user's to mend."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Sequence
from pathlib import Path


class UserError(Exception):
    """A wrong input, option or environment. The message is one line: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """What a library's error says, cut to one line for a UserError."""
    return next((line.strip()[:160] for line in str(error).splitlines() if line.strip()), "no reason given")


CPU_ALLOCATOR = "DefaultCPUAllocator: "
"""In torch's message where the system gives it no memory, which is a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Of Python, of torch on a GPU, or of torch on a CPU. Torch need not be imported for it."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or CPU_ALLOCATOR in str(error)


def nearest(word: str, words: Sequence[str]) -> str:
    """For a UserError about an unknown word: `did you mean ...?` if a known one is close, else the list of all."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(words)}."


def not_made(folder: Path, error: OSError) -> str:
    """For a UserError about a folder that the file system does not make: where, and why."""
    parent = next(place for place in folder.absolute().parents if place.exists())
    # A file system that takes no folders, such as /proc, answers as if the parent were not there.
    reason = f"{parent} takes no new folders" if error.errno == errno.ENOENT else f"{error.strerror} in {parent}"
    return f"the folder {folder} cannot be made: {reason}"
