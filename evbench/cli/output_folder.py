"""The folder that a command writes into, and how to go on from what is in it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from evbench.api.folder import default_folder, require_folder
from evbench.cli.options import SessionOptions
from evbench.encoding import is_text
from evbench.errors import UserError
from evbench.places import short_command
from evbench.report.render import printable


def output_folder(session: SessionOptions, started: str, name: str) -> Path:
    """That of `--out`, or a new one. Raises UserError for `--resume` without `--out`, and for one that is no folder."""
    require_folder(session.resume, session.out)
    folder = session.out or default_folder(started, name)
    if not is_text(str(folder)):
        raise UserError(f"--out {folder} has a name that is not UTF-8, and no result could name it; give another")
    if (file := next((place for place in (folder, *folder.parents) if place.exists()), None)) is not None and not file.is_dir():
        lies = "is a file" if file == folder else f"lies in {file}, which is a file"
        raise UserError(f"--out {folder} {lies}, and results are written into a folder; give another")
    return folder


def how_to_resume(folder: Path) -> str:
    return f"To go on, give the same command with --out {shlex.quote(str(folder))} --resume"


def command_line() -> str:
    """The command as it was typed, without folders of this machine."""
    return printable(short_command(["evbench", *sys.argv[1:]]))
