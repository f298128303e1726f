"""`evbench scaling`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from evbench.api.folder import now
from evbench.api.measure import work_and_plan
from evbench.api.option import name_of
from evbench.api.options import Options
from evbench.choices import Variant
from evbench.cli.console import print_details, print_lines, print_note
from evbench.cli.options import SessionOptions, as_typed, given, with_options
from evbench.cli.output_folder import command_line, how_to_resume, output_folder
from evbench.cli.ranks import carry_out_ranks
from evbench.cli.working import working
from evbench.distributed import scaling as carried_out
from evbench.distributed.scaling import Divisions, Scaling
from evbench.distributed.shards import require_enough
from evbench.errors import UserError
from evbench.machine import gpu, machine, noise_floors
from evbench.report import scaling as report
from evbench.results import Plan, Workload
from evbench.variants.named import parse
from evbench.verdict import scaling

NOT_TAKEN = ("target", "throughput", "precision", "batch")
"""Shared options that this command does not take: each of its runs is spread over ranks."""


@with_options(but=NOT_TAKEN)
def scaling_command(
    *,
    variant: Annotated[
        str, typer.Argument(help="A variant (see evbench variants), or one with changed choices (baseline+attention=eager).")
    ],
    gpus: Annotated[
        str,
        typer.Option(metavar="A,B,C", help="Numbers of GPUs of this machine, ascending; with --device cpu of processes."),
    ] = "1,2,4,8",
    tensor_samples: Annotated[
        int,
        typer.Option(
            min=0, help="Also compare the variant with itself divided over as many GPUs (parallel=tensor-2), on so many samples. 0: no."
        ),
    ] = 0,
    options: Options,
    session: SessionOptions,
) -> None:
    """Run one variant on several numbers of GPUs, and report samples per second, efficiency, and where it is lost.

    Its samples are spread over 1, 2, 4 and 8 GPUs as by evbench run --gpus, each in a folder of its own, and the tokens of each sample are
    held against those on the fewest GPUs. Exit codes: 0 measured, 5 answers differ, 6 a run is invalid, 1 one could not be run; 2 wrong
    input.

    Examples:
        evbench scaling optimized --data street --gpus 1,2,4,8 --out scaling
        evbench scaling optimized-gpu --preset 7b --data street --tensor-samples 2
        evbench scaling baseline --device cpu --data street --gpus 1,2
    """
    numbers, chosen = scaling.read_gpus(gpus), parse(variant)
    workload, plan = work_and_plan(options, {"baseline": chosen}, options.workload())
    require_enough(len(workload.samples), numbers[-1])
    _require_gpus(numbers, options.device)
    if not tensor_samples and (idle := _of_traces(options)):
        raise UserError(f"{idle} is of the comparisons of --tensor-samples, and none is asked for; leave it out")
    if tensor_samples and numbers[-1] == 1:
        raise UserError("--tensor-samples divides the model over several GPUs, and --gpus 1 is one; give more, or leave it out")
    if tensor_samples > (there := len(workload.samples)):
        raise UserError(f"--tensor-samples {tensor_samples} are more than there are; give {there} at most, or more samples")
    divided = {count: parse(f"{variant}+parallel=tensor-{count}") for count in numbers if count > 1} if tensor_samples else {}
    of_divisions = _divided(options, chosen, divided, workload, tensor_samples)
    folder = output_folder(session, now(), f"{workload.model}-scaling")
    wanted = carried_out.asked(chosen, workload, dataclasses.replace(plan, trace_tokens=0), numbers, now(), command_line())
    found = carried_out.begin(folder, wanted, session.resume)
    found = _spread(found, numbers, variant, options, session, folder)
    if of_divisions is not None:
        work, plan_of_each = of_divisions
        request = Divisions(
            variant=chosen,
            divided=divided,
            workload=work,
            plan=plan_of_each,
            noise_floors=noise_floors.smallest(machine.read(work.device), work),
            folder=folder,
            command=command_line(),
            resume=session.resume,
            wait=session.wait,
            now=now,
        )
        with working(lambda: f"what ended is in {folder / carried_out.REPORT}", lambda: how_to_resume(folder)) as progress:
            found = carried_out.divide(found, request, progress)
    account = carried_out.account(found)
    if session.details:
        print_details(report.tables(account), report.notes(account))
    code = scaling.exit_code(found.spread, found.divided)
    files = f"{carried_out.REPORT}, {carried_out.RAW}, and a folder for each number of GPUs"
    print_lines((report.headline(account), *report.sentences(account)), [f"Written to {folder}: {files}", report.exit_reason(code)])
    raise typer.Exit(code)


def _require_gpus(numbers: Sequence[int], device: str) -> None:
    """Raises UserError if there are not so many."""
    there = len(gpu.visible())
    if device == "cpu" or numbers[-1] <= there:
        return
    possible = ",".join(str(count) for count in numbers if count <= there)
    fewer = f"give --gpus {possible}, or " if possible else ""
    shown = scaling.counted_gpus(there)
    raise UserError(f"--gpus {numbers[-1]}: this machine shows {shown}; {fewer}run so many processes on the CPU by --device cpu")


def _of_traces(options: Options) -> str:
    """An option of traces that is given. Empty if there is none."""
    return next((name_of(name) for name in ("trace_tokens", "modules") if name in given(options)), "")


def _divided(
    options: Options, variant: Variant, divided: dict[int, Variant], workload: Workload, samples: int
) -> tuple[Workload, Plan] | None:
    """The workload and the plan of the comparisons. None if there is none. Raises UserError if one cannot be made here."""
    if not divided:
        return None
    work = dataclasses.replace(workload, samples=workload.samples[:samples])
    plans = [work_and_plan(options, {"baseline": variant, "optimized": one}, work)[1] for one in divided.values()]
    return work, plans[-1]


def _spread(found: Scaling, numbers: Sequence[int], variant: str, options: Options, session: SessionOptions, folder: Path) -> Scaling:
    """With a run on each number of GPUs that has not ended. Raises typer.Exit if one fails, or they are interrupted."""
    asked = ["run", variant, *as_typed(dataclasses.replace(options, trace_tokens=0, modules=False))]
    asked += [] if session.wait else ["--no-wait"]
    for count in numbers:
        place = carried_out.spread_folder(folder, count)
        if place.exists() and count in carried_out.ended(found):
            continue
        print_note(f"--gpus {count}, into {place}")
        out = ["--gpus", str(count), "--out", str(place), *(["--resume"] if carried_out.is_begun(place) else [])]
        carry_out_ranks(count, [*asked, *out], partial(_left, carried_out.ended(found), folder), silent=True)
        found = carried_out.with_spread(found, count, folder)
        carried_out.write(found, folder)
    return found


def _left(ended: Sequence[int], folder: Path) -> str:
    """What there is if the next one fails."""
    kept = f"--gpus {','.join(map(str, ended))} is in {folder / carried_out.REPORT}" if ended else "no number of GPUs has ended"
    return f"{kept}. {how_to_resume(folder)}"
