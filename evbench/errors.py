"""The one error that is a user's to mend."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class UserError(Exception):
    """A wrong input, option or environment. The message is one line: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """What a library's error says, cut to one line for a UserError."""
    return next((line.strip()[:160] for line in str(error).splitlines() if line.strip()), "no reason given")


def nearest(word: str, words: Sequence[str]) -> str:
    """For a UserError about an unknown word: `did you mean ...?` if a known one is close, else the list of all."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(words)}."
