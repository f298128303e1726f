"""`evbench sweep`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from evbench.api.folder import now
from evbench.api.measure import work_and_plan
from evbench.api.option import name_of
from evbench.api.options import Options
from evbench.choices import Variant
from evbench.cli.console import print_details, print_lines
from evbench.cli.options import SessionOptions, given, with_options
from evbench.cli.output_folder import command_line, how_to_resume, output_folder
from evbench.cli.planned import planned
from evbench.cli.working import working
from evbench.errors import UserError
from evbench.inputs import batches
from evbench.inputs.drafter import with_images
from evbench.machine import machine, noise_floors
from evbench.report import sweep as report
from evbench.results import Side
from evbench.session import sweep as session_sweep
from evbench.variants.named import parse
from evbench.verdict import sweep
from evbench.verdict.sweep import Axis, Point

NOT_TAKEN = ("target", "throughput", "trace_tokens", "modules")
"""Shared options that this command does not take: its curves are of single runs, and nothing is traced."""


@with_options(but=NOT_TAKEN)
def sweep_command(
    *,
    over: Annotated[
        list[str],
        typer.Option(metavar="NAME=A,B,C", help=f"An amount of work and its values: {', '.join(sweep.AXES)}. Can be given for each."),
    ],
    variant: Annotated[str, typer.Option(help="A variant (see evbench variants), or one with changed choices.")] = "optimized",
    baseline: Annotated[str | None, typer.Option(help="Compare with this variant at each point. Default: run one variant.")] = None,
    options: Options,
    session: SessionOptions,
) -> None:
    """Measure at several amounts of work, and report how the time of each stage grows with them.

    Each point is a run or comparison in a folder of its own. The report has the straight line of each stage, its slope and intercept with
    their intervals, and where the stage is near its physical floor. Exit codes: 0 measured, 5 outputs differ at a point, 6 one is
    invalid, 1 one could not be run; 2 wrong input.

    Examples:
        evbench sweep --over frames=4,8,12 --variant optimized
        evbench sweep --over frames=4,8,12 --over new-tokens=16,32,64 --blocks 6
        evbench sweep --over new-tokens=16,32,64 --baseline baseline
    """
    axes = sweep.read_axes(over)
    variants: dict[Side, Variant] = {"baseline": parse(variant if baseline is None else baseline)}
    if baseline is not None:
        variants["optimized"] = parse(variant)
    _refuse_given_twice(axes, options)
    points = sweep.points(axes)
    workloads = {point.folder: _options_at(point, options).workload() for point in points}
    first, plan = work_and_plan(options, variants, workloads[points[0].folder])
    for chosen in variants.values():
        for workload in workloads.values():
            batches.require_takes(chosen, workload.batch)
    beside = {sample.path: sample.beside for sample in first.samples}
    workloads = {name: with_images(work, [beside.get(sample.path) for sample in work.samples]) for name, work in workloads.items()}
    plan = dataclasses.replace(plan, trace_tokens=0)
    here = machine.read(first.device)
    floors = {name: noise_floors.smallest(here, work) for name, work in workloads.items()}
    folder = output_folder(session, now(), f"{first.model}-sweep")
    request = session_sweep.SweepRequest(
        variants=variants,
        axes=axes,
        workloads=workloads,
        plan=plan,
        noise_floors=floors,
        folder=folder,
        command=command_line(),
        resume=session.resume,
        wait=session.wait,
        now=now,
    )
    remains = f"the points that ended are in {folder / session_sweep.REPORT}"
    with working(lambda: remains if folder.exists() else "", lambda: how_to_resume(folder) if folder.exists() else "") as progress:
        for workload in workloads.values():
            # Too long a prompt is refused before any time is spent. Of a model that does not tell, the point could not be run.
            planned(workload)
        measured = session_sweep.carry_out(request, progress)
    told = session_sweep.account(measured)
    if session.details:
        print_details(report.tables(told), report.notes(told))
    code = sweep.exit_code(measured.points)
    files = f"{session_sweep.REPORT}, {session_sweep.PAGE}, {session_sweep.RAW}, and a folder for each point"
    print_lines((report.headline(told), *report.sentences(told)), [f"Written to {folder}: {files}", report.exit_reason(told, code)])
    raise typer.Exit(code)


def _refuse_given_twice(axes: Sequence[Axis], options: Options) -> None:
    """Raises UserError for an option whose values are those of an axis, and for one by which answers end where they like."""
    for axis in axes:
        if (name := _field(axis.name)) in given(options):
            raise UserError(f"{name_of(name)} and --over {axis.name} exclude each other; give one of them")
    if options.stop_at_end and any(axis.name == "new-tokens" for axis in axes):
        raise UserError("--stop-at-end lets answers end before the tokens that --over new-tokens asks for; leave it out")


def _options_at(point: Point, options: Options) -> Options:
    """Raises UserError for a value that is out of range."""
    values: dict[str, Any] = {_field(name): value for name, value in point.values.items()}
    return dataclasses.replace(options, **values)


def _field(axis: str) -> str:
    """Of `Options`."""
    return axis.replace("-", "_")
