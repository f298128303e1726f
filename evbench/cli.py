"""The command line: reads options, calls, prints, exits. Nothing else prints or exits."""

from __future__ import annotations

import dataclasses
import datetime
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_type_hints

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from evbench import (
    compare,
    demands,
    floors,
    frames,
    journal,
    machine,
    mutation,
    report,
    results,
    sample,
    selftest,
    session,
    variants,
    workload,
)
from evbench.errors import UserError
from evbench.files import write_whole
from evbench.judge import judge
from evbench.planted import Delay
from evbench.render import printable, to_console, to_rich
from evbench.results import STAGES, Plan, Result, Role, Rules, VariantResult, Workload
from evbench.statistics import FEWEST_BLOCKS
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


BLOCKS: dict[results.Order, int] = {"in turn": 12, "reload": 6}
WARMUP_SECONDS = 120.0


@dataclass(frozen=True)
class Options:
    """What `compare` and `run` are both told."""

    model: Annotated[str, typer.Option(help="video-llava, or eventgpt.")] = "video-llava"
    preset: Annotated[str | None, typer.Option(help="small: trained on street scenes (default). tiny, 7b: random weights.")] = None
    weights: Annotated[Path | None, typer.Option(help="A local Hugging Face checkpoint folder, instead of a preset.")] = None
    video: Annotated[
        list[Path] | None, typer.Option(help="A video file for video-llava, any number of times. Default: a scene that evbench carries.")
    ] = None
    events: Annotated[
        list[Path] | None, typer.Option(help="A folder of event images (PNG) for eventgpt, any number of times. Default: the same scene.")
    ] = None
    data: Annotated[Path | None, typer.Option(help="Instead: all scenes of a folder that evbench scenes make has made.")] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many scenes of --data, from the first.")] = None
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
    dtype: Annotated[
        str | None, typer.Option(help="Type to compute in: bfloat16 (default on a GPU), float32 (on a CPU, and for finer checks).")
    ] = None
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of random weights. Default: 0.")] = None
    blocks: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Blocks ABBA or BAAB, of 8 runs. Default: 12, or one for each sample, if these are more."),
    ] = None
    starts: Annotated[
        int,
        typer.Option(min=1, max=10_000, help="Starts of the workers over which the blocks are spread: processes are not equally fast."),
    ] = 4
    precision: Annotated[str | None, typer.Option(help="Add blocks until the interval is within so much of the ratio, such as 1%.")] = None
    max_time: Annotated[float, typer.Option(min=0, help="For --precision: seconds of timed runs after which no block is added.")] = 600
    warmup: Annotated[int, typer.Option(min=0, help="The most runs of each variant until it is steady; 120 s at most.")] = 30
    order: Annotated[
        str,
        typer.Option(help="in-turn: both workers live. reload: one at a time, started anew for each block. auto: in-turn if both fit."),
    ] = "auto"
    cold_files: Annotated[bool, typer.Option("--cold-files", help="Drop the input from the page cache before each run.")] = False
    cold_compile: Annotated[bool, typer.Option("--cold-compile", help="Start with empty compile caches.")] = False
    throughput: Annotated[
        int,
        typer.Option(
            min=0,
            max=1000,
            help="Also run so many samples in a row, with each turn in a block, loaded as the variant's feed has it. 0: none.",
        ),
    ] = 0
    trace_tokens: Annotated[int, typer.Option(min=0, help="Tokens generated in the run that is traced. 0: no trace.")] = 16
    target: Annotated[
        list[str] | None,
        typer.Option(help="A time to reach, such as 'video-llava.generate<2.5s', any number of times. Exit code 3 if one is missed."),
    ] = None
    out: Annotated[Path | None, typer.Option(help="Folder for results, report and traces. Default: profiles/<time>-<model>.")] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted session in --out; give the same options.")] = False
    wait: Annotated[bool, typer.Option(help="Wait for another evbench on the same device to end, or be refused.")] = True

    def workload(self) -> Workload:
        return workload.describe(
            model=self.model,
            preset=self.preset,
            weights=self.weights,
            videos=self.video or (),
            events_folders=self.events or (),
            data=self.data,
            limit=self.limit,
            frame_policy=self.frame_policy,
            prompt=self.prompt,
            new_tokens=self.new_tokens,
            stop_at_end=self.stop_at_end,
            device=self.device,
            dtype=self.dtype,
            seed=self.seed,
        )

    def plan(self, asked: Workload, workers: int) -> Plan:
        order = session.choose_order(self.order, workers, asked)
        return Plan(
            order=order,
            blocks=self.blocks or max(len(asked.samples), BLOCKS[order]),
            starts=self.starts,
            precision=None if self.precision is None else _percent("--precision", self.precision),
            max_seconds=_finite("--max-time", self.max_time),
            warmup_runs=self.warmup,
            warmup_seconds=WARMUP_SECONDS,
            trace_tokens=self.trace_tokens,
            cold_files=self.cold_files,
            cold_compile=self.cold_compile,
            throughput=self.throughput,
        )


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
    fail_if: Annotated[
        list[str] | None,
        typer.Option(help="slower:2%, or of a stage vision.slower:5%, any number of times. Exit code 3 if so; other slowness is none."),
    ] = None,
    require_speedup: Annotated[bool, typer.Option("--require-speedup", help="Exit code 3 if both are equally fast.")] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="A difference that may be between the machines of two results, such as torch or driver, any number of times."),
    ] = None,
    options: Options,
) -> None:
    """Run two variants in turn on the same work, and say with an interval how much faster one is.

    Leaves a folder with result.json, the raw runs, verdict.json, report.md and one trace per variant, to open in
    https://ui.perfetto.dev. Exit codes: 0 faster or the same, 3 slower or a demand not met, 4 inconclusive, 5 the outputs differ,
    6 invalid; 2 wrong input, 1 a fault of evbench.
    """
    sides: dict[Role, Variant | tuple[Result, VariantResult]] = {
        "baseline": _side(baseline, "baseline"),
        "optimized": _side(optimized, "optimized"),
    }
    fresh = {role: side for role, side in sides.items() if isinstance(side, Variant)}
    found = {role: side for role, side in sides.items() if not isinstance(side, Variant)}
    _session(fresh, compare.earlier(found, allow or ()), options, fail_if or (), require_speedup, allow or ())


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
    _session({"baseline": variants.parse(variant)}, compare.Earlier(), options)


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
        screen.print(to_rich(table, numbers=False))
    screen.print("Change one choice of a variant with name+part=choice, such as baseline+attention=eager.")


