"""Carries out a comparison of two models: one session at equal length, and one at the length that each answer has by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evbench import __version__, results
from evbench.encoding import to_json, write_whole
from evbench.errors import UserError
from evbench.machine import machine
from evbench.report import models
from evbench.report.models import LENGTHS
from evbench.report.published import Finding, examine, read_page
from evbench.report.render import to_markdown
from evbench.results import Plan, Result, Rules, Side, Workload
from evbench.session import compare, journal
from evbench.session.journal import JournalHeader
from evbench.session.session import NamedListener, ProgressListener
from evbench.variants.choices import Variant
from evbench.verdict.models import Account

FORMAT = 1
"""Of models.json. Raised whenever a file written before could no longer be read."""
RAW, JUDGED, TOLD = "models.json", "verdict.json", "models.md"


@dataclass(frozen=True)
class ModelsRequest:
    """Two models on the same scenes, as it was asked for."""

    variants: Mapping[Side, Variant]
    workloads: Mapping[Side, Workload]
    """At equal length. Their samples are the same scenes in the same order."""
    most_tokens: int
    """Of an answer that ends by itself."""
    plan: Plan
    """Of each session."""
    folder: Path
    command: str
    resume: bool
    wait: bool
    now: Callable[[], str]
    """UTC, ISO 8601: names each session."""

    def at(self, length: str) -> dict[Side, Workload]:
        """The workloads of one of the sessions."""
        if not LENGTHS[length]:
            return dict(self.workloads)
        return {
            side: dataclasses.replace(workload, stop_at_end=True, new_tokens=self.most_tokens) for side, workload in self.workloads.items()
        }


@dataclass(frozen=True)
class Models:
    """What stands in `models.json`."""

    format: int
    evbench: str
    """Version that wrote this."""
    command: str
    most_tokens: int
    opening: JournalHeader
    """What was asked at equal length, and where."""
    sessions: dict[str, Result]
    """Length -> its session. Of one that has not ended, the runs are in the folder of its name."""


@dataclass(frozen=True)
class Derived:
    """What is derived from it, and stands in `verdict.json`."""

    lengths: dict[str, Account]
    statements: dict[str, Finding] = field(default_factory=dict)
    """Number of a statement of the published page -> whether it holds."""
    exit_code: int = 0


def judge(sessions: Mapping[str, Result]) -> Derived:
    """0 if both lengths were measured, 6 if one is invalid."""
    accounts = models.measure(sessions)
    found = examine(read_page(), models.measured(sessions, accounts))
    invalid = any(account.invalid for account in accounts.values())
    return Derived(accounts, {str(number): finding for number, finding in found.items()}, 6 if invalid else 0)


def carry_out(asked: ModelsRequest, listener: ProgressListener) -> Models:
    """Run each session that has not ended yet. The files are written after each of them.

    Raises:
        UserError: the folder is unusable, it holds something else, or another evbench holds the device.
        WorkerDied: a worker crashed. What ran before stands in the folder.
    """
    with journal.writing(asked.folder):
        begun = _begin(asked)
        for length in LENGTHS:
            if length not in begun.sessions:
                begun = dataclasses.replace(begun, sessions=begun.sessions | {length: _measure(asked, length, listener)})
                _keep(begun, asked.folder)
    return begun


def _begin(asked: ModelsRequest) -> Models:
    choices: dict[str, dict[str, str]] = {side: {"name": variant.name, **variant.choices()} for side, variant in asked.variants.items()}
    workloads: dict[str, Workload] = {side: workload for side, workload in asked.workloads.items()}
    here = machine.read(workloads["baseline"].device)
    opening = JournalHeader(results.FORMAT, asked.now(), here, asked.plan, 0, workloads, choices, ())
    if asked.resume:
        before = read(asked.folder)
        journal.require_same(before.opening, opening)
        if before.most_tokens != asked.most_tokens:
            told = f"most_tokens {before.most_tokens} and {asked.most_tokens}"
            raise UserError(f"--resume: the session was begun with something else: {told}. Give the same options")
        return before
    folders = [asked.folder / length for length in LENGTHS]
    # One that was refused before its first run has left nothing to keep.
    journal.make_folder(asked.folder, () if any(map(journal.has_runs, folders)) else (RAW,))
    for folder in folders:
        journal.make_folder(folder)
    begun = Models(FORMAT, __version__, asked.command, asked.most_tokens, opening, {})
    _keep(begun, asked.folder)
    return begun


def _measure(asked: ModelsRequest, length: str, listener: ProgressListener) -> Result:
    folder = asked.folder / length
    order = compare.ComparisonRequest(
        fresh=asked.variants,
        earlier=compare.EarlierResults(),
        workloads=asked.at(length),
        plan=asked.plan,
        rules=Rules({}, (), (), False, ()),
        folder=folder,
        created=asked.now(),
        command=asked.command,
        resume=asked.resume and (folder / journal.OPENING).exists(),
        wait=asked.wait,
    )
    return compare.carry_out(order, NamedListener(length, listener), lambda result, folder: None)  # written as a whole, with the other's


def _keep(begun: Models, folder: Path) -> None:
    """Write what is known so far."""
    write_whole(folder / RAW, to_json(begun) + "\n")
    if begun.sessions:
        write_whole(folder / JUDGED, to_json(judge(begun.sessions), indent=1) + "\n")
        write_whole(folder / TOLD, to_markdown(models.describe(begun.sessions), begun.opening.started, begun.command))


def read(folder: Path) -> Models:
    """Raises UserError if there is none, or it cannot be read."""
    return journal.read_begun(folder / RAW, Models, FORMAT, journal.MODELS)
