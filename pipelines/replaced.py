"""A stage of a pipeline that a choice of a plug-in does in the place of evbench's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evbench.errors import UserError
from evbench.results import Work
from evbench.stages import Generation, Sampler


class Replaced:
    """The stages of a pipeline, one of which is somebody else's. Its methods have the names by which runs show a stage."""

    def __init__(self, stage: str, done: Callable[..., Any], origin: str) -> None:
        """
        Args:
            done: takes and returns what the stage does.
            origin: whose it is, for messages.
        """
        self._stage, self._done, self._origin = stage, done, origin

    def load(self, path: Path, /) -> tuple[Any, Work]:
        return self._checked(self._done(path))

    def preprocess(self, loaded: Any, /) -> tuple[Any, Work]:
        return self._checked(self._done(loaded))

    def vision(self, inputs: Any, /) -> tuple[Any, Work]:
        return self._checked(self._done(inputs))

    def generate(self, features: Any, new_tokens: int, sampler: Sampler, /) -> tuple[Generation, Work]:
        return self._checked(self._done(features, new_tokens, sampler))

    def _checked(self, returned: Any) -> tuple[Any, Work]:
        """Raises UserError if it is not what a stage returns."""
        kind = Generation if self._stage == "generate" else None
        fits = isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], Work)
        if not fits or (kind is not None and not isinstance(returned[0], kind)) or (kind is None and not hasattr(returned[0], "values")):
            expected = (
                "(evbench.Generation, evbench.Work)" if kind is not None else "(output, evbench.Work), the output as evbench's stage does"
            )
            raise UserError(f"{self._origin}: {self._stage} returned {_kind(returned)}, where {expected} is expected; mend it")
        return returned[0], returned[1]


def _kind(returned: Any) -> str:
    if isinstance(returned, tuple):
        return f"({', '.join(type(one).__name__ for one in returned)})"
    return type(returned).__name__
