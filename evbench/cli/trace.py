"""Commands that record traces and look at them: `evbench trace`, `evbench diff`, `evbench open`."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.app import MEASURING, _now, _refuse_idle, _working, app
from evbench.cli.console import complain, screen, tell
from evbench.cli.options import Options, with_options
from evbench.errors import UserError
from evbench.report import comparison, traces
from evbench.report.render import printable, to_rich
from evbench.session import compare
from evbench.traces import breakdown, chrome, completeness, serve
from evbench.traces.completeness import stamp
from evbench.traces.timeline import Timeline
from evbench.variants.named import parse
from evbench.variants.obstacles import require
from evbench.worker.messages import TraceSpec


@app.command("trace")
@with_options
def trace_command(
    *,
    variant: Annotated[
        str, typer.Argument(help="A variant (see evbench variants), or one with changed choices (baseline+attention=eager).")
    ],
    options: Options,
) -> None:
    """Record one variant under torch.profiler, untimed, and say whether the trace is complete.

    Exit codes: 0 complete, 6 something was lost, 2 wrong input or a trace too large to keep.
    """
    _refuse_idle(options, [field.name for field in dataclasses.fields(Options) if field.name not in MEASURING], "trace times nothing")
    if options.trace_tokens == 0:
        raise UserError("--trace-tokens 0 is no trace; give 1 at least")
    chosen, asked = parse(variant), options.workload()
    require(chosen, asked.model, asked.kind, asked.device)
    folder = options.out or Path("profiles", f"{_now().partition('.')[0].replace(':', '-')}-{asked.model}-trace")
    order = TraceSpec(folder / "trace.json.gz", chosen.name, min(options.trace_tokens, asked.new_tokens), asked.new_tokens, options.modules)
    if order.file.exists():
        raise UserError(f"{order.file} is there already; give another --out, or remove it")
    with _working(lambda: "nothing was recorded") as progress:
        traced = compare.trace(chosen, asked, order, options.wait, progress)
    sides = {chosen.name: traced.sections}
    for table in (traces.where_the_time_went(sides), traces.families(sides)):
        screen.print(to_rich(table, numbers=True))
    tell(f"{comparison.shortened(traced, asked)}; {traced.slowdown:.2f} times as long as without the profiler")
    tell(stamp(traced.completeness))
    tell(f"Written to {order.file}; to see it: evbench open {shlex.quote(str(order.file))}")
    raise typer.Exit(6 if traced.completeness.losses else 0)


@app.command("diff")
def diff_command(
    before: Annotated[Path, typer.Argument(metavar="A", help="A trace that evbench recorded.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
) -> None:
    """Say where two traces differ: time, work and idle GPU of each stage, kernels that are gone, and that are new."""
    sides = {}
    for name, file in (("A", before), ("B", after)):
        trace = chrome.read(file)
        timeline = Timeline(trace.events, file)
        sides[name] = breakdown.sections(timeline, trace.events)
        about = trace.header.get("evbench")
        variant = f"{about.get('variant')}, " if isinstance(about, dict) else ""
        tell(printable(f"{name}: {file}, {variant}{stamp(completeness.again(timeline, trace))}"))
    for table in (traces.where_the_time_went(sides), traces.families(sides)):
        screen.print(to_rich(table, numbers=True))
    screen.print(to_rich(traces.gone_and_new(sides), numbers=False))


@app.command("open")
def open_command(
    file: Annotated[Path, typer.Argument(help="A trace, single or merged.")],
    offline: Annotated[bool, typer.Option("--offline", help="Show it in an installed viewer, without the internet.")] = False,
) -> None:
    """Show a trace in Perfetto, its stages pinned. The file is handed to the browser of this machine, and to nobody else."""
    text = chrome.unpacked(file)
    chrome.parse(text, file)
    one = serve.desk(file, offline)
    server = serve.listen(one, serve.PORT)
    if len(text) > chrome.MUCH:
        tell(f"{len(text) / 2**20:.0f} MiB unpacked are much for a browser. {chrome.how_to_open(file)}")
    link = one.link(serve.PORT)
    try:
        if not serve.open_browser(link):
            tell(f"No browser here. Open this, {serve.how_from_elsewhere(serve.PORT)}")
        tell(link)
        serve.hand_over(one, server)
    except KeyboardInterrupt:
        complain("interrupted; the trace was not fetched")
        raise typer.Exit(130) from None
    tell("The trace was fetched")
