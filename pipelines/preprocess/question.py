"""The question, which every sample shares."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Asked = ParamSpec("Asked")
Tokens = TypeVar("Tokens")


def kept(tokens: Callable[Asked, Tokens]) -> Callable[Asked, Tokens]:
    """`tokens`, computed once for each question: for the next sample it is on the device already."""
    return functools.cache(tokens)  # type: ignore[return-value]
