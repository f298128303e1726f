"""`evbench open`."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_error, print_line
from evbench.cli.interrupts import INTERRUPTED
from evbench.cli.trace_files import traces_in
from evbench.errors import UserError
from evbench.session.merged_traces import merge_folder
from evbench.traces import chrome, serve
from evbench.traces.former_tracks import redrawn


def open_command(
    path: Annotated[
        Path,
        typer.Argument(metavar="TRACE", help="A trace, a folder that holds one, or that of a comparison, whose two traces are merged."),
    ],
    as_it_ran: Annotated[
        bool,
        typer.Option(
            "--as-it-ran/--aligned",
            help="Of a folder: begin both sides at the same time, or begin each stage of both at the same time (default).",
        ),
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Show it in an installed viewer, without the internet.")] = False,
) -> None:
    """Show a trace in Perfetto, its stages pinned. The file is handed to the browser of this machine, and to nobody else.

    Examples:
        evbench open out
        evbench open out --as-it-ran
        evbench open out/trace-optimized.json.gz --offline
    """
    with ExitStack() as stack:
        file = path
        if path.is_dir() and len(found := traces_in(path)) == 1:
            file = found[0]
        if path.is_dir() and file == path:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="evbench-open-")))
            file = merge_folder(path, folder, aligned=not as_it_ran)
        elif as_it_ran:
            raise UserError(f"{file} is one trace: --as-it-ran would have no effect; leave it out, or give the folder of a comparison")
        _show(file, offline)


def _show(file: Path, offline: bool) -> None:
    """Serve the trace until it was fetched."""
    content = chrome.stored(file)
    text = chrome.unpacked(content, file)
    trace = chrome.parse(text, file)
    drawn = redrawn(trace, file)
    share = serve.share(file.name, content if drawn is trace else chrome.packed(drawn), offline)
    server = serve.listen(share, serve.PORT)
    if len(text) > chrome.MUCH:
        print_line(f"{len(text) / 2**20:.0f} MiB unpacked are much for a browser. {chrome.how_to_open(file)}")
    link = share.link(serve.PORT)
    try:
        if not serve.open_browser(link):
            print_line(f"No browser here. Open this, {serve.how_from_elsewhere(serve.PORT)}")
        print_line(link)
        serve.hand_over(share, server)
    except KeyboardInterrupt:
        print_error("interrupted; the trace was not fetched")
        raise typer.Exit(INTERRUPTED) from None
    print_line("The trace was fetched")
