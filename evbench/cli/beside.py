"""`evbench compare` with a side that another script has measured: no comparison, but both side by side."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import typer

from evbench.api.folder import now
from evbench.api.measure import read_side
from evbench.api.options import Options
from evbench.cli.console import print_line, screen
from evbench.cli.idle_options import refuse_idle
from evbench.cli.one_session import run_alone
from evbench.cli.options import SessionOptions
from evbench.cli.output_folder import command_line, output_folder
from evbench.encoding import write_whole
from evbench.errors import UserError
from evbench.lint.beside import NO_CLAIM, Column, is_table, of_result_side, of_table_side, table, to_markdown, tokens_compared
from evbench.report import files
from evbench.report.render import printable, to_rich
from evbench.results import RESULT, Result, Side
from evbench.session.session_folder import make_folder, writing
from evbench.verdict.judgement import EXIT_CODES, Verdict

REPORT = "side-by-side.md"


def show_beside(given: dict[Side, str], demanded: list[str], options: Options, session: SessionOptions) -> NoReturn:
    """Measure the side that is a variant, if one is; then print both and exit.

    Args:
        demanded: options by which a claim is asked for.

    Raises:
        UserError: a table cannot be read, or a demand is made of times that are not compared.
    """
    if demanded:
        raise UserError(f"{' and '.join(demanded)} asks for a claim, and {NO_CLAIM}; leave it out")
    from_tables = {side: of_table_side(text, side) for side, text in given.items() if is_table(text)}
    statistic = next(iter(from_tables.values())).statistic
    columns: dict[Side, Column] = dict(from_tables)
    folder = output_folder(session, now(), options.model)
    measured = False
    for side, text in given.items():
        if side in columns:
            continue
        known = read_side(text)
        if isinstance(known, Result):
            refuse_idle((options, session), ("out", "details"), f"--{side} is an earlier result, nothing is run")
            result, of_side = known, known.variants().get(side, known.baseline)
        else:
            result, _ = run_alone(text, folder, options, session)
            of_side, measured = result.baseline, True
        columns[side] = of_result_side(result, of_side, statistic)
    if len(from_tables) == len(given):
        refuse_idle((options, session), ("out", "details"), "both sides are tables, nothing is run")
    _tell(columns["baseline"], columns["optimized"], folder, measured=measured)


def _tell(ours: Column, theirs: Column, folder: Path, *, measured: bool) -> NoReturn:
    shown = table(ours, theirs)
    lines = [tokens_compared(ours, theirs), *dict.fromkeys((*ours.notes, *theirs.notes))]
    if ours.statistic != theirs.statistic:
        lines.append(f"the baseline has the {ours.statistic}, the optimized side the {theirs.statistic}: not the same")
    screen.print(to_rich(shown, numbers=True))
    for line in lines:
        print_line(printable(line))
    with writing(folder):
        if not measured:
            make_folder(folder, resumable=False)
        write_whole(folder / REPORT, to_markdown(shown, [*lines, NO_CLAIM], now(), command_line()))
    of_side = f", {RESULT}, {files.REPORT}, {files.PAGE} of the side that was run" if measured else ""
    print_line(f"Written to {folder}: {REPORT}{of_side}")
    code = EXIT_CODES[Verdict.INCONCLUSIVE]
    print_line(f"exit {code}: {Verdict.INCONCLUSIVE}: {NO_CLAIM}")
    raise typer.Exit(code)
