"""Commands that look at what there is to measure with: `evbench variants`, `evbench frames`, `evbench scenes`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from evbench.cli.app import _working, app
from evbench.cli.console import screen, tell
from evbench.errors import UserError
from evbench.inputs import decoders, workload
from evbench.machine import cores, machine
from evbench.pipelines.registry import MODELS, PARTS, VIDEO_FRAMES
from evbench.report import comparison
from evbench.report.render import printable, to_rich
from evbench.variants.named import VARIANTS
from evbench.variants.obstacles import in_words, obstacles


@app.command("variants")
def variants_command(
    model: Annotated[str, typer.Option(help="video-llava, or eventgpt.")] = "video-llava",
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
) -> None:
    """List the variants, whether they run on this machine, and what each choice means."""
    workload.require_model(model)
    chosen = machine.choose_device(device)
    lacking = {}
    for name, variant in VARIANTS.items():
        found = dict(pair for kind in MODELS[model].kinds for pair in obstacles(variant, model, kind, chosen).items())
        lacking[name] = in_words(variant, {part: found[part] for part in PARTS if part in found})
    for table in comparison.list_variants(lacking):
        screen.print(to_rich(table, numbers=False))
    screen.print("Change one choice of a variant with name+part=choice, such as baseline+attention=eager.")


@app.command("frames")
def frames_command(
    file: Annotated[Path, typer.Argument(help="A video file.")],
    frame_policy: Annotated[
        str, typer.Option(help="inclusive: evenly spaced, first and last frame included. stride: every n/count-th frame, never the last.")
    ] = "inclusive",
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many frames are picked.")] = VIDEO_FRAMES,
    decoder: Annotated[
        list[str] | None, typer.Option(help="plain, threaded, or dali, any number of times. Default: all that run here.")
    ] = None,
) -> None:
    """Show which frames of a clip the decoders pick, and whether they return the same ones.

    Exit codes: 0 all agree, 5 decoders return different frames, 2 the file cannot be used.
    """
    found = decoders.compare(file, count, frame_policy, decoders.choose_decoders(decoder or ()))
    screen.print(to_rich(found.facts, numbers=False))
    screen.print(to_rich(found.picks, numbers=False))
    for told in (*found.refusals, *(f"DIFFERENT: {difference}" for difference in found.differences)):
        tell(printable(told))
    raise typer.Exit(found.exit_code)


scenes = typer.Typer(help="Make street scenes, seen by a video camera and an event camera, with captions.", no_args_is_help=True)
app.add_typer(scenes, name="scenes")


@scenes.command("make")
def scenes_make_command(
    folder: Annotated[Path, typer.Argument(help="Folder for the scenes. About 3 MB for each, most of it events.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 10,
    seconds: Annotated[float, typer.Option(min=0.5, max=2, help="Length of each. The small models have learnt 1.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed makes the same scenes.")] = 0,
    size: Annotated[str, typer.Option(help="Of the video, in pixels: WIDTHxHEIGHT, both even, no higher than wide.")] = "1440x1080",
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Scenes made at the same time, each in 1.3 GB at 1440x1080. Default: one on each core."),
    ] = None,
) -> None:
    """Make scenes: for each an MP4, the events of a 640x480 event camera, five event images, and captions in dataset.json."""
    from evbench.scenes import dataset
    from evbench.scenes.index import INDEX

    order = dataset.DatasetSpec(folder, seed, count, seconds, *_size(size))
    with _working(lambda: f"the scenes that are done are in {folder / INDEX}") as progress:
        dataset.open_folder(order)
        progress.step("scenes", 0, count)
        with closing(dataset.make(order, workers or cores.usable())) as made:
            for done in made:
                progress.step("scenes", done, count)
    tell(f"Written to {folder}: {INDEX}, mp4, events, event_images")


@scenes.command("show")
def scenes_show_command(
    folder: Annotated[Path, typer.Argument(help="A folder that `evbench scenes make` has made.")],
    out: Annotated[Path, typer.Option(help="The sheet, a PNG.")] = Path("sheet.png"),
    count: Annotated[int, typer.Option(min=1, max=100, help="How many scenes, from the first.")] = 6,
) -> None:
    """Draw a contact sheet: frames and event images of each scene above what its captions say."""
    from evbench.scenes import index, sheet

    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out} is no PNG; give a name that ends in .png")
    picture = sheet.draw_sheet(folder, index.read_index(folder)[:count])
    try:
        picture.save(out)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); give another --out") from error
    tell(f"Written to {out}")


def _size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT. Raises UserError."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UserError(f"--size {text!r} is no size; write WIDTHxHEIGHT, such as 1440x1080")
    size = int(width), int(height)
    if any(edge % 2 or not 64 <= edge <= 4096 for edge in size):
        raise UserError(f"--size {text}: each edge must be even, and from 64 to 4096 pixels; H.264 has no half of a pixel's colour")
    if size[0] < size[1]:
        raise UserError(f"--size {text} is higher than wide: things at the sides, which the captions tell of, would be cut off; turn it")
    return size
