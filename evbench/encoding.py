"""Frozen dataclasses to JSON and back, and files written whole or not at all. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

Decoded = TypeVar("Decoded")
LONGEST_SHOWN = 80
"""Characters of a wrong value that a message shows."""
LARGEST = 2**64
"""No whole number that evbench counts comes near. Of larger ones some have no float."""
IN_JSON: dict[Any, str] = {
    tuple: "a list", dict: "an object", float: "a finite number", int: "a whole number", bool: "true or false", str: "text",
    Decimal: "a finite number",
}  # fmt: skip


def to_json(value: Any, *, indent: int | None = None) -> str:
    """A dataclass as JSON."""
    return json.dumps(dataclasses.asdict(value), indent=indent, ensure_ascii=False, allow_nan=False)


def from_json(kind: type[Decoded], value: Any, location: str) -> Decoded:
    """Parsed JSON as the dataclass `kind`, with its fields and types, and no others. Fields with a default may be missing.

    A `Decimal` keeps the digits that are written; the JSON has to be parsed with `parse_float=Decimal` for it.

    Raises:
        ValueError: something else; the location is named.
    """
    decoded = _decode(kind, value, location)
    assert isinstance(decoded, kind)
    return decoded


def _decode(kind: Any, value: Any, location: str) -> Any:
    """Build `kind` out of parsed JSON, strictly. Raises ValueError that names the location."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints, optional = field_types(typing.cast(Any, kind)), optional_fields(typing.cast(Any, kind))
        if not isinstance(value, dict):
            raise ValueError(f"{location} is {_shortened(value)}, where an object with the fields {', '.join(hints)} is expected")
        if missing := sorted(hints.keys() - value.keys() - optional):
            raise ValueError(f"{location} lacks {_fields(missing)}")
        if unknown := sorted(value.keys() - hints.keys()):
            raise ValueError(f"{location} has {_fields(unknown)}, which this evbench does not know")
        return kind(**{name: _decode(hint, value[name], f"{location}.{name}") for name, hint in hints.items() if name in value})  # type: ignore[operator]
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _decode(inner, value, location)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(value) != len(kinds):
            raise ValueError(f"{location} is {_shortened(value)}, where a list of {len(kinds)} is expected")
        return tuple(_decode(kinds[index], item, f"{location}[{index}]") for index, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _decode(arguments[1], item, f"{location}[{key!r}]") for key, item in value.items()}
    if origin is Literal and value in arguments:
        return value
    if kind in (int, float, Decimal) and isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError(f"{location} is {_shortened(value)}, which is more than 64 bits hold")
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if kind is Decimal and isinstance(value, int | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite():
        return Decimal(value)
    if isinstance(kind, type) and issubclass(kind, StrEnum) and value in list(kind):
        return kind(value)
    if kind is str and isinstance(value, str):
        value.encode()  # raises ValueError for half a surrogate pair, which could never be written again
        return value
    if kind in (int, bool) and type(value) is kind:
        return value
    raise ValueError(f"{location} is {_shortened(value)}, where {_in_words(kind)} is expected")


def _in_words(kind: Any) -> str:
    """What a value of this type is in JSON."""
    origin = typing.get_origin(kind)
    if origin is Literal or (isinstance(kind, type) and issubclass(kind, StrEnum)):
        return " or ".join(map(str, typing.get_args(kind) if origin is Literal else kind))
    return IN_JSON[origin or kind]


def _fields(names: Sequence[str]) -> str:
    return f"the field{'' if len(names) == 1 else 's'} {', '.join(map(repr, names))}"


def _shortened(value: Any) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def is_text(text: str) -> bool:
    """Whether it can be written: the name of a file that is no UTF-8 has half surrogate pairs in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def field_types(kind: type[Any]) -> dict[str, Any]:
    """Field -> type, in order."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@cache
def optional_fields(kind: type[Any]) -> frozenset[str]:
    """Fields that have a default, as files of an earlier version do without."""
    missing = dataclasses.MISSING
    return frozenset(field.name for field in dataclasses.fields(kind) if (field.default, field.default_factory) != (missing, missing))


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content`, text as UTF-8, whole or not at all. What stood there stays until then. Raises OSError."""
    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
