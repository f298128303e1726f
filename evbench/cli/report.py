"""`evbench report`: the verdict and the report of a recorded folder, derived again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_lines
from evbench.cli.exports import require_file
from evbench.distributed import scaling
from evbench.encoding import write_whole
from evbench.errors import UserError
from evbench.report import document, files, pull_request, runs_csv
from evbench.report import junit as junit_xml
from evbench.report import ladder as report_ladder
from evbench.report import scaling as report_scaling
from evbench.report import sweep as report_sweep
from evbench.report.render import printable
from evbench.report.summary import LONGEST_HEADLINE, shorten, summarize
from evbench.results import RESULT, Result, require_ended
from evbench.session import ladder, models, sweep
from evbench.session.verification import read_verified, verify
from evbench.traces.serve import open_browser
from evbench.verdict.judge import judge

RECORDED = (RESULT, ladder.RAW, sweep.RAW, scaling.RAW, models.RAW)
"""Files that hold what was measured."""


def report_command(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of a comparison, a run, a ladder, a sweep, a scaling, or a comparison of two models; or the result.json in it."
        ),
    ],
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the HTML report to this file. Default: report.html in the folder."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write all runs to this file: a row for each run and stage, units in the header."),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a short table for a pull request to this file: verdict, times, outputs.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML to this file: the verdict, each demand, outputs of each stage.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show the HTML report in the browser of this machine.")] = False,
) -> None:
    """Tell the verdict of a recorded folder, also of an earlier version, and write its report again. The result stays as it is.

    The HTML report is one file that opens without the internet: it can be sent to others as it is.

    Examples:
        evbench report out
        evbench report out --open
        evbench report out --html out.html
        evbench report out --csv runs.csv --markdown pull-request.md
        evbench report out --junit evbench.xml
    """
    folder, exports = folder_of(folder), Exports(html, csv, markdown, junit)
    require_exports(folder, exports, show)
    written = write_report(folder, exports)
    ending = [f"Written to {folder}: {', '.join(written.files)}"]
    ending += [f"Written to {file}" for file in exports.files().values()]
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
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give the folder of a comparison")
    raise UserError(f"{path} is no folder of a comparison; give one that holds {', '.join(RECORDED[:-1])} or {RECORDED[-1]}")


@dataclass(frozen=True)
class Exports:
    """Files that are written besides those of the folder. None for those that are not asked for."""

    html: Path | None = None
    """In the place of `report.html` in the folder."""
    csv: Path | None = None
    markdown: Path | None = None
    junit: Path | None = None

    def files(self) -> dict[str, Path]:
        """Option -> the file."""
        given = {"--html": self.html, "--csv": self.csv, "--markdown": self.markdown, "--junit": self.junit}
        return {option: file for option, file in given.items() if file is not None}


FIRST_LINES = {"--html": document.MARK, "--csv": runs_csv.HEADER, "--markdown": pull_request.MARK, "--junit": junit_xml.MARK}
"""Of what evbench writes there: a file that begins otherwise is somebody else's."""


def require_exports(folder: Path, exports: Exports, show: bool) -> None:
    """Refuse files that cannot be, and a folder that has none of them. Raises UserError."""
    given = exports.files()
    asked = [*given, *(["--open"] if show else [])]
    if asked and (raw := next((name for name in RECORDED[1:] if (folder / name).exists()), None)):
        raise UserError(
            f"{' and '.join(asked)} can be had of one comparison, and {folder} has a {raw}; give the folder of one, or leave it out"
        )
    for option, file in given.items():
        require_file(option, file, FIRST_LINES[option])


def _show(page: Path) -> list[str]:
    """What to tell of it."""
    link = page.resolve().as_uri()
    return [] if open_browser(link) else [f"No browser here. Open this, or a copy of the file elsewhere: {link}"]


@dataclass(frozen=True)
class Written:
    """What was derived again."""

    headlines: tuple[str, ...]
    """The verdict in one sentence; of a ladder, a scaling and of two models what stands in its place."""
    files: tuple[str, ...]
    """Their names."""
    unverified: str = ""
    """Why what was measured could not be held against its journal. Empty if it was."""


def write_report(folder: Path, exports: Exports | None = None) -> Written:
    """Derive them again.

    Args:
        exports: what else is written of a comparison.

    Raises:
        UserError: there is no result in the folder, it cannot be read, or it contradicts its journal; or nothing can be written there.
    """
    exports = exports or Exports()
    try:
        if (folder / ladder.RAW).exists():
            return Written((report_ladder.whole_sentence(ladder.write_derived(folder)),), (ladder.REPORT,))
        if (folder / sweep.RAW).exists():
            return Written((report_sweep.headline(sweep.write_derived(folder)),), (sweep.REPORT, sweep.PAGE))
        if (folder / scaling.RAW).exists():
            account = scaling.write_derived(folder)
            return Written((report_scaling.headline(account), *report_scaling.sentences(account)), (scaling.REPORT,))
        if (folder / models.RAW).exists():
            found = models.read(folder)
            sessions = {length: verify(result, folder / length) for length, result in found.sessions.items()}
            report = models.write_derived(dataclasses.replace(found, sessions=sessions), folder)
            headlines = tuple(filter(None, (report.headline, report.second_headline)))
            return Written(headlines, (models.JUDGED, models.REPORT), "; ".join(filter(None, map(_unverified, sessions.values()))))
        require_ended(folder)
        if not (folder / RESULT).exists():
            raise UserError(f"{folder} has no {', '.join(RECORDED[:-1])} or {RECORDED[-1]}; give the folder of a comparison")
        result = read_verified(folder)
        judgement = judge(result)
        report = files.write(result, judgement, folder, exports.html)
        if exports.csv is not None:
            write_whole(exports.csv, runs_csv.to_csv(result))
        if exports.markdown is not None:
            write_whole(exports.markdown, pull_request.to_pull_request(result, judgement, report))
        if exports.junit is not None:
            write_whole(exports.junit, junit_xml.to_junit(result, judgement))
        names = (*((files.PAGE,) if exports.html is None else ()), files.REPORT, files.JUDGED)
        return Written(summarize(result, judgement, report).headlines, names, _unverified(result))
    except OSError as error:
        place = " or ".join(map(str, (folder, *exports.files().values())))
        raise UserError(f"cannot write to {place} ({error.strerror}); make it writable, or report a copy of it") from error


def _unverified(result: Result) -> str:
    return "; ".join(f"{side}: {measured.unverified}" for side, measured in result.variants().items() if measured.unverified)
