"""`evbench history`."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_details, print_lines
from evbench.cli.exports import require_file
from evbench.encoding import write_whole
from evbench.errors import UserError
from evbench.report import history as report
from evbench.report.junit import MARK as JUNIT_MARK
from evbench.report.matplotlib_hints import without_hints
from evbench.report.render import printable
from evbench.session import history as session_history
from evbench.verdict import demands, history


def history_command(
    folder: Annotated[Path, typer.Argument(help="A folder that holds folders of results, at any depth.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(help="slower:2%, or for one stage vision.slower:5%; can be given several times. Exit code 3 if a variant became so."),
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="DATE", help="Look at results from this day on only, such as 2026-01-31.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write tables and figures to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the tables to this file.")] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write whether each series meets --fail-if to this file, as JUnit XML.")
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="Print the tables, too.")] = False,
) -> None:
    """Tell how the times of each variant changed from result to result on one machine, and where in a step.

    Exit codes: 0, 3 a variant became slower than --fail-if allows, 4 that is undecided; 2 wrong input, 1 a fault of evbench.

    Examples:
        evbench history profiles
        evbench history profiles --html history.html --markdown history.md
        evbench history nightly --since 2026-01-31 --fail-if slower:3%
        evbench history nightly --fail-if slower:3% --junit history.xml
    """
    asked = demands.read((), fail_if or (), "")
    if junit is not None and not asked:
        raise UserError("--junit is of the demands of --fail-if, which is not given: it would have no effect; leave it out")
    for option, file, mark in (("--html", html, report.PAGE_MARK), ("--markdown", markdown, report.MARK), ("--junit", junit, JUNIT_MARK)):
        if file is not None:
            require_file(option, file, mark)
    found = session_history.read(folder, "" if since is None else _date(since))
    outcomes = {demand.text: [history.decide(series, demand) for series in found.series] for demand in asked}
    account = report.Account(found.series, found.left_out, outcomes)
    written = []
    if markdown is not None:
        written.append(markdown)
        write_whole(markdown, report.to_markdown(account, folder.name))
    if junit is not None:
        written.append(junit)
        write_whole(junit, report.to_junit(account))
    if html is not None:
        with without_hints():
            from evbench.report.history_page import page  # matplotlib takes half a second

            written.append(html)
            write_whole(html, page(account, folder.name))
    if details:
        print_details(report.tables(account), report.notes(account))
    code = history.exit_code(outcomes)
    told = (report.headline(account), *report.sentences(account))
    print_lines(told, [*(f"Written to {printable(str(file))}" for file in written), report.exit_reason(account, code)])
    raise typer.Exit(code)


def _date(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise UserError(f"--since {text!r} is no date; write it such as 2026-01-31") from None
