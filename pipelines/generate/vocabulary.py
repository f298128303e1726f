"""Whether two models mean the same by a token, so that one can draft for the other. Imports no torch."""

from __future__ import annotations

from typing import Any

from evbench.errors import UserError


def words(tokenizer: Any) -> tuple[str, ...]:
    """Every token of a tokenizer of transformers, by id. Empty where an id has none."""
    known = {number: word for word, number in tokenizer.get_vocab().items()}
    return tuple(known.get(number, "") for number in range(max(known) + 1))


def require_one_vocabulary(target: tuple[str, ...], drafter: tuple[str, ...]) -> int:
    """How many ids both have. Raises UserError if one of them is another token in each."""
    shared = min(len(target), len(drafter))
    for number, (one, other) in enumerate(zip(target, drafter, strict=False)):
        if one != other:
            raise UserError(f"token {number} is {one!r} for the target and {other!r} for the drafter; give two models of one vocabulary")
    return shared
