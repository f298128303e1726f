"""The folder that a command writes into, and how to go on from what is in it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from evbench.api.folder import default_folder
from evbench.cli.options import SessionOptions
from evbench.errors import UserError
from evbench.places import short_command


def output_folder(session: SessionOptions, started: str, name: str) -> Path:
    """That of `--out`, or a new one. Raises UserError for `--resume` without `--out`."""
    if session.resume and session.out is None:
        raise UserError("--resume goes on with the session in --out, which is not given; give its folder")
    return session.out or default_folder(started, name)


def how_to_resume(folder: Path) -> str:
    return f"To go on, give the same command with --out {shlex.quote(str(folder))} --resume"


def command_line() -> str:
    """The command as it was typed, without folders of this machine."""
    return short_command(["evbench", *sys.argv[1:]])
