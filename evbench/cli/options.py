"""Options that several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from evbench.api.option import Option, name_of
from evbench.api.options import Options, use_given

SESSION = "Session"
"""A group of options, in the help of a command."""


@dataclass(frozen=True)
class SessionOptions:
    """Where a session is written, and what is demanded of it."""

    target: Annotated[
        list[str] | None,
        Option(
            "A time to reach, such as 'video-llava.generate<2.5s', or in its place 200-samples<15min, memory<24GiB or failed-samples<1; "
            "can be given several times. Exit code 3 if one is missed.",
            group=SESSION,
        ),
    ] = None
    out: Annotated[Path | None, Option("Folder for results, report and traces. Default: profiles/<time>-<model>.", group=SESSION)] = None
    resume: Annotated[bool, Option("Go on with the interrupted session in --out; give the same options.", flag=True, group=SESSION)] = False
    details: Annotated[bool, Option("Print all of the report, not its summary alone.", flag=True, group=SESSION)] = False
    wait: Annotated[bool, Option("Wait for another evbench on the same device, or be refused.", group=SESSION)] = True


GROUPS = {"options": Options, "session": SessionOptions}
"""Parameter of a command -> the dataclass whose fields are its options on the command line."""


def with_options(*, but: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the fields of those of GROUPS that it takes as options on the command line, and call it with these dataclasses.

    Args:
        but: fields that it does not take. They have their defaults.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [parameter.replace(annotation=hints[name]) for name, parameter in signature(command).parameters.items() if name not in GROUPS]
        groups = {name: group for name, group in GROUPS.items() if name in hints}
        fields = {name: _parameters(group, but) for name, group in groups.items()}

        @wraps(command)
        def with_fields(**values: Any) -> None:
            made = {name: group(**{field.name: values.pop(field.name) for field in fields[name]}) for name, group in groups.items()}
            if "options" in made:
                use_given(made["options"])
            command(**values, **made)

        parameters = [*own, *(parameter for group in fields.values() for parameter in group)]
        with_fields.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        with_fields.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_fields

    return decorate


def given(group: Options | SessionOptions) -> dict[str, Any]:
    """Field -> its value, of those that are not at their defaults."""
    return {field.name: value for field in dataclasses.fields(group) if (value := getattr(group, field.name)) != field.default}


def as_typed(options: Options) -> list[str]:
    """Those that are not at their defaults, as they are typed."""
    return [word for name, value in given(options).items() for word in words_of(name, value)]


def words_of(name: str, value: Any) -> list[str]:
    """An option as it is typed."""
    if isinstance(value, bool):
        return [name_of(name)] if value else []
    return [word for one in (value if isinstance(value, list) else [value]) for word in (name_of(name), str(one))]


def _parameters(group: type[Any], but: Collection[str]) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=_for_typer(field.name, hints[field.name]))
        for field in dataclasses.fields(group)
        if field.name not in but
    ]


def _for_typer(name: str, hint: Any) -> Any:
    kind, option = get_args(hint)
    names = [name_of(name)] if option.flag else []
    return Annotated[kind, typer.Option(*names, help=option.help, rich_help_panel=option.group)]
