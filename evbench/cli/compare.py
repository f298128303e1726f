"""`evbench compare`."""

from __future__ import annotations

from typing import Annotated

import typer

import evbench
from evbench.api.folder import now
from evbench.api.measure import read_side
from evbench.api.options import Keywords, Options
from evbench.cli.beside import show_beside
from evbench.cli.config import Config, told_by_file
from evbench.cli.idle_options import refuse_idle
from evbench.cli.one_session import report_session, session_in
from evbench.cli.options import SessionOptions, with_options
from evbench.cli.output_folder import output_folder
from evbench.cli.working import working
from evbench.lint.beside import is_table
from evbench.results import Result
from evbench.verdict.judgement import Judgement


@with_options()
def compare_command(
    *,
    context: typer.Context,
    config: Config = None,
    baseline: Annotated[
        str,
        typer.Option(
            help="A variant (see evbench variants), one with changed choices (baseline+attention=eager), "
            "the folder or result.json of an earlier run, or a table of another script (table.json#side; docs/external-table.md)."
        ),
    ],
    optimized: Annotated[str, typer.Option(help="The other side, given in one of these ways.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            help="slower:2%, or for one stage vision.slower:5%; can be given several times. Exit code 3 if so; slower by less is allowed."
        ),
    ] = None,
    require_speedup: Annotated[bool, typer.Option("--require-speedup", help="Exit code 3 if both are equally fast.")] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="Allow a difference between the machines of two results, such as torch or driver; cached: a side that is faster on "
            "input that it has seen; or lossy: the exit code of the times where a side is lossy by design. Can be given several times."
        ),
    ] = None,
    options: Options,
    session: SessionOptions,
) -> None:
    """Run two variants in turn on the same work, and report the speedup with its confidence interval.

    Leaves a folder with result.json, the raw runs, verdict.json, report.html, report.md and one trace per variant. Exit codes: 0 faster or
    the same, 3 slower or a demand not met, 4 inconclusive, 5 the outputs differ, 6 invalid, 7 lossy; 2 wrong input, 1 a fault of evbench.

    Examples:
        evbench compare --baseline baseline --optimized optimized
        evbench compare --baseline baseline --optimized optimized --video clip.mp4
        evbench compare --baseline baseline --optimized baseline+attention=eager
        evbench compare --baseline baseline --optimized optimized --model eventgpt
        evbench compare --baseline optimized --optimized optimized+quantization=int8
        evbench compare --baseline first --optimized second --allow torch
        evbench compare --config evbench.toml --blocks 24
        evbench compare --plugin mine.py --baseline baseline --optimized mine
        evbench compare --baseline table.json#before --optimized optimized
    """
    command = told_by_file(context, config)
    if is_table(baseline) or is_table(optimized):
        demanded = {"--fail-if": fail_if, "--require-speedup": require_speedup, "--allow": allow}
        show_beside({"baseline": baseline, "optimized": optimized}, [name for name, value in demanded.items() if value], options, session)
    sides = read_side(baseline), read_side(optimized)
    earlier = [side for side in sides if isinstance(side, Result)]
    if len(earlier) == 2:
        refuse_idle((options, session), ("out", "target", "details"), "both sides are earlier results, nothing is run")
    model = earlier[0].baseline.workload.model if earlier else options.model
    folder = output_folder(session, now(), model)
    judgements: list[Judgement] = []
    measured = len(earlier) < 2
    with session_in(folder) if measured else working(str) as progress:
        result = evbench.compare(
            *sides,
            folder=folder,
            fail_if=fail_if or (),
            target=session.target or (),
            require_speedup=require_speedup,
            allow=allow or (),
            resume=session.resume,
            wait=session.wait,
            command=command,
            on_progress=progress,
            on_judgement=judgements.append,
            **(options.keywords() if measured else Keywords()),
        )
    report_session(result, judgements[0], folder, measured=measured, details=session.details)
