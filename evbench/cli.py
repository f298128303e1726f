"""The command line: reads options, calls, prints, exits. Nothing else prints or exits."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from evbench import __version__, compare, machine, report, results, variants, workload
from evbench.errors import UserError
from evbench.results import FORMAT, Result, Role, VariantResult, Workload
from evbench.variants import Variant
from evbench.worker import WorkerDied

app = typer.Typer(
    help="Is an optimized video-language model really faster, and does it still say the same?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
PIPE_WIDTH = 140
"""Columns when the output goes into a file or a pipe, so that no line of a table is folded."""
screen = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
errors = Console(stderr=True)


@dataclass(frozen=True)
class Options:
    """What `compare` and `run` are both told."""

    model: Annotated[str, typer.Option(help="video-llava, or eventgpt.")] = "video-llava"
    preset: Annotated[str | None, typer.Option(help="small: trained on street scenes (default). tiny, 7b: random weights.")] = None
    weights: Annotated[Path | None, typer.Option(help="A local Hugging Face checkpoint folder, instead of a preset.")] = None
    video: Annotated[Path | None, typer.Option(help="A video file for video-llava. Default: a scene that evbench carries.")] = None
    events: Annotated[Path | None, typer.Option(help="A folder of event images (PNG) for eventgpt. Default: the same scene.")] = None
    frame_policy: Annotated[
        str, typer.Option(help="inclusive: evenly spaced, first and last frame included. stride: every n/8-th frame, never the last.")
    ] = "inclusive"
    prompt: Annotated[
        str,
        typer.Option(
            help="The question put to the model. The small ones have learnt this, and: Describe in detail what happened in the scene."
        ),
    ] = workload.QUESTION
    new_tokens: Annotated[int, typer.Option(min=1, max=1024, help="Tokens to generate, the same for every variant.")] = 72
    stop_at_end: Annotated[bool, typer.Option("--stop-at-end", help="Let the end-of-text token end an answer early, on both sides.")] = (
        False
    )
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto"
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of random weights. Default: 0.")] = None
    samples: Annotated[int, typer.Option(min=1, help="Timed runs of each variant.")] = 10
    warmup: Annotated[int, typer.Option(min=0, help="Untimed runs of each variant after its first call.")] = 3
    trace_tokens: Annotated[int, typer.Option(min=0, help="Tokens generated in the run that is traced. 0: no trace.")] = 16
    out: Annotated[Path | None, typer.Option(help="Folder for results, report and traces. Default: profiles/<time>-<model>.")] = None

    def workload(self) -> Workload:
        return workload.describe(
            model=self.model,
            preset=self.preset,
            weights=self.weights,
            video_file=self.video,
            events_folder=self.events,
            frame_policy=self.frame_policy,
            prompt=self.prompt,
            new_tokens=self.new_tokens,
            stop_at_end=self.stop_at_end,
            device=self.device,
            seed=self.seed,
        )

    def plan(self, session: str) -> compare.Plan:
        return compare.Plan(session, self.samples, self.warmup, self.trace_tokens)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command each field of Options on the command line, and hand them over as its argument `options`."""
    hints = get_type_hints(command, include_extras=True)
    shared = get_type_hints(Options, include_extras=True)
    own = [parameter.replace(annotation=hints[name]) for name, parameter in signature(command).parameters.items() if name != "options"]
    fields = [Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=shared[field.name])
              for field in dataclasses.fields(Options)]  # fmt: skip

    @wraps(command)
    def with_fields(**given: Any) -> None:
        command(**{name: value for name, value in given.items() if name not in shared},
                options=Options(**{name: value for name, value in given.items() if name in shared}))  # fmt: skip

    with_fields.__signature__ = Signature([*own, *fields])  # type: ignore[attr-defined]
    with_fields.__annotations__ = hints | shared
    return with_fields


@app.command("compare")
@with_options
def compare_command(
    *,
    baseline: Annotated[
        str,
        typer.Option(
            help="A variant (see evbench variants), one with changed choices (baseline+attention=eager), "
            "or the folder or result.json of an earlier run."
        ),
    ],
    optimized: Annotated[str, typer.Option(help="The same, for the other side.")],
    options: Options,
) -> None:
    """Run two variants in turn on the same work, and put their stages side by side.

    Leaves a folder with result.json, the raw runs, report.md and one trace per variant, to open in https://ui.perfetto.dev.
    """
    sides: dict[Role, Variant | VariantResult] = {"baseline": _side(baseline, "baseline"), "optimized": _side(optimized, "optimized")}
    fresh = {role: side for role, side in sides.items() if isinstance(side, Variant)}
    earlier = {role: side for role, side in sides.items() if isinstance(side, VariantResult)}
    _session(fresh, earlier, options)


@app.command("run")
@with_options
def run_command(
    *,
    variant: Annotated[
        str, typer.Argument(help="A variant (see evbench variants), or one with changed choices (baseline+attention=eager).")
    ],
    options: Options,
) -> None:
    """Run one variant. The folder it leaves can be one side of a later compare."""
    _session({"baseline": variants.parse(variant)}, {}, options)