@app.command("frames")
def frames_command(
    file: Annotated[Path, typer.Argument(help="A video file.")],
    frame_policy: Annotated[
        str, typer.Option(help="inclusive: evenly spaced, first and last frame included. stride: every n/count-th frame, never the last.")
    ] = "inclusive",
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many frames are picked.")] = workload.VIDEO_FRAMES,
    decoder: Annotated[
        list[str] | None, typer.Option(help="plain, threaded, or dali, any number of times. Default: all that run here.")
    ] = None,
) -> None:
    """Show which frames of a clip the decoders pick, and whether they return the same ones.

    Exit codes: 0 all agree, 5 decoders return different frames, 2 the file cannot be used.
    """
    found = frames.compare(file, count, frame_policy, frames.choose_decoders(decoder or ()))
    screen.print(to_rich(found.facts, numbers=False))
    screen.print(to_rich(found.picks, numbers=False))
    for told in (*found.refusals, *(f"DIFFERENT: {difference}" for difference in found.differences)):
        _tell(printable(told))
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

    order = dataset.Order(folder, seed, count, seconds, *_size(size))
    try:
        dataset.open_folder(order)
        with _progress() as progress:
            progress.step("scenes", 0, count)
            with closing(dataset.make(order, workers or machine.cores())) as made:
                for done in made:
                    progress.step("scenes", done, count)
    except KeyboardInterrupt:
        _complain(f"interrupted; the scenes that are done are in {folder / INDEX}")
        raise typer.Exit(130) from None
    _tell(f"Written to {folder}: {INDEX}, mp4, events, event_images")


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
    _tell(f"Written to {out}")


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


