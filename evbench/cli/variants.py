"""`evbench variants`."""

from __future__ import annotations

from typing import Annotated

import typer

from evbench.cli.console import screen
from evbench.inputs import workload
from evbench.machine import machine
from evbench.report.render import to_rich
from evbench.report.variants import list_variants
from evbench.variants import choices


def variants_command(
    model: Annotated[str, typer.Option(help="video-llava, or eventgpt.")] = "video-llava",
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
) -> None:
    """List the variants, whether they run on this machine, and what each choice means."""
    workload.require_model(model)
    chosen = machine.choose_device(device)
    obstacles = {}
    for name, variant in choices.VARIANTS.items():
        found = dict(pair for kind in choices.TAKES[model] for pair in machine.obstacles(variant, kind, chosen).items())
        obstacles[name] = machine.tell(variant, {part: found[part] for part in choices.CHOICES if part in found})
    for table in list_variants(obstacles):
        screen.print(to_rich(table, numbers=False))
    screen.print("Change one choice of a variant with name+part=choice, such as baseline+attention=eager.")
