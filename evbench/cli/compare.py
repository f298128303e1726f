"""`evbench compare` and `evbench run`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from evbench import results
from evbench.choices import Variant
from evbench.cli.app import _carry_out, _folder, _now, _plan, _refuse_idle, app
from evbench.cli.console import screen, tell
from evbench.cli.options import Options, with_options
from evbench.machine import machine, noise_floors
from evbench.report import comparison
from evbench.report.render import to_console
from evbench.results import Result, Rules, Side, SideResult
from evbench.session import compare, session
from evbench.variants.named import VARIANTS, parse
from evbench.verdict import demands
from evbench.verdict.judge import judge


@app.command("compare")
@with_options
def compare_command(
    *,
    baseline: Annotated[
        str,
        typer.Option(
            help="A variant (see evbench variants), one with changed choices (baseline+attention=eager), "
            "or the folder or result.json of an earlier run."
        ),
    ],
    optimized: Annotated[str, typer.Option(help="The same, for the other side.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(help="slower:2%, or of a stage vision.slower:5%, any number of times. Exit code 3 if so; other slowness is none."),
    ] = None,
    require_speedup: Annotated[bool, typer.Option("--require-speedup", help="Exit code 3 if both are equally fast.")] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="A difference that may be between the machines of two results, such as torch or driver, any number of times."),
    ] = None,
    options: Options,
) -> None:
    """Run two variants in turn on the same work, and say with an interval how much faster one is.

    Leaves a folder with result.json, the raw runs, verdict.json, report.md and one trace per variant, to open in
    https://ui.perfetto.dev. Exit codes: 0 faster or the same, 3 slower or a demand not met, 4 inconclusive, 5 the outputs differ,
    6 invalid; 2 wrong input, 1 a fault of evbench.
    """
    sides: dict[Side, Variant | tuple[Result, SideResult]] = {
        "baseline": _side(baseline, "baseline"),
        "optimized": _side(optimized, "optimized"),
    }
    fresh = {side: measured for side, measured in sides.items() if isinstance(measured, Variant)}
    found = {side: measured for side, measured in sides.items() if not isinstance(measured, Variant)}
    _session(fresh, compare.earlier(found, allow or ()), options, fail_if or (), require_speedup, allow or ())


@app.command("run")
@with_options
def run_command(
    *,
    variant: Annotated[
        str, typer.Argument(help="A variant (see evbench variants), or one with changed choices (baseline+attention=eager).")
    ],
    options: Options,
) -> None:
    """Run one variant. The folder it leaves can be one side of a later compare."""
    _session({"baseline": parse(variant)}, compare.EarlierResults(), options)


def _side(text: str, side: Side) -> Variant | tuple[Result, SideResult]:
    """A variant by name, or one side of an earlier result by path."""
    if text.partition("+")[0] in VARIANTS or not (Path(text).exists() or "/" in text or text.endswith(".json")):
        return parse(text)
    found = results.read(Path(text))
    return found, found.variants().get(side, found.baseline)


def _session(
    fresh: dict[Side, Variant],
    earlier: compare.EarlierResults,
    options: Options,
    fail_if: Sequence[str] = (),
    require_speedup: bool = False,
    allow: Sequence[str] = (),
) -> None:
    """Measure what has to be measured, print the report, and exit with the code of its verdict."""
    if not fresh:
        _refuse_idle(options, ("out", "target"), "both sides are earlier results, nothing is run")
    asked = options.workload() if fresh else earlier.sides["baseline"].workload
    for measured in earlier.sides.values():
        session.require_same_workload(measured.workload, asked)
    plan = _plan(fresh, asked, options) if fresh else earlier.sessions[0].plan
    demands.read(options.target or (), fail_if, asked.model)
    here = machine.read(asked.device)
    floor = noise_floors.find(here, asked)
    floors = (floor.smallest if floor else {}) if fresh else earlier.noise_floors
    rules = Rules(floors, tuple(fail_if), tuple(options.target or ()), require_speedup, tuple(allow))
    now = _now()
    folder = _folder(options, now, asked.model)
    command = shlex.join(["evbench", *sys.argv[1:]])
    order = compare.ComparisonRequest(
        fresh, earlier, dict.fromkeys(fresh, asked), plan, rules, folder, now, command, options.resume, options.wait
    )
    result = _carry_out(order)
    screen.print(to_console(comparison.describe(result)))
    traces = [measured.trace.file for measured in result.variants().values() if measured.trace is not None]
    traces += result.merged_traces
    raw = ["runs.jsonl"] if fresh else []
    tell(f"Written to {folder}: {', '.join(['report.md', 'verdict.json', 'result.json', *raw, *traces])}")
    raise typer.Exit(judge(result).exit_code)
