"""`evbench selftest`."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from typing import Annotated, Any, NoReturn

import typer

from evbench.choices import Variant
from evbench.cli.app import _carry_out, _folder, _now, _plan, _working, app
from evbench.cli.console import screen, tell
from evbench.cli.options import Options, percent, with_options
from evbench.encoding import write_whole
from evbench.errors import UserError
from evbench.inputs.workload import shipped
from evbench.machine import noise_floors
from evbench.report import mutation as report_mutation
from evbench.report import selftest as report_selftest
from evbench.report.render import printable, to_rich
from evbench.results import STAGES, Delay, Rules, Side
from evbench.session import compare, journal, mutation
from evbench.variants.named import parse
from evbench.variants.obstacles import obstacles, require
from evbench.verdict import mutation as verdict_mutation
from evbench.verdict import selftest
from evbench.verdict.judge import judge
from evbench.verdict.statistics import FEWEST_BLOCKS


@app.command("selftest")
@with_options
def selftest_command(
    *,
    variant: Annotated[
        str | None, typer.Option(help="The variant that is compared with itself: baseline; or that faults are planted into: optimized.")
    ] = None,
    repetitions: Annotated[int, typer.Option(min=1, max=10_000, help="Comparisons, each of --blocks blocks.")] = 20,
    plant: Annotated[
        str | None,
        typer.Option(help="Make a stage of one side slower, such as vision:2%; it must be found there and nowhere else."),
    ] = None,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Instead: plant faults into a variant, one at a time; the output checks must find each.")
    ] = False,
    options: Options,
) -> None:
    """Compare a variant with itself: how often a difference is found that is not there, and how large (the noise floor).

    What it measures is kept, and later comparisons of such work on this machine claim nothing below it. Exit code 6 if it fails.
    """
    if options.target or options.precision:
        raise UserError("selftest takes no --target and no --precision; leave it out")
    if mutants:
        _mutants(parse(variant or "optimized"), options, plant)
    delay = None if plant is None else _delay(plant)
    asked, chosen = options.workload(), parse(variant or "baseline")
    sides: dict[Side, Variant] = {"baseline": chosen, "optimized": chosen}
    plan = _plan(sides, asked, options)
    if plan.blocks < FEWEST_BLOCKS:
        raise UserError(f"--blocks {plan.blocks} are too few for any interval; give {FEWEST_BLOCKS} at least")
    now = _now()
    folder = _folder(options, now, f"{asked.model}-selftest")
    plan_of_all = dataclasses.replace(plan, blocks=plan.blocks * repetitions, invocations=plan.invocations * repetitions)
    rules = Rules({}, (), (), False, ())
    command = shlex.join(["evbench", *sys.argv[1:]])
    delays: dict[Side, Delay] = {} if delay is None else {"optimized": delay}
    result = _carry_out(
        compare.ComparisonRequest(
            sides,
            compare.EarlierResults(),
            dict.fromkeys(sides, asked),
            plan_of_all,
            rules,
            folder,
            now,
            command,
            options.resume,
            options.wait,
            delays,
        )
    )
    if delay is not None:
        stages = selftest.look_for_planted(judge(result))
        found = report_selftest.planted_table(stages)
        passed, told = selftest.find_planted(stages, delay)
    else:
        test = selftest.assess(judge(result), selftest.repetitions(result, plan.blocks))
        found, passed, told = report_selftest.table(test), test.passed, test.told
    screen.print(to_rich(found, numbers=True))
    write_whole(folder / "selftest.md", report_selftest.to_markdown(found, passed, told, now, command))
    if delay is None and repetitions < selftest.LEAST_REPETITIONS:
        tell(f"Not kept: fewer than {selftest.LEAST_REPETITIONS} repetitions say nothing of what happens once in twenty times")
    elif delay is None and test.comparable:
        measured = result.sessions[0].machine
        noise_floors.keep(noise_floors.Floor(now, noise_floors.place(measured), noise_floors.work(asked), selftest.floors(test)))
        tell(f"Kept in {noise_floors.path()}: comparisons of {noise_floors.work(asked)} on this machine claim nothing below these floors")
    tell(f"{'Passed' if passed else 'FAILED'}: {printable(told)}")
    tell(f"Written to {folder}: selftest.md, report.md, verdict.json, result.json, runs.jsonl")
    raise typer.Exit(0 if passed else 6)


def _mutants(variant: Variant, options: Options, plant: str | None) -> NoReturn:
    """Try all faults and all equal computations, print the table, and exit."""
    if plant is not None:
        raise UserError("--mutants and --plant exclude each other: the one is of outputs, the other of times; give one of them")
    if options.resume:
        raise UserError("--mutants begins anew each time: --resume would have no effect; leave it out")
    mutation.require_mutable(variant)
    asked = options.workload()
    if len(asked.samples) < 2:
        given = options.video or options.events or options.data
        if given:
            raise UserError("--mutants exchanges the answers of two samples, and one is given; give two, or none for those of evbench")
        option, pair = shipped(asked.model)
        both: dict[str, Any] = {option.removeprefix("--"): pair}
        asked = dataclasses.replace(options, **both).workload()
    require(variant, asked.model, asked.kind, asked.device)
    plan, now = options.plan([asked]), _now()
    folder = _folder(options, now, f"{asked.model}-mutants")
    cases = mutation.cases(variant, asked.model, asked.kind, lambda one: not obstacles(one, asked.model, asked.kind, asked.device))
    tried: list[verdict_mutation.MutantOutcome] = []
    working = _working(lambda: f"the {len(tried)} of {len(cases)} that were tried are in {folder / 'mutants.json'}")
    with working as progress, journal.writing(folder):
        journal.make_folder(folder)
        with compare.laboratory(asked, plan, folder, options.wait, progress) as laboratory:
            for outcome in mutation.try_all(cases, laboratory):
                tried.append(outcome)
                write_whole(folder / "mutants.json", report_mutation.to_json(tried))
    screen.print(to_rich(report_mutation.table(tried), numbers=False))
    write_whole(folder / "mutants.md", report_mutation.to_markdown(tried, asked, now, shlex.join(["evbench", *sys.argv[1:]])))
    right = all(outcome.right for outcome in tried)
    tell(f"{'Passed' if right else 'FAILED'}: {report_mutation.told(tried)}")
    tell(f"Written to {folder}: mutants.md, mutants.json")
    raise typer.Exit(0 if right else 6)


def _delay(text: str) -> Delay:
    """`vision:2%`. Raises UserError."""
    stage, colon, share = text.partition(":")
    if stage not in STAGES or not colon:
        raise UserError(f"--plant {text!r} names no stage and share; write it such as vision:2%. Stages are {', '.join(STAGES)}")
    return Delay(stage, percent("--plant", share))
