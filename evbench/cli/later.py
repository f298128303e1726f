"""Commands whose modules are imported when they are called: `evbench --help` and `--version` answer without them."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from evbench.choices import resolve
from evbench.cli.usage import OneLineCommand

EXAMPLES = "Examples:"
"""In the docstring of a command: the lines behind it are its examples."""


def add_later(group: typer.Typer, name: str, place: str) -> None:
    """Add a command to a group.

    Args:
        place: `module:function`. Of the module nothing but the docstring of the function is read by now.
    """
    module, _, function = place.partition(":")

    def load() -> Callable[..., None]:
        command: Callable[..., None] = resolve(place)
        return command

    text, _ = _help_and_examples(_docstring(module, function))
    group.command(name, cls=LaterCommand, help=text)(load)


class LaterCommand(TyperCommand):
    """Stands in a list of commands. Called, it is the command itself."""

    def loaded(self) -> Any:
        assert self.callback is not None
        command = self.callback()
        text, examples = _help_and_examples(command.__doc__ or "")
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
        alone.command(self.name, cls=OneLineCommand, help=text, epilog=examples)(command)
        return get_command(alone)

    def make_context(self, *args: Any, **extra: Any) -> Any:
        return self.loaded().make_context(*args, **extra)


@functools.cache
def _docstring(module: str, function: str) -> str:
    found = find_spec(module)
    assert found is not None and found.origin is not None, module
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    (defined,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return ast.get_docstring(defined) or ""


def _help_and_examples(docstring: str) -> tuple[str, str]:
    """Its paragraphs, each on one line, and its examples, each on a line of its own."""
    text, _, examples = inspect.cleandoc(docstring).partition(f"\n{EXAMPLES}\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(filter(None, paragraphs)), "\n".join([EXAMPLES, *map(str.strip, examples.strip().splitlines())])
