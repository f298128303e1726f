"""`evbench report`: the verdict and the report of a recorded folder, derived again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evbench import results
from evbench.cli.console import print_line
from evbench.errors import UserError
from evbench.report import files
from evbench.session import ladder, models
from evbench.verdict.judge import judge


def report_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a comparison, a run, a ladder, or a comparison of two models.")],
) -> None:
    """Write verdict and report of a recorded folder again from its result, also one of an earlier version. The result stays as it is.

    Examples:
        evbench report out
    """
    written = write_report(folder)
    print_line(f"Written to {folder}: {', '.join(written)}")


def write_report(folder: Path) -> tuple[str, ...]:
    """Derive them again. Returns the names of the files.

    Raises:
        UserError: there is no result in the folder, or it cannot be read.
    """
    try:
        if (folder / ladder.RAW).exists():
            ladder.write_derived(folder)
            return (ladder.REPORT,)
        if (folder / models.RAW).exists():
            models.write_derived(models.read(folder), folder)
            return models.JUDGED, models.REPORT
        if not (folder / "result.json").exists():
            raise UserError(f"{folder} has no result.json, ladder.json or models.json; give the folder of a comparison")
        result = results.read(folder)
        files.write(result, judge(result), folder)
        return files.JUDGED, files.REPORT
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror})") from error
