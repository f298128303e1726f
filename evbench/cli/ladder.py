"""`evbench ladder`."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from evbench.choices import Variant
from evbench.cli.app import _folder, _how_to_go_on, _now, _plan, _working, app
from evbench.cli.console import screen, tell
from evbench.cli.options import Options, with_options
from evbench.errors import UserError
from evbench.machine import machine, noise_floors
from evbench.report import ladder as report_ladder
from evbench.report.render import to_rich
from evbench.results import Side
from evbench.session import ladder as session_ladder
from evbench.variants.named import parse
from evbench.variants.obstacles import require
from evbench.verdict import ladder


@app.command("ladder")
@with_options
def ladder_command(
    *,
    lower: Annotated[str, typer.Option("--from", help="The lowest rung: a variant, or one with changed choices.")] = "baseline",
    upper: Annotated[str, typer.Option("--to", help="The top: the same.")] = "optimized",
    leave_one_out: Annotated[bool, typer.Option(help="Also the top against itself with each choice taken back.")] = True,
    fail_if: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    options: Options,
) -> None:
    """Climb from one variant to another, one choice at a time, and say which of the choices pays.

    Each rung is a comparison with the one below, in a folder of its own; then the whole; then the top with each choice taken back.
    Exit code: that of the whole; 1 if a comparison could not be run.
    """
    for name, given in (("--target", options.target), ("--fail-if", fail_if)):
        if given:
            raise UserError(f"ladder takes no {name}, it has many comparisons; leave it out, or give it to evbench compare")
    sides: dict[Side, Variant] = {"baseline": parse(lower), "optimized": parse(upper)}
    asked = options.workload()
    steps = ladder.plan(sides["baseline"], sides["optimized"], asked.model, asked.kind, leave_one_out)
    plan = _plan(sides, asked, options)
    for variant in (side for step in steps for side in (step.baseline, step.optimized)):
        require(variant, asked.model, asked.kind, asked.device)
    floor = noise_floors.find(machine.read(asked.device), asked)
    folder = _folder(options, _now(), f"{asked.model}-ladder")
    order = session_ladder.LadderRequest(
        lower=sides["baseline"],
        upper=sides["optimized"],
        steps=steps,
        workload=asked,
        plan=plan,
        noise_floors=floor.smallest if floor else {},
        folder=folder,
        command=shlex.join(["evbench", *sys.argv[1:]]),
        resume=options.resume,
        wait=options.wait,
        now=_now,
    )
    with _working(lambda: f"the comparisons that ended are told in {folder / session_ladder.TOLD}", _how_to_go_on(folder)) as progress:
        if few := ladder.too_few(steps, asked, plan):
            progress.say(few)
        rungs = session_ladder.climb(order, progress)
    for table in report_ladder.tables(rungs):
        screen.print(to_rich(table, numbers=True))
    for told in (report_ladder.whole_sentence(rungs), *report_ladder.sentences(rungs), *report_ladder.notes(rungs, asked, plan)):
        tell(told)
    tell(f"Written to {folder}: {session_ladder.TOLD}, {session_ladder.RAW}, and a folder for each comparison")
    raise typer.Exit(ladder.exit_code(rungs))
