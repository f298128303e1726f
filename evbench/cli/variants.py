"""`evbench variants`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_line, screen
from evbench.inputs import workload
from evbench.machine import machine
from evbench.pipelines.registry import DEFAULT_MODEL, MODELS
from evbench.plugins.use import use
from evbench.report.render import pairs, plain
from evbench.report.variants import MARK, Summary, meanings, summarize_variants
from evbench.variants.named import VARIANTS
from evbench.variants.obstacles import obstacles, unusable_choices


def variants_command(
    model: Annotated[str, typer.Option(help=f"{' or '.join(MODELS)}.")] = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
    plugin: Annotated[
        list[Path] | None, typer.Option(help="Also list what this file, or installed plug-in, holds; can be given several times.")
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="Also tell what each choice means and needs.")] = False,
) -> None:
    """List the variants of a model, the parts of its pipeline with their choices, and what of it runs on this machine.

    Examples:
        evbench variants
        evbench variants --details
        evbench variants --model eventgpt --device cpu
    """
    workload.require_model(model)
    use(plugin or ())
    chosen = machine.choose_device(device)
    kinds = MODELS[model].kinds
    missing = [name for name, variant in VARIANTS.items() if any(obstacles(variant, model, kind, chosen) for kind in kinds)]
    _print_summary(model, summarize_variants(model, missing, unusable_choices(model, chosen)))
    if details:
        screen.print(plain("What each choice means, and needs", "bold"))
        screen.print(pairs(meanings(model)))
    print_line("Change one choice by its name: baseline+attention=eager")


def _print_summary(model: str, summary: Summary) -> None:
    for title, texts in (
        (f"Variants for {model}, and what they change", summary.variants),
        ("Parts and their choices (--details says what they mean)", summary.parts),
    ):
        screen.print(plain(title, "bold"))
        screen.print(pairs(texts))
    for reason in summary.reasons:
        screen.print(plain(f"{MARK} {reason}"))
