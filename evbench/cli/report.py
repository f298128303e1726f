"""`evbench report`: the verdict and the report of a recorded folder, derived again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_line
from evbench.errors import UserError
from evbench.report import files
from evbench.report.render import printable
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
    """Write verdict and report of a recorded folder again from its result, also one of an earlier version. The result stays as it is.

    Examples:
        evbench report out
    """
    folder = folder_of(folder)
    written, unverified = write_report(folder)
    print_line(f"Written to {folder}: {', '.join(written)}")
    if unverified:
        print_line(f"Not verified: {printable(unverified)}")


def folder_of(path: Path) -> Path:
    """The folder that is meant: also by a file in it that holds what was measured. Raises UserError."""
    if path.is_dir():
        return path
    if path.name in RECORDED and path.exists():
        return path.parent
    raise UserError(f"{path} is no folder of a comparison; give one that holds {', '.join(RECORDED[:-1])} or {RECORDED[-1]}")


def write_report(folder: Path) -> tuple[tuple[str, ...], str]:
    """Derive them again.

    Returns:
        The names of the files; and why what was measured could not be held against its journal, empty if it was.

    Raises:
        UserError: there is no result in the folder, it cannot be read, or it contradicts its journal.
    """
    try:
        if (folder / ladder.RAW).exists():
            ladder.write_derived(folder)
            return (ladder.REPORT,), ""
        if (folder / models.RAW).exists():
            found = models.read(folder)
            sessions = {length: verify(result, folder / length) for length, result in found.sessions.items()}
            models.write_derived(dataclasses.replace(found, sessions=sessions), folder)
            return (models.JUDGED, models.REPORT), "; ".join(filter(None, map(_unverified, sessions.values())))
        if not (folder / RESULT).exists():
            raise UserError(f"{folder} has no result.json, ladder.json or models.json; give the folder of a comparison")
        result = read_verified(folder)
        files.write(result, judge(result), folder)
        return (files.JUDGED, files.REPORT), _unverified(result)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror})") from error


def _unverified(result: Result) -> str:
    return "; ".join(f"{side}: {measured.unverified}" for side, measured in result.variants().items() if measured.unverified)
