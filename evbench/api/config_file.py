"""A configuration file: the options of a comparison in TOML, so that a team runs the same one again. It may come from anybody.

    baseline = "baseline"
    optimized = "optimized"
    blocks = 12
    video = ["clips/street.mp4"]

A key is the name of an option of the command, without the dashes in front. Paths are relative to the folder of the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from evbench.api.option import Option
from evbench.api.options import FORMER_OPTIONS
from evbench.errors import UserError, first_line, nearest

NAME = "evbench.toml"
"""As it is usually called."""
MOST_BYTES = 100_000
SHOWN = 60
"""Characters of a key that is refused."""

Known = Mapping[str, tuple[Any, Option]]
"""Key -> type of its value, and what else is declared of it."""


def read(file: Path, known: Known, elsewhere: Mapping[str, str]) -> dict[str, Any]:
    """Key -> value, of the type that is declared; paths as they are from here.

    Args:
        known: what a file may give.
        elsewhere: key -> where that is given, as it is no property of a comparison.

    Raises:
        UserError: it cannot be read, is no TOML, or gives what is not known or of another type. The key is named.
    """
    values = {}
    for key, value in _parsed(file).items():
        if isinstance(value, dict):
            raise UserError(f"{file}: {_shown(key)} is a table; an option is one line, such as blocks = 12")
        if key not in known:
            raise UserError(f"{file}: {_unknown(key, known, elsewhere)}")
        kind, option = known[key]
        values[key] = _value(file, key, value, kind)
        option.require(f"{file}: {key}", kind, values[key])
    if not values:
        raise UserError(f"{file} gives no option; write one, such as blocks = 12")
    return values


def _parsed(file: Path) -> dict[str, Any]:
    """Raises UserError."""
    if not file.is_file():
        raise UserError(f"{file}: {'is no plain file' if file.exists() else 'no such file'}; give a configuration file such as {NAME}")
    if (size := file.stat().st_size) > MOST_BYTES:
        raise UserError(f"{file} has {size:,} bytes, and options take {MOST_BYTES:,} at most; give a configuration file")
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8"))
    except RecursionError:
        raise UserError(f"{file} is nested too deeply; an option is one line, such as blocks = 12") from None
    except ValueError as error:  # of TOML, of UTF-8, and of numbers with more digits than Python reads
        raise UserError(f"{file} is no TOML: {first_line(error)}; an option is one line, such as blocks = 12") from None


def _unknown(key: str, known: Known, elsewhere: Mapping[str, str]) -> str:
    if key in elsewhere:
        return f"{key!r} is {elsewhere[key]}; give it on the command line"
    if key in FORMER_OPTIONS:
        return f"unknown option {key!r}; it is now called {FORMER_OPTIONS[key]}"
    return f"unknown option {_shown(key)}; {nearest(key[:SHOWN], list(known))}"


def _shown(key: str) -> str:
    return repr(key if len(key) <= SHOWN else f"{key[:SHOWN]}...")


def _value(file: Path, key: str, value: Any, kind: Any) -> Any:
    """With paths where the type has them. Raises UserError for what is written otherwise in TOML, and for text that no option can have."""
    kinds = {kind, *get_args(kind)}
    if bool in kinds and not isinstance(value, bool):
        raise UserError(f"{file}: {key} is not {value!r}; write true or false")
    if {list[Path], list[str]} & kinds:
        if not isinstance(value, list):
            raise UserError(f'{file}: {key} is a list; write {key} = ["..."]')
        if not value:
            raise UserError(f"{file}: {key} is an empty list; leave it out")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and "\0" in text:
            raise UserError(f"{file}: {key} has a character that no option can have (U+0000); leave it out")
    if Path in kinds and isinstance(value, str):
        return _path(file, key, value)
    if list[Path] in kinds and isinstance(value, list):
        return [_path(file, key, one) if isinstance(one, str) else one for one in value]
    return value


def _path(file: Path, key: str, text: str) -> Path:
    if not text:
        raise UserError(f"{file}: {key} '' is an empty path; give that of a file or folder")
    return file.parent / text
