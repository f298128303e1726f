"""`evbench frames`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_line, screen
from evbench.inputs import decoders
from evbench.models import VIDEO_FRAMES
from evbench.report.render import printable, to_rich


def frames_command(
    file: Annotated[Path, typer.Argument(help="A video file.")],
    frame_policy: Annotated[
        str, typer.Option(help="inclusive: evenly spaced, first and last frame included. stride: every n/count-th frame, never the last.")
    ] = "inclusive",
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Number of frames.")] = VIDEO_FRAMES,
    decoder: Annotated[
        list[str] | None, typer.Option(help="plain, threaded, or dali; can be given several times. Default: all that run here.")
    ] = None,
) -> None:
    """Show which frames of a clip the decoders pick, and whether they return equal frames.

    Exit codes: 0 all agree, 5 decoders return different frames, 2 the file cannot be used.

    Examples:
        evbench frames clip.mp4
        evbench frames clip.mp4 --count 16 --frame-policy stride --decoder threaded
    """
    found = decoders.compare(file, count, frame_policy, decoders.choose_decoders(decoder or ()))
    screen.print(to_rich(found.facts, numbers=False))
    screen.print(to_rich(found.picks, numbers=False))
    for line in (*found.refusals, *(f"DIFFERENT: {difference}" for difference in found.differences)):
        print_line(printable(line))
    raise typer.Exit(found.exit_code)
