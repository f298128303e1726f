"""`evbench compare-models`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from evbench.api.folder import now
from evbench.api.options import OF_VIDEO, Options
from evbench.choices import Variant
from evbench.cli.console import print_summary, screen
from evbench.cli.idle_options import EVENT_OPTIONS, refuse_replaced
from evbench.cli.options import SessionOptions, with_options
from evbench.cli.output_folder import command_line, how_to_resume, output_folder
from evbench.cli.working import working
from evbench.errors import UserError
from evbench.inputs import workload
from evbench.inputs.drafter import drafter, seen_by
from evbench.inputs.listing import require_list
from evbench.pipelines.registry import MODELS
from evbench.report import models as report_models
from evbench.report.models_context import file_names
from evbench.report.render import to_console, to_rich
from evbench.results import SIDES, Side, Workload
from evbench.session import models
from evbench.variants.named import parse
from evbench.variants.obstacles import require

NOT_TAKEN = (
    "model", "weights", "plugin", "pipeline", "video", "events", "raw_events", "batch", "stop_at_end", "throughput",
    "trace_tokens", "modules", "target",
)  # fmt: skip
"""Shared options that this command does not take: it has two models, the input from --data, and both lengths."""


@with_options(but=NOT_TAKEN)
def compare_models_command(
    *,
    baseline: Annotated[str, typer.Option(help=f"A model: {' or '.join(MODELS)}.")],
    optimized: Annotated[str, typer.Option(help="The other model.")],
    variant: Annotated[str | None, typer.Option(help="The variant of both models. Default: baseline.")] = None,
    baseline_variant: Annotated[str | None, typer.Option(help="The variant of the first model.")] = None,
    optimized_variant: Annotated[str | None, typer.Option(help="The variant of the other model.")] = None,
    baseline_weights: Annotated[
        Path | None, typer.Option(help="A local checkpoint folder of the first model, instead of a preset.")
    ] = None,
    optimized_weights: Annotated[Path | None, typer.Option(help="A local checkpoint folder of the other model.")] = None,
    most_tokens: Annotated[int, typer.Option(min=1, max=1024, help="The most tokens of an answer that ends by itself.")] = 256,
    options: Options,
    session: SessionOptions,
) -> None:
    """Run two models in turn on the same scenes of --data, and report how their times differ and where that comes from.

    In two sessions: both generate --new-tokens tokens; both stop where their answer ends. It is no speedup: the models differ. The
    report also says which statements of a published comparison of the two hold here. Exit codes: 0 measured, 6 invalid; 2 wrong
    input, 1 a fault of evbench.

    Examples:
        evbench scenes make set --count 10
        evbench compare-models --baseline video-llava --optimized eventgpt --data set
    """
    if baseline == optimized:
        raise UserError(f"--baseline and --optimized are both {baseline}: give two models; evbench compare compares variants of one")
    refuse_replaced("--variant", variant, {"--baseline-variant": baseline_variant, "--optimized-variant": optimized_variant})
    refuse_replaced("--preset", options.preset, {"--baseline-weights": baseline_weights, "--optimized-weights": optimized_weights})
    given = {
        "baseline": (baseline, baseline_weights, parse(baseline_variant or variant or "baseline")),
        "optimized": (optimized, optimized_weights, parse(optimized_variant or variant or "baseline")),
    }
    workloads: dict[Side, Workload] = {}
    variants: dict[Side, Variant] = {}
    for side in SIDES:
        model, weights, variants[side] = given[side]
        workload.require_model(model, f"--{side}")
        workloads[side] = _workload(options, model, weights)
        require(variants[side], model, workloads[side].kind, workloads[side].device)
    drafters = {side: drafter(variants[side], workloads[side]) for side in SIDES}
    workloads = {side: seen_by([drafters[side]], workloads[side]) for side in SIDES}
    plan = dataclasses.replace(options.plan(list(workloads.values()), list(drafters.values())), trace_tokens=0)
    folder = output_folder(session, now(), "models")
    request = models.ModelsRequest(
        variants=variants,
        workloads=workloads,
        most_tokens=most_tokens,
        plan=plan,
        folder=folder,
        command=command_line(),
        resume=session.resume,
        wait=session.wait,
        now=now,
    )
    with working(lambda: f"the runs that ended are in the folders in {folder}", lambda: how_to_resume(folder)) as progress:
        found = models.carry_out(request, progress)
    derived = models.judge(found.sessions)
    report = report_models.describe(found.sessions, derived.lengths, derived.statements)
    if session.details:
        screen.print(to_console(report))
        screen.print(to_rich(report_models.statements(derived.statements), numbers=False))
    summary = report_models.summarize(found.sessions, derived.lengths, report, derived.exit_code)
    written = ", ".join((models.REPORT, models.JUDGED, models.RAW, *file_names(found.sessions)))
    print_summary(summary, [f"Written to {folder}: {written}"])
    raise typer.Exit(derived.exit_code)


def _workload(options: Options, model: str, weights: Path | None) -> Workload:
    """Of one of the models, with the options that it has. Raises UserError if it cannot have the other's samples."""
    require_list(options.data, "compare-models")
    of_events = {"raw_events": True, "event_limit": options.event_limit or "none", **OF_VIDEO}
    of_model: dict[str, Any] = of_events if "events" in MODELS[model].kinds else dict.fromkeys(EVENT_OPTIONS)
    preset = None if weights is not None else options.preset
    return dataclasses.replace(options, model=model, weights=weights, preset=preset, **of_model).workload()
