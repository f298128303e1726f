"""One session of a command: run, what is left of it if it is interrupted, and what is printed at its end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import typer

import evbench
from evbench.api.options import Options
from evbench.cli.console import print_summary, screen
from evbench.cli.options import SessionOptions
from evbench.cli.output_folder import command_line, how_to_resume
from evbench.cli.progress import ProgressLines
from evbench.cli.working import working
from evbench.report import comparison
from evbench.report.files import JUDGED, PAGE, REPORT
from evbench.report.render import to_console
from evbench.report.summary import summarize
from evbench.results import RESULT, Result
from evbench.session.session_folder import RUNS
from evbench.verdict.judgement import Judgement


def runs_in(folder: Path) -> str:
    """What an interrupted session has left. Empty if nothing."""
    return f"the runs that ended are in {folder / RUNS}" if (folder / RUNS).exists() else ""


def session_in(folder: Path) -> AbstractContextManager[ProgressLines]:
    """As `working`, of one session: once something has run, it is told how to go on."""
    return working(lambda: runs_in(folder), lambda: how_to_resume(folder) if runs_in(folder) else "")


def run_alone(variant: str, folder: Path, options: Options, session: SessionOptions) -> tuple[Result, Judgement]:
    """Run one variant. Raises as `evbench.run`."""
    judgements: list[Judgement] = []
    with session_in(folder) as progress:
        result = evbench.run(
            variant,
            folder=folder,
            target=session.target or (),
            resume=session.resume,
            wait=session.wait,
            command=command_line(),
            on_progress=progress,
            on_judgement=judgements.append,
            **options.keywords(),
        )
    return result, judgements[0]


def report_session(
    result: Result, judgement: Judgement, folder: Path, *, measured: bool, details: bool, said: Sequence[str] = ()
) -> NoReturn:
    """Print the summary and the files, and exit with the code of the judgement.

    Args:
        measured: whether anything was run, and has left its raw runs.
        details: whether to print the whole report above it.
        said: lines between the summary and the files.
    """
    report = comparison.describe(result, judgement)
    if details:
        screen.print(to_console(report))
    traces = [side.trace.file for side in result.variants().values() if side.trace is not None]
    files = [PAGE, REPORT, JUDGED, RESULT, *([RUNS] if measured else []), *traces]
    ending = [f"To see both traces on one timeline: evbench open {shlex.quote(str(folder))}"] if len(traces) > 1 else []
    print_summary(summarize(result, judgement, report), [*said, *ending, f"Written to {folder}: {', '.join(files)}"])
    raise typer.Exit(judgement.exit_code)
