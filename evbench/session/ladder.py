"""Carries a ladder out: one comparison after the other, each in a folder of its own, and after each what is known so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evbench import __version__, results
from evbench.choices import Variant
from evbench.encoding import to_json, write_whole
from evbench.errors import UserError
from evbench.machine import machine
from evbench.report import ladder as report_ladder
from evbench.results import Plan, Rules, Side, Workload
from evbench.session import compare, journal
from evbench.session.journal import JournalHeader
from evbench.session.session import NamedListener, ProgressListener
from evbench.verdict import ladder
from evbench.verdict.judge import judge
from evbench.verdict.ladder import Rung, RungOutcome, Step
from evbench.worker.client import WorkerDied, WorkerGaveUp

FORMAT = 1
"""Of ladder.json. Raised whenever a file written before could no longer be read."""
RAW, TOLD = "ladder.json", "ladder.md"


@dataclass(frozen=True)
class LadderRequest:
    """One ladder, as it was asked for."""

    lower: Variant
    upper: Variant
    steps: tuple[Step, ...]
    workload: Workload
    plan: Plan
    """Of each comparison."""
    noise_floors: dict[str, float]
    """Noise floors."""
    folder: Path
    command: str
    resume: bool
    wait: bool
    now: Callable[[], str]
    """UTC, ISO 8601: names each session."""


@dataclass(frozen=True)
class Ladder:
    """What stands in `ladder.json`. The raw runs are in the folders of the comparisons."""

    format: int
    evbench: str
    """Version that wrote this."""
    command: str
    opening: JournalHeader
    """What was asked, and where. Choices of `from` and `to`."""
    rungs: tuple[Rung, ...]


def climb(asked: LadderRequest, listener: ProgressListener) -> tuple[Rung, ...]:
    """Run each comparison that has not ended yet. The files are written after each of them.

    Raises:
        UserError: the folder is unusable, it holds something else, or another evbench holds the device.
    """
    with journal.writing(asked.folder):
        opening, outcomes = _begin(asked)
        folders = list(dict.fromkeys(step.folder for step in asked.steps))
        rungs = _keep(asked, opening, outcomes)
        for step in asked.steps:
            if step.folder in outcomes:
                continue
            outcomes[step.folder] = _carry_out(asked, step, listener)
            rungs = _keep(asked, opening, outcomes)
            listener.say(report_ladder.progress(step, outcomes[step.folder], len(outcomes), len(folders)))
    return rungs


def _begin(asked: LadderRequest) -> tuple[JournalHeader, dict[str, RungOutcome]]:
    """What was asked at first, and what came of the comparisons that have ended, by folder."""
    sides = {"from": asked.lower, "to": asked.upper}
    opening = _opening(asked, sides, machine.read(asked.workload.device))
    if not asked.resume:
        journal.make_folder(asked.folder)
        return opening, {}
    before = read(asked.folder)
    journal.require_same(before.opening, opening)
    ended = {rung.step.folder for rung in before.rungs if rung.outcome is not None and rung.outcome.verdict is not None}
    steps = {step.folder: step for step in reversed(asked.steps)}
    known = {name: _ended(asked, step, opening.machine) for name, step in steps.items() if name in ended}
    return before.opening, {name: outcome for name, outcome in known.items() if outcome is not None}


def _opening(asked: LadderRequest, sides: dict[str, Variant], here: results.Machine) -> JournalHeader:
    choices = {name: {"name": variant.name, **variant.choices()} for name, variant in sides.items()}
    return JournalHeader(results.FORMAT, asked.now(), here, asked.plan, 0, dict.fromkeys(sides, asked.workload), choices, ())


def _ended(asked: LadderRequest, step: Step, here: results.Machine) -> RungOutcome | None:
    """Of a comparison that an earlier session has ended. None if its folder is gone: it is run again.

    Raises:
        UserError: the folder holds another one.
    """
    folder = asked.folder / step.folder
    if not (folder / "result.json").exists():
        return None
    result = results.read(folder)
    session = result.session(result.baseline)
    choices: dict[str, dict[str, str]] = {
        side: {"name": measured.variant, **measured.choices} for side, measured in result.variants().items()
    }
    workloads: dict[str, Workload] = {side: measured.workload for side, measured in result.variants().items()}
    before = JournalHeader(result.format, session.started, session.machine, session.plan, 0, workloads, choices, ())
    sides: dict[str, Variant] = {"baseline": step.baseline, "optimized": step.optimized}
    try:
        journal.require_same(before, _opening(asked, sides, here))
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    return ladder.outcome(step, judge(result))


def _carry_out(asked: LadderRequest, step: Step, listener: ProgressListener) -> RungOutcome:
    """A worker that gives up is of this comparison alone, and the others are run."""
    folder = asked.folder / step.folder
    sides: dict[Side, Variant] = {"baseline": step.baseline, "optimized": step.optimized}
    rules = Rules(asked.noise_floors, (), (), False, ())
    order = compare.ComparisonRequest(
        fresh=sides,
        earlier=compare.EarlierResults(),
        workloads=dict.fromkeys(sides, asked.workload),
        plan=asked.plan,
        rules=rules,
        folder=folder,
        created=asked.now(),
        command=asked.command,
        resume=asked.resume and (folder / journal.OPENING).exists(),
        wait=asked.wait,
        energy=False,  # a ladder does not tell it
    )
    try:
        result = compare.carry_out(order, NamedListener(step.folder, listener))
    except (WorkerDied, WorkerGaveUp) as error:
        return ladder.failed(str(error))
    return ladder.outcome(step, judge(result))


def _keep(asked: LadderRequest, opening: JournalHeader, outcomes: dict[str, RungOutcome]) -> tuple[Rung, ...]:
    """Write what is known so far."""
    rungs = ladder.account(asked.steps, outcomes)
    written = Ladder(FORMAT, __version__, asked.command, opening, rungs)
    write_whole(asked.folder / RAW, to_json(written, indent=1) + "\n")
    told = report_ladder.to_markdown(rungs, asked.workload, asked.plan, opening.started, asked.command)
    write_whole(asked.folder / TOLD, told)
    return rungs


def read(folder: Path) -> Ladder:
    """Raises UserError if there is none, or it cannot be read."""
    return journal.read_begun(folder / RAW, Ladder, FORMAT, "ladder")
