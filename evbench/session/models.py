"""Carries out a comparison of two models: one session at equal length, and one at the length that each answer has by itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evbench import __version__, digest, results, results_upgrade
from evbench.choices import Variant
from evbench.encoding import to_json, write_whole
from evbench.errors import UserError
from evbench.machine import machine
from evbench.report import models
from evbench.report.models_context import LENGTHS, measured
from evbench.report.published import Finding, examine, read_page
from evbench.report.render import Report, to_markdown
from evbench.results import Result, Side, Workload
from evbench.session import compare, journal
from evbench.session.journal_state import JournalHeader
from evbench.session.progress import NamedListener, ProgressListener
from evbench.session.request import ComparisonRequest, request_header
from evbench.session.session_folder import HEADER, MODELS, has_runs, make_folder, writing
from evbench.session.several import SeveralSessions
from evbench.verdict.models import ModelsJudgement, judge_models

FORMAT = 2
"""Of models.json. Raised whenever a file written before could no longer be read without an upgrade. 2: the header is called so."""
RAW, JUDGED, REPORT = "models.json", "verdict.json", "models.md"


@dataclass(frozen=True, kw_only=True)
class ModelsRequest(SeveralSessions):
    """Two models on the same scenes."""

    variants: Mapping[Side, Variant]
    workloads: Mapping[Side, Workload]
    """At equal length. Their samples are the same scenes in the same order."""
    most_tokens: int
    """The most tokens of an answer that ends by itself."""

    def at(self, length: str) -> dict[Side, Workload]:
        """The workloads of one of the sessions."""
        if not LENGTHS[length]:
            return dict(self.workloads)
        return {
            side: dataclasses.replace(workload, stop_at_end=True, new_tokens=self.most_tokens) for side, workload in self.workloads.items()
        }


@dataclass(frozen=True)
class Models:
    """Content of `models.json`."""

    format: int
    evbench: str
    """Version that wrote this."""
    command: str
    most_tokens: int
    header: JournalHeader
    """The request at equal length, and where it was carried out."""
    sessions: dict[str, Result]
    """Length -> its session. Of one that has not ended, the runs are in the folder of its name."""


@dataclass(frozen=True)
class Derived:
    """What is derived from the sessions: content of `verdict.json`."""

    lengths: dict[str, ModelsJudgement]
    statements: dict[int, Finding] = field(default_factory=dict)
    """Number of a statement of the published page -> whether it holds."""
    exit_code: int = 0


def judge(sessions: Mapping[str, Result]) -> Derived:
    """Judgements, statements and the exit code: 0 if both lengths were measured, 6 if one is invalid."""
    judgements = {length: judge_models(result) for length, result in sessions.items()}
    invalid = any(judged.invalid for judged in judgements.values())
    return Derived(judgements, examine(read_page(), measured(sessions, judgements)), 6 if invalid else 0)


def carry_out(request: ModelsRequest, listener: ProgressListener) -> Models:
    """Run each session that has not ended yet. The files are written after each of them.

    Raises:
        UserError: the folder is unusable, it holds something else, or another evbench holds the device.
        WorkerDied: a worker crashed. What ran before stands in the folder.
    """
    with writing(request.folder):
        models_so_far = _start(request)
        for length in LENGTHS:
            if length not in models_so_far.sessions:
                sessions = models_so_far.sessions | {length: _measure(request, length, listener)}
                models_so_far = dataclasses.replace(models_so_far, sessions=sessions)
                _write(models_so_far, request.folder)
    return models_so_far


def _start(request: ModelsRequest) -> Models:
    here = machine.read(request.workloads["baseline"].device)
    header = request_header(request.now(), here, request.plan, request.variants, request.workloads)
    if request.resume:
        before = read(request.folder)
        journal.require_same(before.header, header)
        if before.most_tokens != request.most_tokens:
            difference = f"most_tokens {before.most_tokens} and {request.most_tokens}"
            raise UserError(f"--resume: the session was begun with something else: {difference}. Give the same options")
        return before
    folders = [request.folder / length for length in LENGTHS]
    # A session that was refused before its first run has left nothing worth protecting.
    make_folder(request.folder, () if any(map(has_runs, folders)) else (RAW, *LENGTHS))
    for folder in folders:
        make_folder(folder)
    started = Models(FORMAT, __version__, request.command, request.most_tokens, header, {})
    _write(started, request.folder)
    return started


def _measure(request: ModelsRequest, length: str, listener: ProgressListener) -> Result:
    folder = request.folder / length
    session = ComparisonRequest(
        variants=request.variants,
        workloads=request.at(length),
        plan=request.plan,
        folder=folder,
        created=request.now(),
        command=request.command,
        resume=request.resume and (folder / HEADER).exists(),
        wait=request.wait,
    )
    # Its result is written into `models.json`, with the other one.
    return compare.measure(session, NamedListener(length, listener), lambda result: None)


def _write(found: Models, folder: Path) -> None:
    """Write the files of the comparison, as far as it has got."""
    write_whole(folder / RAW, json.dumps(digest.sealed(dataclasses.asdict(found)), ensure_ascii=False, allow_nan=False) + "\n")
    if found.sessions:
        write_derived(found, folder)


def write_derived(found: Models, folder: Path) -> Report:
    """Write the judgements and the report. Returns what it says."""
    derived = judge(found.sessions)
    report = models.describe(found.sessions, derived.lengths, derived.statements)
    write_whole(folder / JUDGED, to_json(derived, indent=1) + "\n")
    write_whole(folder / REPORT, to_markdown(report, found.header.started, found.command))
    return report


def read(folder: Path) -> Models:
    """Raises UserError if there is none, or it cannot be read."""
    file = folder / RAW
    content = digest.unsealed(journal.read_content(file, MODELS), str(file))
    if content.get("format") == 1:
        content = journal.with_header(results_upgrade.models(content, results.FORMAT, str(file)), FORMAT)
    found = journal.decode_stored(Models, content, FORMAT, file, MODELS)
    for length, result in found.sessions.items():
        try:
            results.require_consistent(result)
        except ValueError as error:
            raise UserError(f"{file} is damaged ({length}: {error}); begin anew with another --out") from error
    return found
