"""`evbench selftest`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from evbench.api.folder import now
from evbench.api.measure import work_and_plan
from evbench.api.options import Options, share
from evbench.choices import Variant
from evbench.cli.console import print_line, screen
from evbench.cli.one_session import session_in
from evbench.cli.options import SessionOptions, with_options
from evbench.cli.output_folder import command_line, output_folder
from evbench.cli.selftest_mutants import try_mutants
from evbench.encoding import write_whole
from evbench.errors import UserError
from evbench.machine import noise_floors
from evbench.report import selftest as report_selftest
from evbench.report.files import JUDGED, PAGE, REPORT
from evbench.report.render import printable, to_rich
from evbench.results import RESULT, STAGES, Delay, Result, Side
from evbench.session import compare
from evbench.session.block_schedule import too_few_blocks
from evbench.session.request import ComparisonRequest
from evbench.session.session_folder import RUNS
from evbench.variants.named import parse
from evbench.verdict import selftest

REPETITIONS = 20
"""Comparisons of a self-test."""


@with_options(but=("target", "precision", "max_time", "details"))
def selftest_command(
    *,
    variant: Annotated[
        str | None, typer.Option(help="The variant that is compared with itself: baseline; or that faults are planted into: optimized.")
    ] = None,
    repetitions: Annotated[
        int | None, typer.Option(min=1, max=10_000, help=f"Comparisons, each of --blocks blocks. Default: {REPETITIONS}.")
    ] = None,
    plant: Annotated[
        str | None,
        typer.Option(help="Make a stage of one side slower, such as vision:2%. The delay must be found in this stage and in no other."),
    ] = None,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Plant faults into a variant, one at a time. The output checks must find each of them.")
    ] = False,
    options: Options,
    session: SessionOptions,
) -> None:
    """Compare a variant with itself: how often is a difference found where there is none, and how large is it (the noise floor)?

    The noise floor is stored, and later comparisons of such work on this machine claim nothing below it. Exit code 6 if it fails.

    Examples:
        evbench selftest
        evbench selftest --plant vision:2% --blocks 20
        evbench selftest --mutants --model eventgpt
    """
    if mutants:
        try_mutants(parse(variant or "optimized"), options, session, plant, repetitions)
    repetitions = REPETITIONS if repetitions is None else repetitions
    delay = None if plant is None else _delay(plant)
    request, blocks = _request(parse(variant or "baseline"), options, session, repetitions, delay)
    folder = request.folder
    with session_in(folder) as progress:
        judged = compare.carry_out(request, progress)
    if delay is not None:
        stages = selftest.look_for_planted(judged.judgement)
        table, (passed, reason) = report_selftest.planted_table(stages), selftest.find_planted(stages, delay)
    else:
        test = selftest.assess(judged.judgement, selftest.repetitions(judged.result, blocks))
        table, passed, reason = report_selftest.table(test), test.passed, test.summary
    screen.print(to_rich(table, numbers=True))
    write_whole(folder / "selftest.md", report_selftest.to_markdown(table, passed, reason, request.created, request.command))
    if delay is None:
        _store(request, judged.result, test, repetitions)
    print_line(f"Written to {folder}: selftest.md, {PAGE}, {REPORT}, {JUDGED}, {RESULT}, {RUNS}")
    print_line(f"exit {0 if passed else 6}: {'Passed' if passed else 'FAILED'}: {printable(reason)}")
    raise typer.Exit(0 if passed else 6)


def _request(
    variant: Variant, options: Options, session: SessionOptions, repetitions: int, delay: Delay | None
) -> tuple[ComparisonRequest, int]:
    """One session that is as long as all comparisons, and the number of blocks of each comparison."""
    sides: dict[Side, Variant] = {"baseline": variant, "optimized": variant}
    workload, plan = work_and_plan(options, sides, options.workload())
    if few := too_few_blocks(plan.blocks, 1, None):
        raise UserError(few)
    started = now()
    request = ComparisonRequest(
        variants=sides,
        workloads=dict.fromkeys(sides, workload),
        plan=dataclasses.replace(plan, blocks=plan.blocks * repetitions, invocations=plan.invocations * repetitions),
        folder=output_folder(session, started, f"{workload.model}-selftest"),
        created=started,
        command=command_line(),
        resume=session.resume,
        wait=session.wait,
        delays={} if delay is None else {"optimized": delay},
    )
    return request, plan.blocks


def _store(request: ComparisonRequest, result: Result, test: selftest.SelfTest, repetitions: int) -> None:
    """Store the noise floor, if there were enough repetitions to find it."""
    if repetitions < selftest.MIN_REPETITIONS:
        print_line(f"Not stored: fewer than {selftest.MIN_REPETITIONS} repetitions do not show what happens once in twenty times")
    elif test.comparable:
        here, work = result.sessions[0].machine, noise_floors.work(request.workloads["baseline"])
        noise_floors.keep(noise_floors.Floor(request.created, noise_floors.place(here), work, selftest.noise_floors(test)))
        print_line(f"Stored in {noise_floors.path()}: comparisons of {work} on this machine claim nothing below these floors")


def _delay(text: str) -> Delay:
    """`vision:2%`. Raises UserError."""
    stage, _, given = text.partition(":")
    planted = share(given)
    if stage not in STAGES or planted is None:
        what = "a stage and a share of its time, between 0 and 100 %"
        raise UserError(f"--plant {text!r} does not name {what}; write it such as vision:2%. Stages are {', '.join(STAGES)}")
    return Delay(stage, planted)
