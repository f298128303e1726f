"""What one option means, and what it may be: checked here for the command line and for `import evbench` alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from evbench.errors import UserError

KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "bool; give True or False"),
    int: ((int,), "whole number; give one"),
    float: ((int, float), "number; give one"),
    str: ((str,), "text; give one"),
    Path: ((Path,), "Path; give one"),
    list[Path]: ((list, tuple), "list of Paths; give one"),
    list[str]: ((list, tuple), "list of texts; give one"),
}
"""Type of an option -> what a value may be, and how it is said that one is not."""


@dataclass(frozen=True)
class Option:
    """What an option means, what it may be, and how it appears on the command line."""

    meaning: str
    min: int | None = None
    max: int | None = None
    flag: bool = False
    """Whether it takes no value, and only `--name` exists. Else a bool has `--no-name`, too."""
    group: str = ""
    """In the help of a command."""

    @property
    def range(self) -> str:
        """In words. Empty if any value may be."""
        if self.min is None:
            return ""
        return f"{self.min:,} or more" if self.max is None else f"{self.min:,} to {self.max:,}"

    @property
    def help(self) -> str:
        return f"{self.meaning} ({self.range})" if self.range else self.meaning

    def require(self, name: str, kind: Any, value: object) -> None:
        """Raises UserError if the value is not of the kind, or out of range.

        Args:
            name: as on the command line.
            kind: of KINDS, or such a type or None.
        """
        kinds = get_args(kind) if kind not in KINDS else (kind,)
        if value is None and type(None) in kinds:
            return
        types, is_not = KINDS[kinds[0]]
        wrong = not isinstance(value, types) or isinstance(value, bool) != (bool in types)
        if wrong or (isinstance(value, float) and not math.isfinite(value)):
            raise UserError(f"{name} {value!r} is no {is_not}")
        for one in value if isinstance(value, list | tuple) else ():
            (inner,) = get_args(kinds[0])
            if not isinstance(one, inner):
                raise UserError(f"{name} {one!r} is no {KINDS[inner][1]}")
        if isinstance(value, int | float) and not self._holds(value):
            raise UserError(f"{name} {value} is out of range; give {self.range}")

    def _holds(self, value: float) -> bool:
        return (self.min is None or self.min <= value) and (self.max is None or value <= self.max)


def name_of(field: str) -> str:
    """Of an option on the command line."""
    return f"--{field.replace('_', '-')}"
