"""`evbench run`."""

from __future__ import annotations

from typing import Annotated

import typer

from evbench.api.folder import now
from evbench.api.measure import request_to_run
from evbench.api.options import Options
from evbench.cli.one_session import report_session, run_alone
from evbench.cli.options import SessionOptions, with_options
from evbench.cli.output_folder import command_line, output_folder
from evbench.cli.ranks import launch_ranks, run_as_rank
from evbench.distributed.group import launched_place
from evbench.errors import UserError
from evbench.session.request import ComparisonRequest
from evbench.variants.named import parse


@with_options()
def run_command(
    *,
    variant: Annotated[
        str, typer.Argument(help="A variant (see evbench variants), or one with changed choices (baseline+attention=eager).")
    ],
    gpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Spread the samples over so many GPUs of this machine, one rank on each; with --device cpu over so many processes.",
        ),
    ] = None,
    options: Options,
    session: SessionOptions,
) -> None:
    """Run one variant. The folder it leaves can be one side of a later compare.

    Exit codes: 0 measured, 3 a target missed, 4 a target undecided, 6 each block was disturbed; 2 wrong input, 1 a fault of evbench.

    Examples:
        evbench run baseline --out first
        evbench run optimized --preset tiny --target 'video-llava.generate<2.5s'
        evbench run optimized --data street --gpus 8 --out all
    """
    place = launched_place()
    if options.batch > 1 and (gpus is not None or place is not None):
        raise UserError(f"each rank takes one sample at a time: leave --batch {options.batch} out, or do not spread the samples")
    if place is not None:

        def make_request() -> ComparisonRequest:
            target, resume, wait = session.target or (), session.resume, session.wait
            return request_to_run(variant, None, session.out, target, resume, wait, command_line(), options.keywords())

        run_as_rank(place, gpus, options.device, parse(variant), session.out, session.wait, make_request, session.details)
    folder = output_folder(session, now(), options.model)
    if gpus is not None:
        launch_ranks(gpus, options.device, folder, given=session.out is not None)
    result, judgement = run_alone(variant, folder, options, session)
    report_session(result, judgement, folder, measured=True, details=session.details)
