"""The question, which is the same for every sample."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Asked = ParamSpec("Asked")
Tokens = TypeVar("Tokens")


def kept(tokens: Callable[Asked, Tokens]) -> Callable[Asked, Tokens]:
    """What `tokens` makes of a question, made once for each: then it is on the device already when the next sample comes."""
    return functools.cache(tokens)  # type: ignore[return-value]
