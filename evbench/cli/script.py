"""How a module that is a script of its own is run from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from evbench.encoding import to_json, write_whole
from evbench.errors import UserError


def run(main: Callable[..., None]) -> None:
    """Call `main` with the options of the command line. A user's mistake is one line, and exit code 2."""
    try:
        typer.run(main)
    except UserError as error:
        sys.exit(_report(str(error)))
    except OSError as error:  # what the file system says of a path that the user gave
        sys.exit(_report(f"{error.filename or 'file system'}: {error.strerror}; give a path that can be used"))


def require_writable(out: Path | None) -> None:
    """Look before anything is measured whether the file can be written. Raises UserError."""
    if out is not None and out.is_dir():
        raise UserError(f"--out {out} is a folder; give a file in it")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}; make it, or give another place")


def write_json(out: Path | None, found: Any) -> None:
    """Write a dataclass as JSON into a file, if one is given. Raises OSError."""
    if out is not None:
        write_whole(out, to_json(found, indent=1) + "\n")


def _report(message: str) -> int:
    """Print an error. Returns the exit code."""
    typer.echo(f"evbench: {message}", err=True)
    return 2