def _side(text: str, role: Role) -> Variant | tuple[Result, VariantResult]:
    """A variant by name, or one side of an earlier result by path."""
    if text.partition("+")[0] in variants.VARIANTS or not (Path(text).exists() or "/" in text or text.endswith(".json")):
        return variants.parse(text)
    found = results.read(Path(text))
    return found, found.variants().get(role, found.baseline)


def _finite(option: str, value: float) -> float:
    if not math.isfinite(value):
        raise UserError(f"{option} {value} is no number of seconds; give one")
    return value


def _percent(option: str, text: str) -> float:
    """`1%` -> 0.01. Raises UserError."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / 100
    except ValueError:
        value = 0.0
    if not (text.strip().endswith("%") and 0 < value < 1):
        raise UserError(f"{option} {text!r} is no share between 0 and 100 %; write it such as 1%")
    return value


def _session(
    fresh: dict[Role, Variant],
    earlier: compare.Earlier,
    options: Options,
    fail_if: Sequence[str] = (),
    require_speedup: bool = False,
    allow: Sequence[str] = (),
) -> None:
    """Measure what has to be measured, print the report, and exit with the code of its verdict."""
    if not fresh:
        _refuse_idle(options)
    asked = options.workload() if fresh else earlier.sides["baseline"].workload
    for side in earlier.sides.values():
        session.require_same_workload(side.workload, asked)
    plan = _plan(fresh, asked, options) if fresh else earlier.sessions[0].plan
    demands.read(options.target or (), fail_if, asked.model)
    here = machine.read(asked.device)
    floor = floors.find(here, asked)
    smallest = (floor.smallest if floor else {}) if fresh else earlier.smallest
    rules = Rules(smallest, tuple(fail_if), tuple(options.target or ()), require_speedup, tuple(allow))
    now = _now()
    folder = _folder(options, now, asked.model)
    command = shlex.join(["evbench", *sys.argv[1:]])
    order = compare.Asked(fresh, earlier, asked, plan, rules, folder, now, command, options.resume, options.wait)
    result = _carry_out(order)
    screen.print(to_console(report.describe(result)))
    traces = [side.trace.file for side in result.variants().values() if side.trace is not None]
    raw = ["runs.jsonl"] if fresh else []
    _tell(f"Written to {folder}: {', '.join(['report.md', 'verdict.json', 'result.json', *raw, *traces])}")
    raise typer.Exit(judge(result).exit_code)


def _plan(fresh: dict[Role, Variant], asked: Workload, options: Options) -> Plan:
    """Raises UserError if a variant lacks something here, or the weights cannot fit."""
    for variant in fresh.values():
        machine.require(variant, asked.model, asked.device)
    if options.order not in ("auto", "in-turn", "reload"):
        raise UserError(f"unknown --order {options.order!r}; {variants.nearest(options.order, ['auto', 'in-turn', 'reload'])}")
    return options.plan(asked, len(fresh))


def _now() -> str:
    """To the microsecond: it names a session, and two may begin in the same second."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _folder(options: Options, now: str, model: str) -> Path:
    if options.resume and options.out is None:
        raise UserError("--resume goes on with the session in --out, which is not given; give its folder")
    return options.out or Path("profiles", f"{now.partition('.')[0].replace(':', '-')}-{model}")


def _carry_out(order: compare.Asked) -> Result:
    try:
        with _progress() as progress:
            return compare.carry_out(order, progress)
    except KeyboardInterrupt:
        _complain(f"interrupted; the runs that ended are in {order.folder / 'runs.jsonl'}. {_how_to_go_on(order)}")
        raise typer.Exit(130) from None
    except WorkerDied as error:
        _complain(f"{error}. {_how_to_go_on(order)}")
        raise typer.Exit(1) from None


def _how_to_go_on(order: compare.Asked) -> str:
    return f"To go on, give the same command with --out {shlex.quote(str(order.folder))} --resume"


