"""The results in a folder and in those below it, as series over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evbench.errors import UserError
from evbench.results import RESULT
from evbench.session.session_folder import RANKS
from evbench.session.verification import read_verified
from evbench.verdict import history
from evbench.verdict.history import Series
from evbench.verdict.judge import judge


@dataclass(frozen=True)
class History:
    """What a folder holds."""

    series: tuple[Series, ...]
    left_out: tuple[tuple[str, str], ...]
    """(folder, why a result of it, or a side of one, is in no series)."""


def read(folder: Path, since: str = "") -> History:
    """All results below a folder. Those that cannot be read, or of which no time may be used, are left out with their reason.

    Args:
        since: the beginning of a time in UTC as ISO 8601 has it, such as `2026-01-31`: results of before are not looked at.

    Raises:
        UserError: there is no such folder, or no result in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one that holds folders of results")
    # What each of several ranks ran is in the result of all of them, in the folder above.
    files = sorted(file for file in folder.rglob(RESULT) if not (file.parent.parent / RANKS).is_file())
    if not files:
        raise UserError(f"{folder} holds no {RESULT}, nor does a folder in it; give one that holds folders of results")
    found, left_out = [], []
    for file in files:
        place = str(file.parent.relative_to(folder))
        try:
            result = read_verified(file.parent)
            judgement = judge(result)
        except UserError as error:
            left_out.append((place, str(error)))
            continue
        for side, measured in result.variants().items():
            if measured.session < since:
                continue
            if reason := history.why_left_out(judgement, result, side):
                left_out.append((place, f"{measured.variant}: {reason}"))
            else:
                found.append((result, side, history.entry(result, measured, place)))
    return History(history.gather(found), tuple(dict.fromkeys(left_out)))
