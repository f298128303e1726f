"""`evbench selftest --mutants`."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from typing import Any, NoReturn

import typer

from evbench.api.folder import now
from evbench.api.options import OF_WORKLOAD, Options
from evbench.choices import Variant
from evbench.cli.console import print_line, screen
from evbench.cli.idle_options import refuse_idle
from evbench.cli.options import SessionOptions
from evbench.cli.output_folder import command_line, output_folder
from evbench.cli.working import working
from evbench.encoding import write_whole
from evbench.errors import UserError
from evbench.inputs.drafter import drafter
from evbench.inputs.workload import shipped
from evbench.pipelines.registry import MODELS
from evbench.places import short_workload
from evbench.report import mutation as report_mutation
from evbench.report.render import to_rich
from evbench.results import Workload
from evbench.session import mutation
from evbench.session.laboratory import laboratory
from evbench.session.session_folder import TRY_AGAIN, make_folder, writing
from evbench.variants.obstacles import obstacles, require
from evbench.verdict.mutation import MutantOutcome

USED = (*OF_WORKLOAD, "plugin", "order", "deadline", "out", "wait")
"""Shared options that have an effect on outputs, and on where they are looked at."""


def try_mutants(variant: Variant, options: Options, session: SessionOptions, plant: str | None, repetitions: int | None) -> NoReturn:
    """Try all planted faults and all equal computations, print the table, and exit."""
    if plant is not None:
        raise UserError("--mutants and --plant exclude each other: the one is of outputs, the other of times; give one of them")
    if session.resume:
        raise UserError("--mutants begins anew each time: --resume would have no effect; leave it out")
    if options.batch > 1:
        raise UserError(f"--mutants plants faults into the stages of one sample at a time; leave --batch {options.batch} out")
    if repetitions is not None:
        raise UserError("--mutants tries each fault once: --repetitions would have no effect; leave it out")
    refuse_idle((options, session), USED, "--mutants times nothing")
    if options.model in MODELS and MODELS[options.model].model_type is None:
        raise UserError(
            f"--mutants plants faults into parts that evbench knows, and of --model {options.model} it knows none; leave it out"
        )
    workload = _two_samples(options)
    if workload.kind == "video" and workload.frames == 1:
        raise UserError("--mutants also plants faults in the order of frames, and --frames 1 has none; give 2 or more")
    require(variant, workload.model, workload.kind, workload.device)
    plan, started = options.plan([workload], [drafter(variant, workload)]), now()
    folder = output_folder(session, started, f"{workload.model}-mutants")
    of = workload.model, workload.kind
    equal = mutation.equal_computations(variant, *of, lambda one: not obstacles(one, *of, workload.device))
    cases = [*equal, *mutation.planted(variant, workload)]
    ended: dict[int, MutantOutcome] = {}
    with working(lambda: f"{len(ended)} of {len(cases)} cases are in {folder / 'mutants.json'}") as progress, writing(folder, TRY_AGAIN):
        make_folder(folder, resumable=False)
        with (
            laboratory(variant, workload, plan, folder, session.wait, progress) as opened,
            closing(mutation.try_all(cases, opened)) as trying,
        ):
            for number, outcome in trying:
                ended[number] = outcome
                write_whole(folder / "mutants.json", report_mutation.to_json(_in_order(ended)))
    outcomes = _in_order(ended)
    wrong = [outcome for outcome in outcomes if not outcome.right]
    if wrong:
        screen.print(to_rich(report_mutation.table(wrong), numbers=False))
    without = mutation.left_out(variant, workload)
    write_whole(folder / "mutants.md", report_mutation.to_markdown(outcomes, without, short_workload(workload), started, command_line()))
    told = f"{'FAILED' if wrong else 'Passed'}: {report_mutation.summary(outcomes)}"
    print_line(f"Written to {folder}: mutants.md with all of them, mutants.json")
    print_line(f"exit {6 if wrong else 0}: {told}")
    raise typer.Exit(6 if wrong else 0)


def _in_order(outcomes: dict[int, MutantOutcome]) -> list[MutantOutcome]:
    return [outcomes[number] for number in sorted(outcomes)]


def _two_samples(options: Options) -> Workload:
    """One of the faults exchanges the answers of two samples."""
    workload = options.workload()
    if len(workload.samples) > 1:
        return workload
    if options.video or options.events or options.data:
        raise UserError("--mutants exchanges the answers of two samples, and one is given; give two, or none for those of evbench")
    option, two = shipped(workload.model)
    samples: dict[str, Any] = {option.removeprefix("--"): two}
    return dataclasses.replace(options, **samples).workload()
