"""What a command takes, and one line for what it does not take."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import typer
from typer.core import TyperCommand

from evbench.api.option import KINDS as NUMBERS
from evbench.api.option import name_of
from evbench.cli.interrupts import Interruptible
from evbench.errors import UserError

USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]
"""Whatever is wrong with options and arguments."""


class OneLineCommand(TyperCommand):
    """A command that refuses what it does not take in one line."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        self._refuse_empty_paths(self.make_parser(ctx).parse_args(list(args))[0])
        return super().parse_args(ctx, args)

    def _refuse_empty_paths(self, given: Mapping[str, Any]) -> None:
        """Path("") is the current folder, which nobody means who gives nothing. `given`: parameter -> what was typed."""
        assert self.callback is not None
        annotations = inspect.signature(self.callback, eval_str=True).parameters
        for parameter in cast(list[Any], self.params):
            asked, values = annotations.get(str(parameter.name)), given.get(parameter.name)
            if asked is not None and _is_path(asked.annotation) and "" in (values if isinstance(values, list | tuple) else [values]):
                raise UserError(f"{_typed_name(parameter)} '' is an empty path; give that of a file or folder")

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _in_one_line():
            return super().make_context(*args, **extra)


class Commands(Interruptible):
    """Commands, of which one that does not exist is refused in one line."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _in_one_line():
            return super().make_context(*args, **extra)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        with _in_one_line():
            return super().resolve_command(ctx, args)


def _is_path(annotation: Any) -> bool:
    """`Path`, or with others, or several."""
    return annotation is Path or any(map(_is_path, get_args(annotation)))


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Raises UserError for an error of usage. Without any argument, help is shown."""
    try:
        yield
    except USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        raise UserError(_line(error)) from None


def _line(error: Any) -> str:
    context, path = error.ctx, list[str]()
    while context is not None and context.parent is not None:
        path.insert(0, context.info_name)
        context = context.parent
    command = " ".join(["evbench", *path])
    name: str | None = getattr(error, "option_name", None)
    if (kind := _number_kind(error)) is not None:
        message = f"{_typed_name(error.param)} {kind}"
    elif (given := _range_of(error)) is not None:
        message = f"{_typed_name(error.param)} {given}"
    elif name is None or not hasattr(error, "possibilities"):
        message = " ".join(error.format_message().split()).rstrip(".")
    else:
        message = _unknown_option(command, name, error.possibilities)
    if type(error).__name__ == "MissingParameter" and any("--config" in parameter.opts for parameter in error.ctx.command.params):
        message += _file_that_is_here()
    return f"{message}{' ' if message.endswith('?') else '. '}See: {command} --help"


def _file_that_is_here() -> str:
    """A configuration file is not read unless it is named: a folder of somebody else's would change what a command does."""
    from evbench.api.config_file import NAME

    return f"; {NAME} is here, and --config {NAME} reads it" if Path(NAME).is_file() else ""


def _unknown_option(command: str, name: str, possibilities: Sequence[str]) -> str:
    # Imported here: help and version answer without what measuring needs.
    from evbench.api.options import FORMER_OPTIONS
    from evbench.cli.options import GROUPS

    renamed = {name_of(former): name_of(now) for former, now in FORMER_OPTIONS.items()}
    if name in renamed:
        return f"unknown option {name}; it is now called {renamed[name]}"
    # Where a command does not take what others do, none that is written nearly so was meant.
    of_others = {name_of(field.name) for group in GROUPS.values() for field in dataclasses.fields(group)} | {"--fail-if", "--allow"}
    return (
        f"{command} takes no {name}; {f'did you mean {possibilities[0]}?' if possibilities and name not in of_others else 'leave it out'}"
    )


def _typed_name(parameter: Any) -> str:
    """As a person types it: of an argument, which has no name on the command line, as the help has it."""
    return next((name for name in parameter.opts if name.startswith("--")), str(parameter.metavar or parameter.name).upper())


def _range_of(error: Any) -> str | None:
    """What a value should have been, if it is a number out of its range. Said as by `evbench.api.option.Option`."""
    said = re.fullmatch(r"(?P<value>\S+) is not in the range .*", str(getattr(error, "message", "")))  # typer before 0.29
    value = said["value"] if said is not None else None
    for one in _validations(error):
        if one["type"] in ("greater_than_equal", "less_than_equal"):
            value = one["input"]
    if value is None:
        return None
    annotations = inspect.signature(error.ctx.command.callback, eval_str=True).parameters
    _, option = get_args(annotations[error.param.name].annotation)
    allowed = f"{option.min:,} or more" if option.max is None else f"{option.min:,} to {option.max:,}"
    return f"{value} is out of range; give {allowed}"


def _validations(error: Any) -> list[Any]:
    """What pydantic says of a value, from which typer has it."""
    found: list[Any] = getattr(error.__cause__, "errors", list)()
    return found


def _number_kind(error: Any) -> str | None:
    """What a value should have been, if it is a number that cannot be read."""
    found = _validations(error)
    if found:
        name, value = str(found[0]["type"]), repr(found[0]["input"])
    else:  # typer before 0.29, which says it in words alone
        said = re.fullmatch(r"(?P<value>'.*') is not a valid (?P<name>int|float)\w*\.", str(getattr(error, "message", "")), re.DOTALL)
        name, value = (said["name"], said["value"]) if said is not None else ("", "")
    kind = next((kind for kind in (int, float) if name.startswith(kind.__name__)), None)
    return None if kind is None else f"{value} is no {NUMBERS[kind][1]}"
