"""`evbench --version`."""

from __future__ import annotations

import platform
from typing import Annotated

import typer

from evbench import __version__
from evbench.cli.console import print_line
from evbench.machine.machine import version

OF_INTEREST = ("torch", "transformers")
"""Packages whose versions decide most of what is measured. They are asked of the installation: importing them takes seconds."""


def _print_version(asked: bool) -> None:
    if asked:
        packages = [f"{name} {version(name) or 'not installed'}" for name in OF_INTEREST]
        print_line(f"evbench {__version__}, Python {platform.python_version()}, {', '.join(packages)}")
        raise typer.Exit


def version_option(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print versions: of evbench, Python, torch, transformers."),
    ] = False,
) -> None:
    """The option of `evbench` itself."""
