"""Sessions of which a command runs several: what each was asked for, and whether a folder holds the one that is asked for now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evbench import results
from evbench.choices import Variant
from evbench.errors import UserError
from evbench.places import short_workload
from evbench.results import Machine, Plan, Result, Workload
from evbench.session import journal
from evbench.session.journal_state import JournalHeader, hashes
from evbench.session.verification import read_verified
from evbench.variants.named import used_plugins

RESULT = "result.json"


def request_header(started: str, here: Machine, plan: Plan, sides: Mapping[str, Variant], workload: Workload) -> JournalHeader:
    """Of one workload on all sides.

    Args:
        started: UTC, ISO 8601.
        sides: name -> its variant.
    """
    choices = {name: {"name": variant.name, **variant.choices()} for name, variant in sides.items()}
    workloads = dict.fromkeys(sides, short_workload(workload))
    plugins = {name: hashes(used) for name, variant in sides.items() if (used := used_plugins(variant))}
    return JournalHeader(results.FORMAT, started, here, plan, 0, workloads, choices, (), plugins)


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
