"""`evbench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import evbench
from evbench.cli.console import screen
from evbench.report import comparison
from evbench.report.render import to_console


def report_command(
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder or result.json of an earlier comparison or run.")],
) -> None:
    """Judge an earlier result again, and print its report. Nothing is written.

    Exit codes: those of evbench compare.
    """
    result = evbench.read(path)
    judgement = evbench.judge(result)
    screen.print(to_console(comparison.describe(result, judgement)))
    raise typer.Exit(judgement.exit_code)
