"""`evbench variants`."""

from __future__ import annotations

from typing import Annotated

import typer

from evbench.cli.console import screen
from evbench.inputs import workload
from evbench.machine import machine
from evbench.pipelines.registry import DEFAULT_MODEL, MODELS, PARTS
from evbench.report.render import to_rich
from evbench.report.variants import list_variants
from evbench.variants.named import VARIANTS
from evbench.variants.obstacles import in_words, obstacles


def variants_command(
    model: Annotated[str, typer.Option(help=f"{' or '.join(MODELS)}.")] = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
) -> None:
    """List the variants, whether they run on this machine, and what each choice means.

    Examples:
        evbench variants
        evbench variants --model eventgpt --device cpu
    """
    workload.require_model(model)
    chosen = machine.choose_device(device)
    missing = {}
    for name, variant in VARIANTS.items():
        found = dict(pair for kind in MODELS[model].kinds for pair in obstacles(variant, model, kind, chosen).items())
        missing[name] = in_words(variant, {part: found[part] for part in PARTS if part in found})
    for table in list_variants(missing):
        screen.print(to_rich(table, numbers=False))
    screen.print("Change one choice of a variant with name+part=choice, such as baseline+attention=eager.")
