"""`evbench trace`."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from evbench.api.folder import now
from evbench.api.options import Options
from evbench.cli.console import print_line, screen
from evbench.cli.options import SessionOptions, with_options
from evbench.cli.output_folder import output_folder
from evbench.cli.working import working
from evbench.errors import UserError
from evbench.inputs import batches
from evbench.inputs.drafter import drafter
from evbench.plugins.use import require_used
from evbench.report import traces
from evbench.report.notes import trace_length
from evbench.report.render import to_rich
from evbench.session.trace import record_trace
from evbench.traces.completeness import stamp
from evbench.variants.named import parse
from evbench.variants.obstacles import require
from evbench.worker.messages import TraceSpec

OF_TIMED_RUNS = (
    "blocks", "invocations", "precision", "max_time", "warmup", "order", "cold_files", "cold_compile", "throughput", "target", "resume",
    "details",
)  # fmt: skip
"""Shared options that this command does not take: it times nothing."""


@with_options(but=OF_TIMED_RUNS)
def trace_command(
    *,
    variant: Annotated[
        str, typer.Argument(help="A variant (see evbench variants), or one with changed choices (baseline+attention=eager).")
    ],
    options: Options,
    session: SessionOptions,
) -> None:
    """Record one variant under torch.profiler, untimed, and report whether the trace is complete.

    Exit codes: 0 complete, 6 something was lost, 2 wrong input or a trace too large to keep.

    Examples:
        evbench trace optimized
        evbench trace baseline --modules --trace-tokens 4 --out traced
    """
    if options.trace_tokens == 0:
        raise UserError("--trace-tokens 0 is no trace; give 1 at least")
    chosen, workload = parse(variant), options.workload()
    require_used(options.plugin or (), [chosen])
    require(chosen, workload.model, workload.kind, workload.device)
    batches.require_takes(chosen, workload.batch)
    drafter(chosen, workload)
    folder = output_folder(session, now(), f"{workload.model}-trace")
    tokens = min(options.trace_tokens, workload.new_tokens)
    spec = TraceSpec(folder / "trace.json.gz", chosen.name, tokens, workload.new_tokens, options.modules)
    if spec.file.exists():
        raise UserError(f"{spec.file} exists; give another --out, or remove it")
    with working(lambda: "nothing was recorded") as progress:
        trace = record_trace(chosen, workload, spec, session.wait, progress, options.deadline)
    sections = {chosen.name: trace.sections}
    for table in (traces.where_the_time_went(sections), traces.families(sections)):
        screen.print(to_rich(table, numbers=True))
    print_line(f"{trace_length(trace, workload)}; {trace.slowdown:.2f}x the time without the profiler")
    print_line(stamp(trace.completeness))
    print_line(f"Written to {spec.file}; to see it: evbench open {shlex.quote(str(spec.file))}")
    raise typer.Exit(6 if trace.completeness.losses else 0)
