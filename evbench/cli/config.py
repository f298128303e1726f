"""`--config`: options of a command from a file. The command line wins."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from evbench.api import config_file
from evbench.api.option import Option, name_of
from evbench.cli.console import print_note
from evbench.cli.options import GROUPS, SessionOptions, words_of
from evbench.places import short_command
from evbench.report.render import printable
from evbench.report.summary import LONGEST, shorten
from evbench.results import SIDES
from evbench.variants.named import VARIANTS

FROM_FILE = "DEFAULT_MAP"
"""Of a parameter: that its value is from the file. Otherwise it was typed, or nobody gave it."""
KEYS = (
    *SIDES, "fail-if", "require-speedup", "allow", "target", "model", "preset", "weights", "video", "events", "event-window", "event-limit",
    "event-size", "data", "raw-events", "split", "samples", "shuffle-seed", "frames", "frame-policy", "prompt", "new-tokens", "stop-at-end",
    "device", "dtype", "seed", "blocks", "invocations", "precision", "max-time", "warmup", "order", "cold-files", "cold-compile",
    "throughput", "deadline", "trace-tokens", "modules",
)  # fmt: skip
"""What a file may give. An option that names code to be run must not be here: files come from others."""
OF_ONE_SESSION = {field.name.replace("_", "-"): "of one session" for field in fields(SessionOptions) if field.name != "target"}
OPTION = "--config"


def _read(context: typer.Context, file: Path | None) -> Path | None:
    """Values of the file stand where those of the command line do not."""
    if file is not None:
        given = config_file.read(file, _known(context), OF_ONE_SESSION | {"config": "the option that names such a file"})
        context.default_map = {key.replace("-", "_"): _as_typed(file, key, value) for key, value in given.items()}
    return file


Config = Annotated[
    Path | None,
    typer.Option(
        OPTION,
        metavar="FILE",
        callback=_read,
        is_eager=True,
        help="Options from a TOML file, such as evbench.toml, with their names as keys: blocks = 12. The command line wins.",
    ),
]
"""Type of a command's parameter `config`. The command also takes the context, for `told_by_file`."""


def told_by_file(context: typer.Context, file: Path | None) -> str:
    """Say which options the file gave, and return the command with them in its place: a result names no file that others may lack."""
    typed = sys.argv[1:]
    if file is None:
        return printable(short_command(["evbench", *typed]))
    given: Mapping[str, Any] = context.default_map or {}
    used = {name: value for name, value in given.items() if _source(context, name) == FROM_FILE}
    replaced = [name_of(name) for name in given if name not in used]
    told = ", ".join(f"{name.replace('_', '-')} = {_shown(value)}" for name, value in used.items()) or "nothing that is used"
    print_note(printable(f"{file} gives {told}" + (f"; the command line has its own {', '.join(replaced)}" if replaced else "")))
    return printable(short_command(["evbench", *_without_option(typed), *(word for pair in used.items() for word in words_of(*pair))]))


def _known(context: typer.Context) -> dict[str, tuple[Any, Option]]:
    """Key -> type and declaration, of those of KEYS that the command takes."""
    declared = {name: hint for group in GROUPS.values() for name, hint in get_type_hints(group, include_extras=True).items()}
    found = {}
    for parameter in inspect.signature(context.command.callback, eval_str=True).parameters.values():  # type: ignore[arg-type]
        kind, *said = get_args(parameter.annotation) or (parameter.annotation,)
        key = parameter.name.replace("_", "-")
        if said and key in KEYS:
            option = get_args(declared[parameter.name])[1] if parameter.name in declared else Option("")
            found[key] = kind, option
    return found


def _as_typed(file: Path, key: str, value: Any) -> Any:
    """Paths as text. A side may be the folder of an earlier result, which is a path too."""
    if key in SIDES and value.partition("+")[0] not in VARIANTS and (file.parent / value).exists():
        return str(file.parent / value)
    return [str(one) for one in value] if isinstance(value, list) else str(value) if isinstance(value, Path) else value


def _source(context: typer.Context, name: str) -> str:
    source: Any = context.get_parameter_source(name)
    return source.name if source is not None else ""


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else ", ".join(value) if isinstance(value, list) else str(value)
    return shorten(text, LONGEST)


def _without_option(typed: list[str]) -> list[str]:
    """Words of a command line, without the option and its file."""
    kept, skip = [], False
    for word in typed:
        if not skip and word != OPTION and not word.startswith(f"{OPTION}="):
            kept.append(word)
        skip = not skip and word == OPTION
    return kept
