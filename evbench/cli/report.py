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
from evbench.verdict.judge import judge

RESULT = "result.json"
RECORDED = (RESULT, ladder.RAW, models.RAW)
"""Files that hold what was measured."""


def report_command(
    folder: Annotated[
        Path, typer.Argument(help="Folder of a comparison, a run, a ladder, or a comparison of two models; or the result.json in it.")
    ],
) -> None:
    """Tell the verdict of a recorded folder, also of an earlier version, and write its report again. The result stays as it is.

    Examples:
        evbench report out
    """
    folder = folder_of(folder)
    written = write_report(folder)
    ending = [f"Written to {folder}: {', '.join(written.files)}"]
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


@dataclass(frozen=True)
class Written:
    """What was derived again."""

    headlines: tuple[str, ...]
    """The verdict in one sentence; of a ladder and of two models what stands in its place."""
    files: tuple[str, ...]
    """Their names."""
    unverified: str = ""
    """Why what was measured could not be held against its journal. Empty if it was."""


def write_report(folder: Path) -> Written:
    """Derive them again.

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
        report = files.write(result, judgement, folder)
        return Written(summarize(result, judgement, report).headlines, (files.JUDGED, files.REPORT), _unverified(result))
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}); make it writable, or report a copy of it") from error


def _unverified(result: Result) -> str:
    return "; ".join(f"{side}: {measured.unverified}" for side, measured in result.variants().items() if measured.unverified)
