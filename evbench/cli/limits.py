"""`evbench limits`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from evbench.api.options import Options
from evbench.cli.console import print_line, print_sentence, screen
from evbench.cli.options import SessionOptions, with_options
from evbench.cli.planned import planned
from evbench.cli.working import working
from evbench.encoding import to_json
from evbench.errors import UserError, nearest
from evbench.machine import machine
from evbench.pipelines.registry import PARTS
from evbench.report import limits as report
from evbench.report.render import printable, to_rich
from evbench.results import Ceilings
from evbench.session.compare import exclusive_device

NOT_TAKEN = (
    "blocks", "invocations", "precision", "max_time", "warmup", "order", "cold_files", "cold_compile", "throughput", "trace_tokens",
    "modules", "target", "out", "resume", "details", "video", "data", "raw_events", "split", "samples", "shuffle_seed", "frame_policy",
    "event_size", "seed", "stop_at_end", "plugin", "pipeline", "deadline",
)  # fmt: skip
"""Shared options that this command does not take: it runs no model, and of an input only the number of images counts."""


@with_options(but=NOT_TAKEN)
def limits_command(
    *,
    measure: Annotated[bool, typer.Option("--measure", help="Measure what the device can do, and give the floor of each stage.")] = False,
    quantization: Annotated[
        str, typer.Option(help="How weights in the language model's layers are stored: a choice of the part of this name.")
    ] = "none",
    cache: Annotated[str, typer.Option(help="How keys and values are stored: a choice of the part of this name.")] = "full",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON instead.")] = False,
    options: Options,
    session: SessionOptions,
) -> None:
    """Tell what vision, prefill and a decode step compute and move at the least, and with --measure how long that takes here.

    The numbers follow from the model's configuration: no weights are read or made, so it also tells of models that do not fit here.
    Reports of comparisons hold their times against the same floors.

    Examples:
        evbench limits
        evbench limits --model eventgpt --preset 7b --dtype bfloat16
        evbench limits --measure --json
        evbench limits --preset 7b --dtype bfloat16 --quantization fp8 --cache fp8
    """
    stored = {"quantization": quantization, "cache": cache}
    for part, choice in stored.items():
        if choice not in (offered := PARTS[part].choices):
            raise UserError(f"unknown --{part} {choice!r}; {nearest(choice, list(offered))} See: evbench variants")
    if not (session.wait or measure):
        raise UserError("--no-wait is of a measurement, and --measure is not given: it would have no effect; leave it out")
    workload = options.workload()
    with working(str) as progress:
        told = planned(workload)
        if told is None:
            raise UserError(f"--model {workload.model} does not tell the shape of its network from its configuration; give another")
        network, work = told
        here, ceilings = None, None
        if measure:
            with exclusive_device(workload.device, session.wait, progress):
                here, ceilings = machine.read(workload.device), _measure(workload.device)
    found = report.physical_limits(workload, network, work, here, ceilings, stored)
    if as_json:
        print_line(to_json(found, indent=1))
        return
    print_sentence(printable(report.subject(found)))
    screen.print(to_rich(report.stages(found), numbers=True))
    if found.ceilings is not None:
        screen.print(to_rich(report.ceilings(found.ceilings), numbers=True))
        print_sentence(report.HOW)


def _measure(device: str) -> Ceilings:
    import torch

    from evbench.worker.instruments import synchronizer
    from evbench.worker.limits import measure_ceilings

    try:
        return measure_ceilings(device, time.perf_counter_ns, synchronizer(device))
    except torch.OutOfMemoryError:
        raise UserError("--measure needs 2 GB of the GPU's memory, and something else holds it; end that, and run again") from None
