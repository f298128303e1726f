"""`evbench diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_line, screen
from evbench.report import traces
from evbench.report.render import printable, to_rich
from evbench.traces import breakdown, chrome, completeness
from evbench.traces.timeline import Timeline


def diff_command(
    before: Annotated[Path, typer.Argument(metavar="A", help="A trace that evbench recorded.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
) -> None:
    """Report where two traces differ: time, work and idle GPU of each stage, and kernels that only one of them has.

    Examples:
        evbench diff out/trace-baseline.json.gz out/trace-optimized.json.gz
    """
    sections = {}
    for name, file in (("A", before), ("B", after)):
        trace = chrome.read(file)
        timeline = Timeline(trace.events, file)
        sections[name] = breakdown.sections(timeline, trace.events)
        about = trace.header.get("evbench")
        variant = f"{about.get('variant')}, " if isinstance(about, dict) else ""
        print_line(printable(f"{name}: {file}, {variant}{completeness.stamp(completeness.again(timeline, trace))}"))
    for table in (traces.where_the_time_went(sections), traces.families(sections)):
        screen.print(to_rich(table, numbers=True))
    screen.print(to_rich(traces.gone_and_new(sections), numbers=False))
