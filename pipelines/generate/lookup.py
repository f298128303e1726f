"""Prompt lookup: a text drafts how it goes on, by what followed where its last tokens stood before.

Source: Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_LOOKUP, LEAST_LOOKUP = 3, 1
"""Tokens at the end of a text that are looked for in it."""


class PromptLookup:
    """The longest, and then the latest, place in front of the end where the last tokens stand, as its text grows."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._prompt = len(prompt)
        self._text: list[int] = []
        self._behind: dict[tuple[int, ...], int] = {}
        """Tokens -> where in the text the token behind them stands, where they stood last."""
        self._extend(prompt)

    def __call__(self, answer: Sequence[int], count: int) -> list[int]:
        """What followed, `count` tokens at most; nothing where the last tokens have not been there before.

        Args:
            answer: all of it so far: that of the call before, and what has been added.
        """
        self._extend(answer[len(self._text) - self._prompt :])
        for size in range(min(MOST_LOOKUP, len(self._text)), LEAST_LOOKUP - 1, -1):
            place = self._behind.get(tuple(self._text[-size:]))
            if place is not None:
                return self._text[place : place + count]
        return []

    def _extend(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            end = len(self._text)
            for size in range(LEAST_LOOKUP, min(MOST_LOOKUP, end) + 1):
                self._behind[tuple(self._text[end - size :])] = end
            self._text.append(token)
