"""What `evbench compare` and `evbench run` print at their end."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import typer

from evbench.cli.console import print_line, screen
from evbench.report import comparison
from evbench.report.render import to_console
from evbench.results import Result
from evbench.session.session_folder import RUNS
from evbench.verdict.judgement import Judgement


def runs_in(folder: Path) -> str:
    """What an interrupted session has left. Empty if nothing."""
    return f"the runs that ended are in {folder / RUNS}" if (folder / RUNS).exists() else ""


def report_session(result: Result, judgement: Judgement, folder: Path, *, measured: bool) -> NoReturn:
    """Print the report and the files, and exit with the code of the judgement.

    Args:
        measured: whether anything was run, and has left its raw runs.
    """
    screen.print(to_console(comparison.describe(result, judgement)))
    traces = [side.trace.file for side in result.variants().values() if side.trace is not None]
    files = ["report.md", "verdict.json", "result.json", *([RUNS] if measured else []), *traces]
    print_line(f"Written to {folder}: {', '.join(files)}")
    if len(traces) > 1:
        print_line(f"To see both traces on one timeline: evbench open {folder}")
    raise typer.Exit(judgement.exit_code)