@app.command("selftest")
@with_options
def selftest_command(
    *,
    variant: Annotated[
        str | None, typer.Option(help="The variant that is compared with itself: baseline; or that faults are planted into: optimized.")
    ] = None,
    repetitions: Annotated[int, typer.Option(min=1, max=10_000, help="Comparisons, each of --blocks blocks.")] = 20,
    plant: Annotated[
        str | None,
        typer.Option(help="Make a stage of one side slower, such as vision:2%; it must be found there and nowhere else."),
    ] = None,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Instead: plant faults into a variant, one at a time; the output checks must find each.")
    ] = False,
    options: Options,
) -> None:
    """Compare a variant with itself: how often a difference is found that is not there, and how large (the noise floor).

    What it measures is kept, and later comparisons of such work on this machine claim nothing below it. Exit code 6 if it fails.
    """
    if options.target or options.precision:
        raise UserError("selftest takes no --target and no --precision; leave it out")
    if mutants:
        _mutants(variants.parse(variant or "optimized"), options, plant)
    delay = None if plant is None else _delay(plant)
    asked, chosen = options.workload(), variants.parse(variant or "baseline")
    sides: dict[Role, Variant] = {"baseline": chosen, "optimized": chosen}
    plan = _plan(sides, asked, options)
    if plan.blocks < FEWEST_BLOCKS:
        raise UserError(f"--blocks {plan.blocks} are too few for any interval; give {FEWEST_BLOCKS} at least")
    now = _now()
    folder = _folder(options, now, f"{asked.model}-selftest")
    plan_of_all = dataclasses.replace(plan, blocks=plan.blocks * repetitions, starts=plan.starts * repetitions)
    rules = Rules({}, (), (), False, ())
    command = shlex.join(["evbench", *sys.argv[1:]])
    delays: dict[Role, Delay] = {} if delay is None else {"optimized": delay}
    result = _carry_out(
        compare.Asked(sides, compare.Earlier(), asked, plan_of_all, rules, folder, now, command, options.resume, options.wait, delays)
    )
    if delay is not None:
        stages = selftest.look_for_planted(judge(result))
        found = selftest.planted_table(stages)
        passed, told = selftest.find_planted(stages, delay)
    else:
        test = selftest.assess(judge(result), selftest.repetitions(result, plan.blocks))
        found, passed, told = selftest.table(test), test.passed, test.told
    screen.print(to_rich(found, numbers=True))
    write_whole(folder / "selftest.md", selftest.to_markdown(found, passed, told, now, command))
    if delay is None and repetitions < selftest.LEAST_REPETITIONS:
        _tell(f"Not kept: fewer than {selftest.LEAST_REPETITIONS} repetitions say nothing of what happens once in twenty times")
    elif delay is None and test.comparable:
        measured = result.sessions[0].machine
        floors.keep(floors.Floor(now, floors.place(measured), floors.work(asked), selftest.floors(test)))
        _tell(f"Kept in {floors.path()}: comparisons of {floors.work(asked)} on this machine claim nothing below these floors")
    _tell(f"{'Passed' if passed else 'FAILED'}: {printable(told)}")
    _tell(f"Written to {folder}: selftest.md, report.md, verdict.json, result.json, runs.jsonl")
    raise typer.Exit(0 if passed else 6)


