"""`evbench report`: the verdict and the report of a recorded folder, derived again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_lines
from evbench.errors import UserError
from evbench.report import files
from evbench.report import ladder as report_ladder
from evbench.report.render import printable
from evbench.report.summary import LONGEST_HEADLINE, shorten, summarize
from evbench.results import Result
from evbench.session import ladder, models
from evbench.session.verification import read_verified, verify
from evbench.traces.serve import open_browser
from evbench.verdict.judge import judge

RESULT = "result.json"
RECORDED = (RESULT, ladder.RAW, models.RAW)
"""Files that hold what was measured."""
PAGES = (".html", ".htm")
"""Endings of an HTML report."""


def report_command(
    folder: Annotated[
        Path, typer.Argument(help="Folder of a comparison, a run, a ladder, or a comparison of two models; or the result.json in it.")
    ],
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the HTML report to this file. Default: report.html in the folder."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show the HTML report in the browser of this machine.")] = False,
) -> None:
    """Tell the verdict of a recorded folder, also of an earlier version, and write its report again. The result stays as it is.

    The HTML report is one file that opens without the internet: it can be sent to others as it is.

    Examples:
        evbench report out
        evbench report out --open
        evbench report out --html out.html
    """
    folder = folder_of(folder)
    require_page(folder, html, show)
    written = write_report(folder, html)
    ending = [f"Written to {folder}: {', '.join(written.files)}"]
    if html is not None:
        ending.append(f"Written to {html}")
    if show:
        ending += _show(folder / files.PAGE if html is None else html)
    if written.unverified:
        ending.append(f"Not verified: {printable(written.unverified)}")
    print_lines([printable(shorten(text, LONGEST_HEADLINE)) for text in written.headlines], ending)


def folder_of(path: Path) -> Path:
    """The folder that is meant: also by a file in it that holds what was measured. Raises UserError."""
    if path.is_dir():
        return path
    if path.name in RECORDED and path.exists():
        return path.parent
    raise UserError(f"{path} is no folder of a comparison; give one that holds {', '.join(RECORDED[:-1])} or {RECORDED[-1]}")


def require_page(folder: Path, html: Path | None, show: bool) -> None:
    """Refuse a file that the HTML report cannot be, and a folder that has none. Raises UserError."""
    if html is None and not show:
        return
    if raw := next((name for name in RECORDED[1:] if (folder / name).exists()), None):
        raise UserError(f"{folder} has a {raw} and no HTML report; leave out --html and --open, or give the folder of one comparison")
    if html is None:
        return
    if html.suffix not in PAGES:
        raise UserError(f"--html {html} does not end in {' or '.join(PAGES)}; other files are not replaced by a report")
    if not html.parent.is_dir():
        raise UserError(f"--html {html}: there is no folder {html.parent}; make it, or give another file")
    if html.is_dir():
        raise UserError(f"--html {html} is a folder; give a file in it")


def _show(page: Path) -> list[str]:
    """What to tell of it."""
    link = page.resolve().as_uri()
    return [] if open_browser(link) else [f"No browser here. Open this, or a copy of the file elsewhere: {link}"]


@dataclass(frozen=True)
class Written:
    """What was derived again."""

    headlines: tuple[str, ...]
    """The verdict in one sentence; of a ladder and of two models what stands in its place."""
    files: tuple[str, ...]
    """Their names."""
    unverified: str = ""
    """Why what was measured could not be held against its journal. Empty if it was."""


def write_report(folder: Path, html: Path | None = None) -> Written:
    """Derive them again.

    Args:
        html: where the HTML report of a comparison is written. None for the folder.

    Raises:
        UserError: there is no result in the folder, it cannot be read, or it contradicts its journal; or nothing can be written there.
    """
    try:
        if (folder / ladder.RAW).exists():
            return Written((report_ladder.whole_sentence(ladder.write_derived(folder)),), (ladder.REPORT,))
        if (folder / models.RAW).exists():
            found = models.read(folder)
            sessions = {length: verify(result, folder / length) for length, result in found.sessions.items()}
            report = models.write_derived(dataclasses.replace(found, sessions=sessions), folder)
            headlines = tuple(filter(None, (report.headline, report.second_headline)))
            return Written(headlines, (models.JUDGED, models.REPORT), "; ".join(filter(None, map(_unverified, sessions.values()))))
        if not (folder / RESULT).exists():
            raise UserError(f"{folder} has no result.json, ladder.json or models.json; give the folder of a comparison")
        result = read_verified(folder)
        judgement = judge(result)
        report = files.write(result, judgement, folder, html)
        names = (*((files.PAGE,) if html is None else ()), files.REPORT, files.JUDGED)
        return Written(summarize(result, judgement, report).headlines, names, _unverified(result))
    except OSError as error:
        place = folder if html is None else f"{folder} or {html}"
        raise UserError(f"cannot write to {place} ({error.strerror}); make it writable, or report a copy of it") from error


def _unverified(result: Result) -> str:
    return "; ".join(f"{side}: {measured.unverified}" for side, measured in result.variants().items() if measured.unverified)
