"""`evbench ladder`."""

from __future__ import annotations

from typing import Annotated

import typer

from evbench.api.folder import now
from evbench.api.measure import work_and_plan
from evbench.api.options import Options
from evbench.choices import Variant
from evbench.cli.console import print_details, print_lines
from evbench.cli.options import SessionOptions, with_options
from evbench.cli.output_folder import command_line, how_to_resume, output_folder
from evbench.cli.working import working
from evbench.errors import UserError, nearest
from evbench.machine import machine, noise_floors
from evbench.pipelines.registry import PARTS
from evbench.report import ladder as report_ladder
from evbench.results import Side
from evbench.session import ladder as session_ladder
from evbench.variants.named import parse
from evbench.variants.obstacles import require
from evbench.verdict import ladder


@with_options(but=("target",))
def ladder_command(
    *,
    lower: Annotated[str, typer.Option("--from", help="The lowest rung: a variant, or one with changed choices.")] = "baseline",
    upper: Annotated[str, typer.Option("--to", help="The highest rung, given in one of these ways.")] = "optimized",
    leave_one_out: Annotated[bool, typer.Option(help="Compare the highest rung with itself less each choice, too.")] = True,
    interactions: Annotated[
        str | None,
        typer.Option(
            metavar="PARTS",
            help="Also measure combinations of 2 to 5 choices, such as decode,vision: which gains depend on each other?",
        ),
    ] = None,
    options: Options,
    session: SessionOptions,
) -> None:
    """Climb from one variant to another, one choice at a time, and report which of the choices pays.

    Each rung is compared with the one below, in a folder of its own; then the highest with the lowest; then the highest with itself
    less each choice. Exit code: that of the highest against the lowest; 1 if a comparison could not be run.

    Examples:
        evbench ladder --from baseline --to optimized --preset tiny
        evbench ladder --from baseline --to optimized --no-leave-one-out --blocks 8
        evbench ladder --interactions decode,generate --no-leave-one-out
    """
    sides: dict[Side, Variant] = {"baseline": parse(lower), "optimized": parse(upper)}
    workload = options.workload()
    steps = ladder.plan(sides["baseline"], sides["optimized"], workload.model, workload.kind, leave_one_out, _parts(interactions))
    workload, plan = work_and_plan(options, sides, workload)
    for variant in (side for step in steps for side in (step.baseline, step.optimized)):
        require(variant, workload.model, workload.kind, workload.device)
    folder = output_folder(session, now(), f"{workload.model}-ladder")
    request = session_ladder.LadderRequest(
        lower=sides["baseline"],
        upper=sides["optimized"],
        steps=steps,
        workload=workload,
        plan=plan,
        noise_floors=noise_floors.smallest(machine.read(workload.device), workload),
        folder=folder,
        command=command_line(),
        resume=session.resume,
        wait=session.wait,
        now=now,
    )
    remains = f"the comparisons that ended are in {folder / session_ladder.REPORT}"
    with working(lambda: remains, lambda: how_to_resume(folder)) as progress:
        rungs = session_ladder.climb(request, progress)
    if session.details:
        print_details(report_ladder.tables(rungs), report_ladder.notes(rungs))
    code = ladder.exit_code(rungs)
    written = f"Written to {folder}: {session_ladder.REPORT}, {session_ladder.RAW}, and a folder for each comparison"
    together = filter(None, [report_ladder.together_sentence(rungs)])
    told = (report_ladder.whole_sentence(rungs), *report_ladder.sentences(rungs), *together, *report_ladder.pair_sentences(rungs))
    print_lines(told, [written, report_ladder.exit_reason(rungs, code)])
    raise typer.Exit(code)


def _parts(text: str | None) -> tuple[str, ...]:
    """`decode,vision` -> its parts. Raises UserError for one that does not exist."""
    asked = () if text is None else tuple(part.strip() for part in text.split(","))
    if (unknown := next((part for part in asked if part not in PARTS), None)) is not None:
        raise UserError(f"--interactions {text!r}: unknown part {unknown!r}; {nearest(unknown, list(PARTS))}")
    return asked