def _mutants(variant: Variant, options: Options, plant: str | None) -> NoReturn:
    """Try all faults and all equal computations, print the table, and exit."""
    if plant is not None:
        raise UserError("--mutants and --plant exclude each other: the one is of outputs, the other of times; give one of them")
    if options.resume:
        raise UserError("--mutants begins anew each time: --resume would have no effect; leave it out")
    mutation.require_mutable(variant)
    asked = options.workload()
    if len(asked.samples) < 2:
        given = options.video or options.events or options.data
        if given:
            raise UserError("--mutants exchanges the answers of two samples, and one is given; give two, or none for those of evbench")
        video, events = [sample.CLIP, sample.OTHER_CLIP], [sample.EVENTS, sample.OTHER_EVENTS]
        pair = dataclasses.replace(options, video=video) if asked.model == "video-llava" else dataclasses.replace(options, events=events)
        asked = pair.workload()
    machine.require(variant, asked.model, asked.device)
    plan, now = options.plan(asked, 1), _now()
    folder = _folder(options, now, f"{asked.model}-mutants")
    cases = mutation.cases(variant, asked.model, lambda one: not machine.obstacles(one, asked.model, asked.device))
    tried: list[mutation.Outcome] = []
    try:
        with journal.writing(folder), _progress() as progress:
            journal.make_folder(folder)
            with compare.laboratory(asked, plan, folder, options.wait, progress) as laboratory:
                for outcome in mutation.try_all(cases, laboratory):
                    tried.append(outcome)
                    write_whole(folder / "mutants.json", mutation.to_json(tried))
    except KeyboardInterrupt:
        _complain(f"interrupted; the {len(tried)} of {len(cases)} that were tried are in {folder / 'mutants.json'}")
        raise typer.Exit(130) from None
    except WorkerDied as error:
        _complain(str(error))
        raise typer.Exit(1) from None
    screen.print(to_rich(mutation.table(tried), numbers=False))
    write_whole(folder / "mutants.md", mutation.to_markdown(tried, asked, now, shlex.join(["evbench", *sys.argv[1:]])))
    right = all(outcome.right for outcome in tried)
    _tell(f"{'Passed' if right else 'FAILED'}: {mutation.told(tried)}")
    _tell(f"Written to {folder}: mutants.md, mutants.json")
    raise typer.Exit(0 if right else 6)


def _delay(text: str) -> Delay:
    """`vision:2%`. Raises UserError."""
    stage, colon, share = text.partition(":")
    if stage not in STAGES or not colon:
        raise UserError(f"--plant {text!r} names no stage and share; write it such as vision:2%. Stages are {', '.join(STAGES)}")
    return Delay(stage, _percent("--plant", share))


def _refuse_idle(options: Options) -> None:
    """Raises UserError for an option that has no effect because nothing is run."""
    heeded = ("out", "target")
    idle = [
        field.name for field in dataclasses.fields(Options) if field.name not in heeded and getattr(options, field.name) != field.default
    ]
    if idle:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise UserError(f"both sides are earlier results, nothing is run: {told} would have no effect; leave it out")


class Telling:
    """Tells of progress, where no terminal shows a bar: one line for each kind of step and each tenth of the way."""

    def __init__(self) -> None:
        self._told: set[tuple[str, int]] = set()

    def step(self, doing: str, done: int, of: int) -> None:
        kind = doing.rstrip("0123456789 ")
        if (kind, 10 * done // of) not in self._told:
            self._told.add((kind, 10 * done // of))
            errors.print(f"[{done}/{of}] {kind}", highlight=False, markup=False)

    def say(self, text: str) -> None:
        errors.print(f"evbench: {text}", highlight=False, markup=False, soft_wrap=True)


class Bar(Telling):
    """The same with a live bar."""

    def __init__(self, bar: Progress) -> None:
        super().__init__()
        self._bar, self._task = bar, bar.add_task("", total=None)

    def step(self, doing: str, done: int, of: int) -> None:
        self._bar.update(self._task, description=doing, completed=done, total=of)


@contextmanager
def _progress() -> Iterator[Telling]:
    """A live bar on a terminal; elsewhere lines."""
    if not errors.is_terminal:
        yield Telling()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        yield Bar(bar)


def _tell(text: str) -> None:
    screen.print(text, highlight=False, markup=False, soft_wrap=True)


def _complain(message: str) -> None:
    errors.print(f"evbench: {message}", style="red", highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """Entry point. Exit codes: those of the verdict, 1 a fault of evbench, 2 wrong input or options, 130 interrupted."""
    try:
        app()
    except UserError as error:
        _complain(str(error))
        raise SystemExit(2) from None
    except OSError as error:  # what the file system says of a path that the user gave
        _complain(f"{error.filename or 'file system'}: {error.strerror}; give a path that can be read")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
