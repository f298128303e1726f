"""`evbench run`."""

from __future__ import annotations

from typing import Annotated

import typer

import evbench
from evbench.api.folder import now
from evbench.api.options import Options
from evbench.cli.options import SessionOptions, with_options
from evbench.cli.output_folder import command_line, how_to_resume, output_folder
from evbench.cli.report_session import report_session, runs_in
from evbench.cli.working import working
from evbench.verdict.judgement import Judgement


@with_options()
def run_command(
    *,
    variant: Annotated[
        str, typer.Argument(help="A variant (see evbench variants), or one with changed choices (baseline+attention=eager).")
    ],
    options: Options,
    session: SessionOptions,
) -> None:
    """Run one variant. The folder it leaves can be one side of a later compare.

    Exit codes: 0 measured, 3 a target missed, 4 a target undecided; 2 wrong input, 1 a fault of evbench.

    Examples:
        evbench run baseline --out first
        evbench run optimized --preset tiny --target 'video-llava.generate<2.5s'
    """
    folder = output_folder(session, now(), options.model)
    judgements: list[Judgement] = []
    with working(lambda: runs_in(folder), lambda: how_to_resume(folder) if runs_in(folder) else "") as progress:
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
    report_session(result, judgements[0], folder, measured=True, details=session.details)
