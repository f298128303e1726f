"""`evbench variants`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_line, screen
from evbench.errors import UserError
from evbench.inputs import workload
from evbench.machine import machine
from evbench.pipelines.registry import AUTO_NAME, DEFAULT_MODEL, MODELS
from evbench.plugins.use import use
from evbench.report.render import pairs, plain
from evbench.report.variants import MARK, Summary, meanings, summarize_variants
from evbench.variants.named import VARIANTS
from evbench.variants.obstacles import obstacles, unusable_choices


def variants_command(
    model: Annotated[str, typer.Option(help=f"{' or '.join(MODELS)}.")] = DEFAULT_MODEL,
    weights: Annotated[
        Path | None, typer.Option(help=f"Checkpoint folder of a model of transformers, with --model {AUTO_NAME}: what it lacks is told.")
    ] = None,
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
        evbench variants --model auto --weights folder
    """
    workload.require_model(model)
    use(plugin or ())
    chosen = machine.choose_device(device)
    kinds, unusable = MODELS[model].kinds, unusable_choices(model, chosen)
    if weights is not None:
        unusable |= _lacking(weights, model)
    missing = [
        name
        for name, variant in VARIANTS.items()
        if any(obstacles(variant, model, kind, chosen) for kind in kinds) or any(one in unusable for one in variant.selection)
    ]
    _print_summary(model, summarize_variants(model, missing, unusable))
    if details:
        screen.print(plain("What each choice means, and needs", "bold"))
        screen.print(pairs(meanings(model)))
    print_line("Change one choice by its name: baseline+attention=eager")


def _lacking(weights: Path, model: str) -> dict[tuple[str, str], str]:
    """(part, choice) -> what the model of a checkpoint folder lacks for it. Raises UserError if there is none that fits."""
    if model != AUTO_NAME:
        raise UserError(f"--weights is for --model {AUTO_NAME}: all weights of {model} have the same choices; leave it out")
    from evbench.pipelines.interface import lacks_choices, without_weights  # transformers takes seconds to import

    return {choice: str(lack) for choice, lack in lacks_choices(without_weights(weights)).items()}


def _print_summary(model: str, summary: Summary) -> None:
    for title, texts in (
        (f"Variants for {model}, and what they change", summary.variants),
        ("Parts and their choices (--details says what they mean)", summary.parts),
    ):
        screen.print(plain(title, "bold"))
        screen.print(pairs(texts))
    for reason in summary.reasons:
        screen.print(plain(f"{MARK} {reason}"))