@app.command("variants")
def variants_command(
    model: Annotated[str, typer.Option(help="video-llava, or eventgpt.")] = "video-llava",
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto: the GPU if there is one.")] = "auto",
) -> None:
    """List the variants, whether they run on this machine, and what each choice means."""
    workload.require_model(model)
    chosen = machine.choose_device(device)
    obstacles = {name: machine.tell(variant, machine.obstacles(variant, model, chosen)) for name, variant in variants.VARIANTS.items()}
    for table in report.list_variants(obstacles):
        screen.print(report.to_rich(table, numbers=False))
    screen.print("Change one choice of a variant with name+part=choice, such as baseline+attention=eager.")


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

    order = dataset.Order(folder, seed, count, seconds, *_size(size))
    try:
        dataset.open_folder(order)
        with _progress() as progress:
            progress("scenes", 0, count)
            with closing(dataset.make(order, workers or machine.cores())) as made:
                for done in made:
                    progress("scenes", done, count)
    except KeyboardInterrupt:
        _complain(f"interrupted; the scenes that are done are in {folder / dataset.INDEX}")
        raise typer.Exit(130) from None
    screen.print(f"Written to {folder}: {dataset.INDEX}, mp4, events, event_images", highlight=False, markup=False, soft_wrap=True)


@scenes.command("show")
def scenes_show_command(
    folder: Annotated[Path, typer.Argument(help="A folder that `evbench scenes make` has made.")],
    out: Annotated[Path, typer.Option(help="The sheet, a PNG.")] = Path("sheet.png"),
    count: Annotated[int, typer.Option(min=1, max=100, help="How many scenes, from the first.")] = 6,
) -> None:
    """Draw a contact sheet: frames and event images of each scene above what its captions say."""
    from evbench.scenes import dataset, sheet

    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out} is no PNG; give a name that ends in .png")
    picture = sheet.draw_sheet(folder, dataset.read_index(folder)[:count])
    try:
        picture.save(out)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); give another --out") from error
    screen.print(f"Written to {out}", highlight=False, markup=False, soft_wrap=True)


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


def _side(text: str, role: Role) -> Variant | VariantResult:
    """A variant by name, or one side of an earlier result by path."""
    if text.partition("+")[0] in variants.VARIANTS or not (Path(text).exists() or "/" in text or text.endswith(".json")):
        return variants.parse(text)
    found = results.read(Path(text))
    return found.variants().get(role, found.baseline)


def _session(fresh: dict[Role, Variant], earlier: dict[Role, VariantResult], options: Options) -> None:
    """Measure what has to be measured, write the result, print the report."""
    if not fresh:
        _refuse_idle(options)
    asked = options.workload() if fresh else earlier["baseline"].workload
    for side in earlier.values():
        compare.require_same_workload(side.workload, asked)
    compare.require_same_weights([side.build.weights_fingerprint for side in earlier.values()])
    compare.require_runnable(fresh, asked)
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
    folder = options.out or Path("profiles", f"{now.replace(':', '-').rstrip('Z')}-{asked.model}")
    # The traces of an earlier side stay where they are.
    sides = {role: dataclasses.replace(side, trace=None) for role, side in earlier.items()}
    command = shlex.join(["evbench", *sys.argv[1:]])

    def keep(measured: dict[Role, VariantResult]) -> None:
        sides.update(measured)
        result = Result(FORMAT, __version__, now, command, sides["baseline"], sides.get("optimized"))
        results.write(result, folder / "result.json")
        (folder / "report.md").write_text(report.to_markdown(report.describe(result), now, command), encoding="utf-8")

    known = next((side.build.weights_fingerprint for side in earlier.values()), None)
    try:
        with compare.writing(folder), compare.open_folder(folder) as raw, _progress() as progress:
            if fresh:
                compare.run_session(fresh, asked, options.plan(now), folder, raw, weights_fingerprint=known, progress=progress, keep=keep)
            else:
                keep({})
    except KeyboardInterrupt:
        _complain(f"interrupted; the runs that ended are in {folder / 'runs.jsonl'}")
        raise typer.Exit(130) from None
    screen.print(report.to_console(report.describe(results.read(folder))))
    traces = [side.trace.file for side in sides.values() if side.trace is not None]
    screen.print(
        f"Written to {folder}: {', '.join(['report.md', 'result.json', 'runs.jsonl', *traces])}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _refuse_idle(options: Options) -> None:
    """Raises UserError for an option that has no effect because nothing is run."""
    idle = [field.name for field in dataclasses.fields(Options) if field.name != "out" and getattr(options, field.name) != field.default]
    if idle:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise UserError(f"both sides are earlier results, nothing is run: {told} would have no effect; leave it out")


@contextmanager
def _progress() -> Iterator[compare.Progress]:
    """A live bar on a terminal; elsewhere one line for each kind of step."""
    if not errors.is_terminal:
        told: set[str] = set()

        def line(doing: str, done: int, steps: int) -> None:
            kind = doing.rstrip("0123456789 ")
            if kind not in told:
                told.add(kind)
                errors.print(f"[{done}/{steps}] {kind}", highlight=False, markup=False)

        yield line
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda doing, done, steps: bar.update(task, description=doing, completed=done, total=steps)


def _complain(message: str) -> None:
    errors.print(f"evbench: {message}", style="red", highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 a fault of evbench, 2 wrong input or options, 130 interrupted."""
    try:
        app()
    except UserError as error:
        _complain(str(error))
        raise SystemExit(2) from None
    except OSError as error:  # what the file system says of a path that the user gave
        _complain(f"{error.filename or 'file system'}: {error.strerror}; give a path that can be read")
        raise SystemExit(2) from None
    except WorkerDied as error:
        _complain(str(error))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
