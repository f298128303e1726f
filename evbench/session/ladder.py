"""Carries out a ladder: its comparisons, each in a folder of its own; after each the files of the ladder are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evbench import __version__, results, results_upgrade
from evbench.choices import Variant
from evbench.encoding import to_json, write_whole
from evbench.machine import machine
from evbench.report import ladder as report_ladder
from evbench.results import RESULT, Result, Side, Workload
from evbench.session import journal
from evbench.session.journal_state import JournalHeader
from evbench.session.progress import ProgressListener
from evbench.session.request import request_header
from evbench.session.session_folder import make_folder, writing
from evbench.session.several import SeveralSessions, carry_out_one, ended_result
from evbench.session.verification import read_verified
from evbench.verdict import ladder
from evbench.verdict.judge import judge
from evbench.verdict.ladder import Rung, RungOutcome, Step

FORMAT = 3
"""Of ladder.json. Raised whenever a file written before could no longer be read. 2: the header is called so. 3: intervals among choices."""
RAW, REPORT = "ladder.json", "ladder.md"


@dataclass(frozen=True, kw_only=True)
class LadderRequest(SeveralSessions):
    """One ladder."""

    lower: Variant
    upper: Variant
    steps: tuple[Step, ...]
    workload: Workload
    noise_floors: dict[str, float]
    """On this machine, of such work."""


@dataclass(frozen=True)
class Ladder:
    """Content of `ladder.json`. The raw runs are in the folders of the comparisons."""

    format: int
    evbench: str
    """Version that wrote this."""
    command: str
    header: JournalHeader
    """The request, and where it was carried out. Its sides are called `from` and `to`."""
    rungs: tuple[Rung, ...]

    def __post_init__(self) -> None:
        if "from" not in self.header.workloads:
            raise ValueError(f"its header has the workloads of {', '.join(self.header.workloads) or 'no side'}, where that of from is")
        if (whole := sum(rung.step.kind == "whole" for rung in self.rungs)) != 1:
            raise ValueError(f"{whole} of its rungs are of the whole, where 1 is")
        for step in (rung.step for rung in self.rungs):
            if not step.parts or not set(step.parts) <= step.baseline.choices().keys() & step.optimized.choices().keys():
                raise ValueError(f"the sides of {step.name!r} do not have the parts in which they are said to differ")


def climb(request: LadderRequest, listener: ProgressListener) -> tuple[Rung, ...]:
    """Run each comparison that has not ended yet. The files are written after each of them.

    Raises:
        UserError: the folder is unusable, it holds something else, or another evbench holds the device.
    """
    with writing(request.folder):
        header, outcomes = _start(request)
        folders = list(dict.fromkeys(step.folder for step in request.steps))
        rungs = _write(request, header, outcomes)
        for step in request.steps:
            if step.folder in outcomes:
                continue
            outcomes[step.folder] = _carry_out(request, step, listener)
            rungs = _write(request, header, outcomes)
            listener.message(report_ladder.progress(step, outcomes[step.folder], len(outcomes), len(folders)))
    return rungs


def _start(request: LadderRequest) -> tuple[JournalHeader, dict[str, RungOutcome]]:
    """The header, and the outcomes of comparisons that an interrupted ladder has ended, by folder."""
    sides: dict[str, Variant] = {"from": request.lower, "to": request.upper}
    workloads = dict.fromkeys(sides, request.workload)
    header = request_header(request.now(), machine.read(request.workload.device), request.plan, sides, workloads)
    if not request.resume:
        make_folder(request.folder)
        return header, {}
    before = read(request.folder)
    journal.require_same(before.header, header)
    ended = {rung.step.folder for rung in before.rungs if rung.outcome is not None and rung.outcome.verdict is not None}
    steps = {step.folder: step for step in reversed(request.steps)}
    known = {name: _ended(request, step, header.machine) for name, step in steps.items() if name in ended}
    return before.header, {name: outcome for name, outcome in known.items() if outcome is not None}


def _ended(request: LadderRequest, step: Step, here: results.Machine) -> RungOutcome | None:
    """Outcome of a comparison that an interrupted ladder has ended. None if its folder is gone: it is run again.

    Raises:
        UserError: the folder holds another one.
    """
    sides: dict[Side, Variant] = {"baseline": step.baseline, "optimized": step.optimized}
    asked = request_header(request.now(), here, request.plan, sides, dict.fromkeys(sides, request.workload))
    result = ended_result(request.folder / step.folder, asked)
    return None if result is None else _outcome(request.steps, step, result)


def _outcome(steps: Sequence[Step], step: Step, result: Result) -> RungOutcome:
    return ladder.outcome(step, judge(result), judge(result, ladder.choices(steps)))


def _carry_out(request: LadderRequest, step: Step, listener: ProgressListener) -> RungOutcome:
    """Outcome of one comparison. If a worker fails, the outcome says so, and the other comparisons are run."""
    sides: dict[Side, Variant] = {"baseline": step.baseline, "optimized": step.optimized}
    found = carry_out_one(request, step.folder, sides, request.workload, request.noise_floors, listener)
    return ladder.failed(found) if isinstance(found, str) else _outcome(request.steps, step, found)


def _write(request: LadderRequest, header: JournalHeader, outcomes: dict[str, RungOutcome]) -> tuple[Rung, ...]:
    """Write the files of the ladder, as far as it has got."""
    rungs = ladder.account(request.steps, outcomes)
    written = Ladder(FORMAT, __version__, request.command, header, rungs)
    write_whole(request.folder / RAW, to_json(written, indent=1) + "\n")
    _write_report(written, request.folder)
    return rungs


def _write_report(written: Ladder, folder: Path) -> None:
    header = written.header
    report = report_ladder.to_markdown(written.rungs, header.workloads["from"], header.plan, header.started, written.command)
    write_whole(folder / REPORT, report)


def write_derived(folder: Path) -> tuple[Rung, ...]:
    """Write the report of a ladder again, from the results of its comparisons where these are there.

    Returns:
        What it reports.

    Raises:
        UserError: the ladder or a result cannot be read.
    """
    derived = derive(folder)
    _write_report(derived, folder)
    return derived.rungs


def derive(folder: Path) -> Ladder:
    """A ladder, judged again from the results of its comparisons where these are there.

    Raises:
        UserError: the ladder or a result cannot be read.
    """
    written = read(folder)
    steps = [rung.step for rung in written.rungs]
    outcomes = {rung.step.folder: rung.outcome for rung in written.rungs if rung.outcome is not None}
    for step in steps:
        if step.folder == step.name in outcomes and (folder / step.folder / RESULT).exists():
            outcomes[step.folder] = _outcome(steps, step, read_verified(folder / step.folder))
    return dataclasses.replace(written, rungs=ladder.account(steps, outcomes))


def read(folder: Path) -> Ladder:
    """Raises UserError if there is none, or it cannot be read."""
    file = folder / RAW
    content = journal.read_content(file, "ladder")
    if content.get("format") == 1:
        content = journal.with_header(results_upgrade.ladder(content, results.FORMAT), 2)
    if content.get("format") == 2:
        content = results_upgrade.ladder_outcomes(content) | {"format": FORMAT}
    return journal.decode_stored(Ladder, content, FORMAT, file, "ladder")
