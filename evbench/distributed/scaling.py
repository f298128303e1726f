"""Carries out a scaling: one variant on several numbers of GPUs, one after the other. After each the files of all are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evbench import __version__
from evbench.choices import Variant
from evbench.distributed.rank import read_ranks
from evbench.encoding import to_json, write_whole
from evbench.errors import UserError
from evbench.machine import machine
from evbench.report import scaling as report
from evbench.results import RESULT, Plan, Result, Side, Workload
from evbench.session import journal
from evbench.session.journal_state import JournalHeader
from evbench.session.progress import ProgressListener
from evbench.session.request import request_header
from evbench.session.session_folder import RANKS, make_folder, writing
from evbench.session.several import SeveralSessions, carry_out_one, ended_result
from evbench.session.verification import read_verified
from evbench.verdict import scaling
from evbench.verdict.judge import judge
from evbench.verdict.scaling import DividedRun, SpreadRun

FORMAT = 1
"""Of scaling.json. Raised whenever a file written before could no longer be read."""
RAW, REPORT = "scaling.json", "scaling.md"


@dataclass(frozen=True)
class Scaling:
    """Content of `scaling.json`. The raw runs are in the folders of the numbers of GPUs."""

    format: int
    evbench: str
    """Version that wrote this."""
    command: str
    header: JournalHeader
    """The request, and where it was carried out."""
    gpus: tuple[int, ...]
    """That were asked for, ascending."""
    spread: tuple[SpreadRun, ...] = ()
    """Those that ended, ascending."""
    divided: tuple[DividedRun, ...] = ()
    """The same, of comparisons."""

    def __post_init__(self) -> None:
        if "baseline" not in self.header.workloads:
            raise ValueError(f"its header has the workloads of {', '.join(self.header.workloads) or 'no side'}, where that of baseline is")
        for counts in (ended(self), [run.gpus for run in self.divided]):
            if counts != sorted(set(counts) & set(self.gpus)):
                raise ValueError(f"it was asked for {self.gpus} GPUs, and has runs of {counts}")


@dataclass(frozen=True, kw_only=True)
class Divisions(SeveralSessions):
    """Comparisons of a variant with itself, its language model divided over several GPUs."""

    variant: Variant
    divided: Mapping[int, Variant]
    """Number of GPUs -> the same over so many."""
    workload: Workload
    noise_floors: dict[str, float]


def spread_folder(folder: Path, gpus: int) -> Path:
    """Of the result over so many GPUs."""
    return folder / f"gpus-{gpus}"


def divided_folder(folder: Path, gpus: int) -> Path:
    """Of the comparison with the language model divided over so many GPUs."""
    return folder / f"tensor-{gpus}"


def asked(variant: Variant, workload: Workload, plan: Plan, gpus: tuple[int, ...], started: str, command: str) -> Scaling:
    """What is about to be measured."""
    header = request_header(started, machine.read(workload.device), plan, {"baseline": variant}, {"baseline": workload})
    return Scaling(FORMAT, __version__, command, header, gpus)


def begin(folder: Path, wanted: Scaling, resume: bool) -> Scaling:
    """What has ended in the folder of an interrupted one, and what is wanted. Other numbers of GPUs may be asked for than before.

    Raises:
        UserError: the folder is unusable, or holds something else.
    """
    if not resume:
        make_folder(folder)
    else:
        before = read(folder)
        journal.require_same(before.header, wanted.header)
        wanted = dataclasses.replace(before, gpus=tuple(sorted({*before.gpus, *wanted.gpus})))
    write(wanted, folder)
    return wanted


def is_begun(folder: Path) -> bool:
    """Whether ranks have begun in a folder: they can go on."""
    return (folder / RANKS).is_file()


def ended(found: Scaling) -> list[int]:
    """Numbers of GPUs over which the samples were spread."""
    return [run.session.ranks for run in found.spread]


def with_spread(found: Scaling, gpus: int, folder: Path) -> Scaling:
    """With what ended in the folder of this number of GPUs. Raises UserError if it cannot be read, or is of another number."""
    place = spread_folder(folder, gpus)
    if not is_begun(place):
        raise UserError(f"{place} has no {RANKS}; put it back, or remove {place}")
    session = read_ranks(place)
    if session.ranks != gpus:
        raise UserError(f"{place / RANKS} is of {session.ranks} ranks, in the folder of {gpus}; put back what was there, or remove {place}")
    result = read_verified(place)
    here = scaling.spread_run(session, result, judge(result))
    others = [run for run in found.spread if run.session.ranks != gpus]
    return dataclasses.replace(found, spread=tuple(sorted([*others, here], key=lambda run: run.session.ranks)))


def divide(found: Scaling, request: Divisions, listener: ProgressListener) -> Scaling:
    """Compare each division that has not ended, and write the files after each.

    Raises:
        UserError: a folder is unusable, it holds something else, or another evbench holds a GPU.
    """
    here = machine.read(request.workload.device)
    for gpus, variant in request.divided.items():
        sides: dict[Side, Variant] = {"baseline": request.variant, "optimized": variant}
        name = divided_folder(request.folder, gpus).name
        header = request_header(request.now(), here, request.plan, sides, dict.fromkeys(sides, request.workload))
        result: Result | str | None = ended_result(request.folder / name, header) if request.resume else None
        if result is None:
            result = carry_out_one(request, name, sides, request.workload, request.noise_floors, listener)
        found = _with_division(found, gpus, result)
        write(found, request.folder)
    return found


def _with_division(found: Scaling, gpus: int, result: Result | str) -> Scaling:
    here = scaling.failed_division(gpus, result) if isinstance(result, str) else scaling.divided_run(gpus, result, judge(result))
    others = [run for run in found.divided if run.gpus != gpus]
    return dataclasses.replace(found, divided=tuple(sorted([*others, here], key=lambda run: run.gpus)))


def write(found: Scaling, folder: Path) -> None:
    """Both files, as far as it has got. Raises UserError if they cannot be written."""
    with writing(folder):
        write_whole(folder / RAW, to_json(found, indent=1) + "\n")
        write_whole(folder / REPORT, report.to_markdown(account(found)))


def account(found: Scaling) -> report.Account:
    """What the report is made of."""
    header = found.header
    return report.Account(
        gpus=found.gpus,
        spread=found.spread,
        divided=found.divided,
        variant=header.choices["baseline"]["name"],
        workload=header.workloads["baseline"],
        machine=header.machine,
        plan=header.plan,
        started=header.started,
        command=found.command,
    )


def write_derived(folder: Path) -> report.Account:
    """Write the report again, from the results where these are there.

    Returns:
        What it reports.

    Raises:
        UserError: the scaling or a result cannot be read.
        OSError: the report cannot be written.
    """
    found = read(folder)
    for run in found.spread:
        if (spread_folder(folder, run.session.ranks) / RESULT).exists():
            found = with_spread(found, run.session.ranks, folder)
    for division in found.divided:
        place = divided_folder(folder, division.gpus)
        if not division.outcome.failed and (place / RESULT).exists():
            found = _with_division(found, division.gpus, read_verified(place))
    write_whole(folder / REPORT, report.to_markdown(account(found)))
    return account(found)


def read(folder: Path) -> Scaling:
    """Raises UserError if there is none, or it cannot be read."""
    file = folder / RAW
    return journal.decode_stored(Scaling, journal.read_content(file, "scaling"), FORMAT, file, "scaling")
