"""`evbench scenes make` and `evbench scenes show`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.console import print_line
from evbench.cli.working import working
from evbench.errors import UserError
from evbench.machine import cores


def scenes_make_command(
    folder: Annotated[Path, typer.Argument(help="Folder for the scenes. About 3 MB for each, most of it events.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Number of scenes.")] = 10,
    seconds: Annotated[float, typer.Option(min=0.5, max=2, help="Length of each. The small models were trained on 1.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Equal seeds make equal scenes.")] = 0,
    size: Annotated[str, typer.Option(help="Size of the video, in pixels: WIDTHxHEIGHT, both even, no higher than wide.")] = "1440x1080",
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Scenes made at the same time, each in 1.3 GB at 1440x1080. Default: one on each core."),
    ] = None,
) -> None:
    """Make scenes: for each an MP4, the events of a 640x480 event camera, five event images, and captions in dataset.json.

    Examples:
        evbench scenes make street --count 10
        evbench scenes make small --count 2 --seconds 0.5 --size 320x240
    """
    from evbench.scenes import dataset
    from evbench.scenes.index import INDEX

    spec = dataset.DatasetSpec(folder, seed, count, seconds, *_size(size))
    with working(lambda: f"the scenes that are done are in {folder / INDEX}") as progress:
        dataset.open_folder(spec)
        progress.step("scenes", 0, count)
        with closing(dataset.make(spec, workers or cores.usable())) as scenes:
            for done in scenes:
                progress.step("scenes", done, count)
    print_line(f"Written to {folder}: {INDEX}, mp4, events, event_images")


def scenes_show_command(
    folder: Annotated[Path, typer.Argument(help="A folder that `evbench scenes make` has written.")],
    out: Annotated[Path, typer.Option(help="The sheet, a PNG.")] = Path("sheet.png"),
    count: Annotated[int, typer.Option(min=1, max=100, help="Number of scenes, from the first.")] = 6,
) -> None:
    """Draw a contact sheet: frames and event images of each scene above its captions.

    Examples:
        evbench scenes show street
        evbench scenes show street --out sheet.png --count 3
    """
    from evbench.scenes import index, sheet

    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out} is no PNG; give a name that ends in .png")
    if out.exists() and not out.is_dir() and not sheet.is_sheet(out):
        raise UserError(f"--out {out} was not written by this command, and is not replaced; remove it, or give another --out")
    picture = sheet.draw_sheet(folder, index.read_index(folder)[:count])
    try:
        sheet.save_sheet(picture, out)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); give another --out") from error
    print_line(f"Written to {out}")


def _size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT. Raises UserError."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UserError(f"--size {text!r} is no size; write WIDTHxHEIGHT, such as 1440x1080")
    size = int(width), int(height)
    if any(edge % 2 or not 64 <= edge <= 4096 for edge in size):
        raise UserError(f"--size {text}: each edge must be even, and from 64 to 4096 pixels; H.264 halves the resolution of colours")
    if size[0] < size[1]:
        raise UserError(f"--size {text} is higher than wide: things at the sides, which the captions name, would be cut off; turn it")
    return size
