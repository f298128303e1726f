"""Carries out a sweep: a run or a comparison for each point, in a folder of its own; after each the files of the sweep are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evbench import __version__
from evbench.choices import Variant
from evbench.encoding import to_json, write_whole
from evbench.errors import UserError
from evbench.machine import machine
from evbench.report import sweep as report
from evbench.report.matplotlib_hints import without_hints
from evbench.results import RESULT, Machine, Result, Side, Workload
from evbench.session import journal
from evbench.session.journal_state import JournalHeader
from evbench.session.progress import ProgressListener
from evbench.session.request import request_header
from evbench.session.session_folder import make_folder, writing
from evbench.session.several import SeveralSessions, carry_out_one, ended_result
from evbench.session.verification import read_verified
from evbench.verdict import sweep
from evbench.verdict.judge import judge
from evbench.verdict.sweep import Axis, MeasuredPoint, Point, PointOutcome

FORMAT = 1
"""Of sweep.json. Raised whenever a file written before could no longer be read."""
RAW, REPORT, PAGE = "sweep.json", "sweep.md", "sweep.html"


@dataclass(frozen=True, kw_only=True)
class SweepRequest(SeveralSessions):
    """One sweep."""

    variants: Mapping[Side, Variant]
    """One variant as baseline, or two that are compared at each point."""
    axes: tuple[Axis, ...]
    workloads: Mapping[str, Workload]
    """Folder of a point -> its workload."""
    noise_floors: Mapping[str, dict[str, float]]
    """Folder of a point -> the noise floors of this machine, of such work."""

    def points(self) -> tuple[Point, ...]:
        return sweep.points(self.axes)


@dataclass(frozen=True)
class Sweep:
    """Content of `sweep.json`. The raw runs are in the folders of the points."""

    format: int
    evbench: str
    """Version that wrote this."""
    command: str
    header: JournalHeader
    """The request, with the workload of the first point, and where it was carried out."""
    axes: tuple[Axis, ...]
    points: tuple[MeasuredPoint, ...]
    """In the order of the axes, which is not that in which they were run."""

    def __post_init__(self) -> None:
        if "baseline" not in self.header.workloads:
            raise ValueError(f"its header has the workloads of {', '.join(self.header.workloads) or 'no side'}, where that of baseline is")


def carry_out(request: SweepRequest, listener: ProgressListener) -> Sweep:
    """Run each point that has not ended yet. The files are written after each of them.

    Raises:
        UserError: the folder is unusable, it holds something else, or another evbench holds the device.
    """
    with writing(request.folder):
        here = machine.read(next(iter(request.workloads.values())).device)
        header, outcomes = _start(request, here)
        found = _write(request, header, outcomes)
        for point in sweep.order(request.points()):
            if point.folder in outcomes:
                continue
            outcomes[point.folder] = _measure(request, point, listener)
            found = _write(request, header, outcomes)
            listener.message(report.progress(point, outcomes[point.folder], len(outcomes), len(found.points)))
    return found


def _start(request: SweepRequest, here: Machine) -> tuple[JournalHeader, dict[str, PointOutcome]]:
    """The header, and the outcomes of points that an interrupted sweep has ended, by folder."""
    first = request.points()[0]
    header = _header(request, first, here)
    if not request.resume:
        make_folder(request.folder)
        return header, {}
    before = read(request.folder)
    journal.require_same(before.header, header)
    if before.axes != request.axes:
        was, now = (report.in_words(axes) for axes in (before.axes, request.axes))
        raise UserError(f"--resume: the sweep was begun over {was}, and not over {now}. Give the same --over")
    ended = [found.point for found in before.points if found.outcome is not None and not found.outcome.failed]
    known = {point.folder: ended_result(request.folder / point.folder, _header(request, point, here)) for point in ended}
    return before.header, {name: _outcome(result, len(before.points)) for name, result in known.items() if result is not None}


def _header(request: SweepRequest, point: Point, here: Machine) -> JournalHeader:
    workloads = dict.fromkeys(request.variants, request.workloads[point.folder])
    return request_header(request.now(), here, request.plan, request.variants, workloads)


def _outcome(result: Result, points: int) -> PointOutcome:
    return sweep.outcome(result, judge(result, points))


def _measure(request: SweepRequest, point: Point, listener: ProgressListener) -> PointOutcome:
    """Outcome of one point. If a worker fails, the outcome says so, and the other points are run."""
    workload, floors = request.workloads[point.folder], request.noise_floors[point.folder]
    found = carry_out_one(request, point.folder, request.variants, workload, floors, listener)
    return sweep.failed(found) if isinstance(found, str) else _outcome(found, len(request.workloads))


def _write(request: SweepRequest, header: JournalHeader, outcomes: Mapping[str, PointOutcome]) -> Sweep:
    """Write the files of the sweep, as far as it has got."""
    measured = tuple(MeasuredPoint(point, outcomes.get(point.folder)) for point in request.points())
    found = Sweep(FORMAT, __version__, request.command, header, request.axes, measured)
    write_whole(request.folder / RAW, to_json(found, indent=1) + "\n")
    _write_report(found, request.folder)
    return found


def _write_report(found: Sweep, folder: Path) -> None:
    told = account(found)
    write_whole(folder / REPORT, report.to_markdown(told))
    with without_hints():
        from evbench.report.sweep_page import page  # matplotlib takes half a second, of each command that imported it

        write_whole(folder / PAGE, page(told, found.evbench))


def account(found: Sweep) -> report.Account:
    """What the reports of a sweep are made of."""
    header = found.header
    choices = {side: choices["name"] for side, choices in header.choices.items()}
    return report.Account(found.axes, found.points, choices, header.workloads["baseline"], header.plan, header.started, found.command)


def write_derived(folder: Path) -> report.Account:
    """Write the reports of a sweep again, from the results of its points where these are there.

    Returns:
        What they report.

    Raises:
        UserError: the sweep or a result cannot be read.
    """
    written = read(folder)
    points = tuple(_judged_again(folder, found, len(written.points)) for found in written.points)
    derived = dataclasses.replace(written, points=points)
    _write_report(derived, folder)
    return account(derived)


def _judged_again(folder: Path, found: MeasuredPoint, points: int) -> MeasuredPoint:
    place = folder / found.point.folder
    if found.outcome is None or found.outcome.failed or not (place / RESULT).exists():
        return found
    return MeasuredPoint(found.point, _outcome(read_verified(place), points))


def read(folder: Path) -> Sweep:
    """Raises UserError if there is none, or it cannot be read."""
    file = folder / RAW
    found = journal.decode_stored(Sweep, journal.read_content(file, "sweep"), FORMAT, file, "sweep")
    if [one.point for one in found.points] != list(sweep.points(found.axes)):
        raise UserError(f"{file} is damaged (its points are not those of its axes); begin anew with another --out")
    return found
