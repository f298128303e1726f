"""`evbench verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evbench.api.folder import now
from evbench.api.verify import verify
from evbench.cli.console import print_lines, screen
from evbench.cli.one_session import session_in
from evbench.cli.options import SessionOptions, with_options
from evbench.cli.output_folder import command_line, output_folder
from evbench.report import files
from evbench.report import reproduction as report
from evbench.report.render import plain, printable, to_rich
from evbench.report.summary import LONGEST_HEADLINE, shorten
from evbench.results import RESULT


@with_options(but=("target", "details"))
def verify_command(
    *,
    result: Annotated[Path, typer.Argument(help="Folder of a comparison, or the result.json in it.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", help="An input of the result, or a folder that holds it, if it is not where it was; can be repeated."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="The checkpoint folder of the result, if it is not where it was.")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Take this machine for the recorded one though it differs in cpu, cores, gpu, power-limit or clocks."),
    ] = None,
    session: SessionOptions,
) -> None:
    """Measure the comparison of a result again, here and with its own options, and say whether it is reproduced.

    REPRODUCED: the same is claimed again, no speedup differs, and more than half of the gain is there with confidence. On other
    hardware the times are also given as shares of each machine's own limit.

    Exit codes: 0 reproduced, 3 not reproduced, 4 inconclusive or other hardware, 5 the outputs differ, 6 the comparison is invalid here;
    2 wrong input, 1 a fault of evbench.

    Examples:
        evbench verify out
        evbench verify out/result.json --input clips --out again
    """
    folder = output_folder(session, now(), "verify")
    with session_in(folder) as progress:
        found = verify(
            result,
            folder=folder,
            inputs=inputs or (),
            weights=weights,
            allow=allow or (),
            resume=session.resume,
            wait=session.wait,
            command=command_line(),
            on_progress=progress,
        )
    judged = found.recorded.judgement, found.again.judgement
    screen.print(plain(printable(shorten(report.headline(found.reproduction), LONGEST_HEADLINE)), "bold"))
    for table in report.tables(found.reproduction, *judged):
        screen.print(to_rich(table, numbers=True))
    written = f"{report.REPORT}, {report.JUDGED}, and of the comparison {files.PAGE}, {files.REPORT}, {files.JUDGED}, {RESULT}"
    ending = [f"Written to {folder}: {written}", report.exit_reason(found.reproduction)]
    print_lines([shorten(note, LONGEST_HEADLINE) for note in report.notes(found.reproduction, *judged)], ending)
    raise typer.Exit(found.reproduction.exit_code)
