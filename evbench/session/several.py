"""Sessions of which a command runs several, each in a folder of its own: carried out, or found to have ended before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.places import without_places
from evbench.results import RESULT, Plan, Result, Rules, Side, Workload
from evbench.session import compare, journal
from evbench.session.journal_state import JournalHeader, hashes
from evbench.session.progress import NamedListener, ProgressListener
from evbench.session.request import ComparisonRequest
from evbench.session.session_folder import HEADER
from evbench.session.verification import read_verified
from evbench.worker.client import WorkerDied, WorkerGaveUp


@dataclass(frozen=True, kw_only=True)
class SeveralSessions:
    """What each request for all of them has."""

    plan: Plan
    """Of each."""
    folder: Path
    """Theirs are in it."""
    command: str
    resume: bool
    wait: bool
    """Whether to wait for another evbench on the same device, or to be refused."""
    now: Callable[[], str]
    """UTC, ISO 8601: names each session."""


def carry_out_one(
    several: SeveralSessions,
    name: str,
    variants: Mapping[Side, Variant],
    workload: Workload,
    noise_floors: dict[str, float],
    listener: ProgressListener,
) -> Result | str:
    """The result of one session, or why a worker has failed in it: the others can be run all the same.

    Args:
        name: of its folder, in that of the request.
        noise_floors: on this machine, of such work.

    Raises:
        UserError: the folder is unusable, it holds something else, or another evbench holds the device.
    """
    folder = several.folder / name
    request = ComparisonRequest(
        variants=variants,
        workloads=dict.fromkeys(variants, workload),
        plan=several.plan,
        rules=Rules(noise_floors, (), (), False, ()),
        folder=folder,
        created=several.now(),
        command=several.command,
        resume=several.resume and (folder / HEADER).exists(),
        wait=several.wait,
        energy=False,  # no report of several sessions has it
    )
    try:
        return compare.carry_out(request, NamedListener(name, listener)).result
    except (WorkerDied, WorkerGaveUp) as error:
        return without_places(str(error))


def ended_result(folder: Path, asked: JournalHeader) -> Result | None:
    """The result of a session that ended. None if there is none: it is run again.

    Raises:
        UserError: the folder holds another session, or a result that cannot be read or was changed.
    """
    if not (folder / RESULT).exists():
        return None
    result = read_verified(folder)
    session, found = result.session(result.baseline), result.variants().items()
    choices: dict[str, dict[str, str]] = {side: {"name": measured.variant, **measured.choices} for side, measured in found}
    workloads: dict[str, Workload] = {side: measured.workload for side, measured in found}
    plugins: dict[str, dict[str, str]] = {side: hashes(measured.plugins) for side, measured in found if measured.plugins}
    before = JournalHeader(result.format, session.started, session.machine, session.plan, 0, workloads, choices, (), plugins)
    try:
        journal.require_same(before, asked)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    return result
