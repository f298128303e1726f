"""Whether a result is what was measured: its runs against the journal beside it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evbench import results
from evbench.encoding import to_json
from evbench.errors import UserError
from evbench.results import FORMAT, RESULT, Result, Session, Side, SideResult
from evbench.session import journal
from evbench.session.journal_state import JournalHeader, JournalState, hashes
from evbench.session.possible import require_possible
from evbench.session.session_folder import HEADER, RUNS

ALONE = f"there is no {RUNS} of its session beside it"
OLDER = f"the {HEADER} beside it is of another version"


def read_verified(path: Path) -> Result:
    """An earlier result, each side marked with what keeps it from being verified, if anything does.

    Args:
        path: a folder, or the `result.json` in it.

    Raises:
        UserError: it cannot be read, was changed, cannot have been measured, or contradicts its journal.
    """
    return verify(results.read(path), path if path.is_dir() else path.parent)


def verify(result: Result, folder: Path) -> Result:
    """As `read_verified`, of a result that was read from this folder or is of the session in it."""
    require_possible(result, folder)
    reasons = {side: measured.unverified or _what_is_missing(folder, measured) for side, measured in result.variants().items()}
    if not all(reasons.values()):
        header, state = journal.read_header(folder), journal.read(folder)
        for side, measured in result.variants().items():
            if not reasons[side]:
                _require_equal(folder, _differences(header, state, result.session(measured), measured, side))
    marked: dict[str, Any] = {side: dataclasses.replace(measured, unverified=reasons[side]) for side, measured in result.variants().items()}
    return dataclasses.replace(result, **marked)


def _require_equal(folder: Path, differences: Iterator[str]) -> None:
    for difference in differences:
        raise UserError(f"{folder} contradicts itself: {difference}; one of them was changed, measure again")


def _what_is_missing(folder: Path, measured: SideResult) -> str:
    if not ((folder / HEADER).is_file() and (folder / RUNS).is_file()):
        return ALONE
    content = journal.read_content(folder / HEADER, "session")
    if content.get("format") != FORMAT:
        return OLDER
    return "" if content.get("started") == measured.session else ALONE


def _differences(header: JournalHeader, state: JournalState, session: Session, measured: SideResult, side: Side) -> Iterator[str]:
    """What the result says and what its journal says, in words. None if they agree."""
    if side not in header.workloads:
        yield f"{RESULT} has the side {side}, and {HEADER} has not"
        return
    asked = (header.machine, header.plan, header.seed, header.remarks, header.choices.get(side), header.workloads[side])
    choices = {"name": measured.variant, **measured.choices}
    if asked != (session.machine, session.plan, session.seed, session.remarks, choices, measured.workload):
        yield f"{RESULT} names another plan, machine, workload or variant of the {side} than {HEADER}"
    if header.plugins.get(side, {}) != hashes(measured.plugins):
        yield f"{RESULT} names other plug-ins of the {side} than {HEADER}"
    if header.failed.get(side, ()) != measured.failed:
        yield f"{RESULT} names other samples than {HEADER} that the {side} could not use"
    yield from _of_rows("block", session.blocks, state.blocks, whole=True)
    # Behind the blocks, workers may have been started again after the result was first written.
    yield from _of_rows(f"{side}: build", measured.builds, state.builds.get(side, []))
    yield from _of_rows(f"{side}: reason of an unsteady warm-up", measured.unsteady, state.unsteady.get(side, []))
    yield from _of_rows(f"{side}: run", measured.runs, state.runs.get(side, []))
    yield from _of_rows(f"{side}: throughput run", measured.throughput_runs, state.throughput_runs.get(side, []))
    counted = [run for run in state.runs.get(side, []) if run.kind in ("timed", "blocked")]
    if (found := sum(run.kind in ("timed", "blocked") for run in measured.runs)) != len(counted):
        yield f"{side}: {RESULT} has {found} runs that count, and {RUNS} has {len(counted)}"


def _of_rows(what: str, ours: Sequence[Any], theirs: Sequence[Any], *, whole: bool = False) -> Iterator[str]:
    """The first of the result's rows that is not the journal's. It may have fewer of them, unless they are to be `whole`."""
    if len(ours) > len(theirs) or (whole and len(ours) < len(theirs)):
        yield f"{what}s: {RESULT} has {len(ours)}, and {RUNS} has {len(theirs)}"
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            yield f"{what} {number}: {_difference(one, other)}"
            return


def _difference(one: Any, other: Any) -> str:
    """The first field that differs, with the value of the result and that of the journal."""
    if isinstance(one, str):
        return f"{one!r} in {RESULT}, and {other!r} in {RUNS}"
    ours, theirs = (journal.flat(json.loads(to_json(row))) for row in (one, other))
    name = next(name for name in itertools.chain(ours, theirs) if ours.get(name) != theirs.get(name))
    return f"{name} is {ours.get(name)!r} in {RESULT}, and {theirs.get(name)!r} in {RUNS}"
