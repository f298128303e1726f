"""`evbench merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_line
from evbench.session.merged_traces import merge_folder
from evbench.session.session_folder import writing


def merge_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a comparison, with the traces of both sides.")],
) -> None:
    """Write both traces of a comparison on one timeline: as they ran, and with each stage of both beginning at the same time.

    Examples:
        evbench merge out
    """
    with writing(folder, "make room, or copy it to where it can be written"):
        files = [merge_folder(folder, folder, aligned=aligned) for aligned in (False, True)]
    print_line(f"Written to {folder}: {', '.join(file.name for file in files)}")
