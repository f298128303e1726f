"""`evbench compare-models`."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from evbench.choices import Variant
from evbench.cli.app import EVENT_OPTIONS, _folder, _how_to_go_on, _now, _refuse_idle, _refuse_replaced, _require_order, _working, app
from evbench.cli.console import screen, tell
from evbench.cli.options import FRAME_POLICY, Options, with_options
from evbench.errors import UserError
from evbench.inputs import workload
from evbench.pipelines.registry import MODELS
from evbench.report import models as report_models
from evbench.report.render import to_console, to_rich
from evbench.results import Side, Workload
from evbench.session import models
from evbench.variants.named import parse
from evbench.variants.obstacles import require
from evbench.verdict.models import SIDES


@app.command("compare-models")
@with_options
def compare_models_command(
    *,
    baseline: Annotated[str, typer.Option(help="A model: video-llava or eventgpt.")],
    optimized: Annotated[str, typer.Option(help="The other one. Nothing is claimed of it but how long it takes, and what it says.")],
    variant: Annotated[str | None, typer.Option(help="The variant that both are run as. Default: baseline.")] = None,
    baseline_variant: Annotated[str | None, typer.Option(help="Instead, of the first model.")] = None,
    optimized_variant: Annotated[str | None, typer.Option(help="Instead, of the other.")] = None,
    baseline_weights: Annotated[
        Path | None, typer.Option(help="A local checkpoint folder of the first model, instead of a preset.")
    ] = None,
    optimized_weights: Annotated[Path | None, typer.Option(help="The same of the other.")] = None,
    most_tokens: Annotated[int, typer.Option(min=1, max=1024, help="Of an answer that ends by itself.")] = 256,
    options: Options,
) -> None:
    """Run two models in turn on the same scenes of --data: how many times as long one takes, and where that comes from.

    Twice: both generate --new-tokens tokens; both stop where their answer ends. It is no speedup: the models differ. The report also
    says which statements of a published comparison of the two hold here. Exit codes: 0 measured, 6 invalid; 2 wrong input, 1 a fault
    of evbench.
    """
    _refuse_idle(
        options, IN_MODELS, "compare-models takes its models from --baseline and --optimized, its input from --data, and both lengths"
    )
    if options.data is None:
        raise UserError("compare-models gives both models the same scenes: give --data, a folder that `evbench scenes make` has made")
    if baseline == optimized:
        raise UserError(f"--baseline and --optimized are both {baseline}: give two models; evbench compare compares variants of one")
    _refuse_replaced("--variant", variant, {"--baseline-variant": baseline_variant, "--optimized-variant": optimized_variant})
    _refuse_replaced("--preset", options.preset, {"--baseline-weights": baseline_weights, "--optimized-weights": optimized_weights})
    asked = {
        "baseline": (baseline, baseline_weights, parse(baseline_variant or variant or "baseline")),
        "optimized": (optimized, optimized_weights, parse(optimized_variant or variant or "baseline")),
    }
    workloads: dict[Side, Workload] = {}
    chosen: dict[Side, Variant] = {}
    for side in SIDES:
        model, weights, chosen[side] = asked[side]
        workload.require_model(model, f"--{side}")
        preset = None if weights is not None else options.preset
        of_events = {"raw_events": True, "event_limit": options.event_limit or "none", "frame_policy": FRAME_POLICY}
        of_model: dict[str, Any] = of_events if "events" in MODELS[model].kinds else dict.fromkeys(EVENT_OPTIONS)
        workloads[side] = dataclasses.replace(options, model=model, weights=weights, preset=preset, **of_model).workload()
        require(chosen[side], model, workloads[side].kind, workloads[side].device)
    _require_order(options)
    plan = dataclasses.replace(options.plan(list(workloads.values())), trace_tokens=0)
    folder = _folder(options, _now(), "models")
    command = shlex.join(["evbench", *sys.argv[1:]])
    order = models.ModelsRequest(chosen, workloads, most_tokens, plan, folder, command, options.resume, options.wait, _now)
    with _working(lambda: f"the runs that ended are in the folders in {folder}", _how_to_go_on(folder)) as progress:
        found = models.carry_out(order, progress)
    screen.print(to_console(report_models.describe(found.sessions)))
    screen.print(to_rich(report_models.statements(found.sessions), numbers=False))
    raw = ", ".join(report_models.file_names(found.sessions))
    tell(f"Written to {folder}: {models.TOLD}, {models.JUDGED}, {models.RAW}, {raw}")
    raise typer.Exit(models.judge(found.sessions).exit_code)


IN_MODELS = (
    "preset", "data", "limit", "frame_policy", "prompt", "new_tokens", "device", "dtype", "seed", "blocks", "invocations", "precision",
    "max_time", "warmup", "order", "cold_files", "cold_compile", "out", "resume", "wait", *EVENT_OPTIONS,
)  # fmt: skip
"""Options of compare-models."""
