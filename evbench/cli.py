"""The command line: reads options, calls, prints by `evbench.console`, exits. Nothing else prints or exits."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from evbench import (
    climb,
    compare,
    cores,
    demands,
    floors,
    frames,
    journal,
    ladder,
    ladder_report,
    machine,
    models_report,
    mutation,
    report,
    results,
    sample,
    selftest,
    session,
    side_by_side,
    trace_report,
    variants,
    workload,
)
from evbench.console import Telling, complain, screen, show_progress, tell
from evbench.errors import UserError
from evbench.files import write_whole
from evbench.judge import judge
from evbench.models import ROLES
from evbench.options import FRAME_POLICY, Options, percent, with_options
from evbench.planted import Delay
from evbench.render import printable, to_console, to_rich
from evbench.results import STAGES, Plan, Result, Role, Rules, VariantResult, Workload
from evbench.statistics import FEWEST_BLOCKS
from evbench.traces import breakdown, chrome, completeness, serve
from evbench.traces.completeness import stamp
from evbench.traces.record import Order
from evbench.traces.timeline import Timeline
from evbench.variants import Variant
from evbench.worker import WorkerDied


class Interruptible(TyperGroup):
    """Commands that end with a line also where Ctrl-C comes before or behind their work, such as while input is probed."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _told_if_interrupted():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _told_if_interrupted():
            return super().invoke(ctx)


@contextmanager
def _told_if_interrupted() -> Iterator[None]:
    """Raises typer.Exit, which typer would do without a word."""
    try:
        yield
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(130) from None


app = typer.Typer(
    cls=Interruptible,
    help="Is an optimized video-language model really faster, and does it still say the same?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


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
    obstacles = {}
    for name, variant in variants.VARIANTS.items():
        found = dict(pair for kind in variants.TAKES[model] for pair in machine.obstacles(variant, kind, chosen).items())
        obstacles[name] = machine.tell(variant, {part: found[part] for part in variants.CHOICES if part in found})
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

    order = dataset.Order(folder, seed, count, seconds, *_size(size))
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


def _side(text: str, role: Role) -> Variant | tuple[Result, VariantResult]:
    """A variant by name, or one side of an earlier result by path."""
    if text.partition("+")[0] in variants.VARIANTS or not (Path(text).exists() or "/" in text or text.endswith(".json")):
        return variants.parse(text)
    found = results.read(Path(text))
    return found, found.variants().get(role, found.baseline)


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
        _refuse_idle(options, ("out", "target"), "both sides are earlier results, nothing is run")
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
    order = compare.Asked(fresh, earlier, dict.fromkeys(fresh, asked), plan, rules, folder, now, command, options.resume, options.wait)
    result = _carry_out(order)
    screen.print(to_console(report.describe(result)))
    traces = [side.trace.file for side in result.variants().values() if side.trace is not None]
    traces += result.together
    raw = ["runs.jsonl"] if fresh else []
    tell(f"Written to {folder}: {', '.join(['report.md', 'verdict.json', 'result.json', *raw, *traces])}")
    raise typer.Exit(judge(result).exit_code)


def _plan(fresh: dict[Role, Variant], asked: Workload, options: Options) -> Plan:
    """Raises UserError if a variant lacks something here, or the weights cannot fit."""
    for variant in fresh.values():
        machine.require(variant, asked.kind, asked.device)
    _require_order(options)
    return options.plan([asked] * len(fresh))


def _require_order(options: Options) -> None:
    """Raises UserError if it is unknown."""
    if options.order not in ("auto", "in-turn", "reload"):
        raise UserError(f"unknown --order {options.order!r}; {variants.nearest(options.order, ['auto', 'in-turn', 'reload'])}")


def _now() -> str:
    """To the microsecond: it names a session, and two may begin in the same second."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _folder(options: Options, now: str, model: str) -> Path:
    if options.resume and options.out is None:
        raise UserError("--resume goes on with the session in --out, which is not given; give its folder")
    return options.out or Path("profiles", f"{now.partition('.')[0].replace(':', '-')}-{model}")


def _carry_out(order: compare.Asked) -> Result:
    with _working(lambda: f"the runs that ended are in {order.folder / 'runs.jsonl'}", _how_to_go_on(order.folder)) as progress:
        return compare.carry_out(order, progress)


@contextmanager
def _working(left: Callable[[], str], advice: str = "") -> Iterator[Telling]:
    """Shows progress. What is interrupted, or loses a worker, ends with a line and the exit code of that.

    Args:
        left: what there is after an interruption, as it is then.
        advice: a sentence on what to do about either.
    """
    try:
        with show_progress() as progress:
            yield progress
    except KeyboardInterrupt:
        complain(_sentences(f"interrupted; {left()}", advice))
        raise typer.Exit(130) from None
    except WorkerDied as error:
        complain(_sentences(str(error), advice))
        raise typer.Exit(1) from None


def _sentences(told: str, advice: str) -> str:
    return f"{told}. {advice}" if advice else told


def _how_to_go_on(folder: Path) -> str:
    return f"To go on, give the same command with --out {shlex.quote(str(folder))} --resume"


@app.command("ladder")
@with_options
def ladder_command(
    *,
    lower: Annotated[str, typer.Option("--from", help="The lowest rung: a variant, or one with changed choices.")] = "baseline",
    upper: Annotated[str, typer.Option("--to", help="The top: the same.")] = "optimized",
    leave_one_out: Annotated[bool, typer.Option(help="Also the top against itself with each choice taken back.")] = True,
    fail_if: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    options: Options,
) -> None:
    """Climb from one variant to another, one choice at a time, and say which of the choices pays.

    Each rung is a comparison with the one below, in a folder of its own; then the whole; then the top with each choice taken back.
    Exit code: that of the whole; 1 if a comparison could not be run.
    """
    for name, given in (("--target", options.target), ("--fail-if", fail_if)):
        if given:
            raise UserError(f"ladder takes no {name}, it has many comparisons; leave it out, or give it to evbench compare")
    sides: dict[Role, Variant] = {"baseline": variants.parse(lower), "optimized": variants.parse(upper)}
    asked = options.workload()
    steps = ladder.plan(sides["baseline"], sides["optimized"], asked.kind, leave_one_out)
    plan = _plan(sides, asked, options)
    for variant in (side for step in steps for side in (step.baseline, step.optimized)):
        machine.require(variant, asked.kind, asked.device)
    floor = floors.find(machine.read(asked.device), asked)
    folder = _folder(options, _now(), f"{asked.model}-ladder")
    order = climb.Asked(
        lower=sides["baseline"],
        upper=sides["optimized"],
        steps=steps,
        workload=asked,
        plan=plan,
        smallest=floor.smallest if floor else {},
        folder=folder,
        command=shlex.join(["evbench", *sys.argv[1:]]),
        resume=options.resume,
        wait=options.wait,
        now=_now,
    )
    with _working(lambda: f"the comparisons that ended are told in {folder / climb.TOLD}", _how_to_go_on(folder)) as progress:
        if few := ladder.too_few(steps, asked, plan):
            progress.say(few)
        rungs = climb.climb(order, progress)
    for table in ladder_report.tables(rungs):
        screen.print(to_rich(table, numbers=True))
    for told in (ladder_report.whole_sentence(rungs), *ladder_report.sentences(rungs), *ladder_report.notes(rungs, asked, plan)):
        tell(told)
    tell(f"Written to {folder}: {climb.TOLD}, {climb.RAW}, and a folder for each comparison")
    raise typer.Exit(ladder.exit_code(rungs))


@app.command("compare-models")
@with_options
def compare_models_command(
    *,
    baseline: Annotated[str, typer.Option(help="A model: video-llava or eventgpt.")],
    optimized: Annotated[str, typer.Option(help="The other one. Nothing is claimed of it but how long it takes, and what it says.")],
    variant: Annotated[str | None, typer.Option(help="The variant that both are run as. Default: baseline.")] = None,
    baseline_variant: Annotated[str | None, typer.Option(help="Instead, of the first model.")] = None,
    optimized_variant: Annotated[str | None, typer.Option(help="Instead, of the other.")] = None,
    baseline_weights: Annotated[
        Path | None, typer.Option(help="A local checkpoint folder of the first model, instead of a preset.")
    ] = None,
    optimized_weights: Annotated[Path | None, typer.Option(help="The same of the other.")] = None,
    most_tokens: Annotated[int, typer.Option(min=1, max=1024, help="Of an answer that ends by itself.")] = 256,
    options: Options,
) -> None:
    """Run two models in turn on the same scenes of --data: how many times as long one takes, and where that comes from.

    Twice: both generate --new-tokens tokens; both stop where their answer ends. It is no speedup: the models differ. The report also
    says which statements of a published comparison of the two hold here. Exit codes: 0 measured, 6 invalid; 2 wrong input, 1 a fault
    of evbench.
    """
    _refuse_idle(
        options, IN_MODELS, "compare-models takes its models from --baseline and --optimized, its input from --data, and both lengths"
    )
    if options.data is None:
        raise UserError("compare-models gives both models the same scenes: give --data, a folder that `evbench scenes make` has made")
    if baseline == optimized:
        raise UserError(f"--baseline and --optimized are both {baseline}: give two models; evbench compare compares variants of one")
    _refuse_replaced("--variant", variant, {"--baseline-variant": baseline_variant, "--optimized-variant": optimized_variant})
    _refuse_replaced("--preset", options.preset, {"--baseline-weights": baseline_weights, "--optimized-weights": optimized_weights})
    asked = {
        "baseline": (baseline, baseline_weights, variants.parse(baseline_variant or variant or "baseline")),
        "optimized": (optimized, optimized_weights, variants.parse(optimized_variant or variant or "baseline")),
    }
    workloads: dict[Role, Workload] = {}
    chosen: dict[Role, Variant] = {}
    for role in ROLES:
        model, weights, chosen[role] = asked[role]
        workload.require_model(model, f"--{role}")
        preset = None if weights is not None else options.preset
        of_events = {"raw_events": True, "event_limit": options.event_limit or "none", "frame_policy": FRAME_POLICY}
        of_model: dict[str, Any] = of_events if "events" in variants.TAKES[model] else dict.fromkeys(EVENT_OPTIONS)
        workloads[role] = dataclasses.replace(options, model=model, weights=weights, preset=preset, **of_model).workload()
        machine.require(chosen[role], workloads[role].kind, workloads[role].device)
    _require_order(options)
    plan = dataclasses.replace(options.plan(list(workloads.values())), trace_tokens=0)
    folder = _folder(options, _now(), "models")
    command = shlex.join(["evbench", *sys.argv[1:]])
    order = side_by_side.Asked(chosen, workloads, most_tokens, plan, folder, command, options.resume, options.wait, _now)
    with _working(lambda: f"the runs that ended are in the folders in {folder}", _how_to_go_on(folder)) as progress:
        found = side_by_side.carry_out(order, progress)
    screen.print(to_console(models_report.describe(found.sessions)))
    screen.print(to_rich(models_report.statements(found.sessions), numbers=False))
    raw = ", ".join(models_report.file_names(found.sessions))
    tell(f"Written to {folder}: {side_by_side.TOLD}, {side_by_side.JUDGED}, {side_by_side.RAW}, {raw}")
    raise typer.Exit(side_by_side.judge(found.sessions).exit_code)


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
        compare.Asked(
            sides,
            compare.Earlier(),
            dict.fromkeys(sides, asked),
            plan_of_all,
            rules,
            folder,
            now,
            command,
            options.resume,
            options.wait,
            delays,
        )
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
        tell(f"Not kept: fewer than {selftest.LEAST_REPETITIONS} repetitions say nothing of what happens once in twenty times")
    elif delay is None and test.comparable:
        measured = result.sessions[0].machine
        floors.keep(floors.Floor(now, floors.place(measured), floors.work(asked), selftest.floors(test)))
        tell(f"Kept in {floors.path()}: comparisons of {floors.work(asked)} on this machine claim nothing below these floors")
    tell(f"{'Passed' if passed else 'FAILED'}: {printable(told)}")
    tell(f"Written to {folder}: selftest.md, report.md, verdict.json, result.json, runs.jsonl")
    raise typer.Exit(0 if passed else 6)


EVENT_OPTIONS = ("event_window", "event_limit", "event_size")
IN_MODELS = (
    "preset", "data", "limit", "frame_policy", "prompt", "new_tokens", "device", "dtype", "seed", "blocks", "starts", "precision",
    "max_time", "warmup", "order", "cold_files", "cold_compile", "out", "resume", "wait", *EVENT_OPTIONS,
)  # fmt: skip
"""Options of compare-models."""
MEASURING = ("blocks", "starts", "precision", "max_time", "warmup", "order", "cold_files", "cold_compile", "throughput", "target", "resume")
"""Options of commands that time something."""


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
    chosen, asked = variants.parse(variant), options.workload()
    machine.require(chosen, asked.kind, asked.device)
    folder = options.out or Path("profiles", f"{_now().partition('.')[0].replace(':', '-')}-{asked.model}-trace")
    order = Order(folder / "trace.json.gz", chosen.name, min(options.trace_tokens, asked.new_tokens), asked.new_tokens, options.modules)
    if order.file.exists():
        raise UserError(f"{order.file} is there already; give another --out, or remove it")
    with _working(lambda: "nothing was recorded") as progress:
        traced = compare.trace(chosen, asked, order, options.wait, progress)
    sides = {chosen.name: traced.sections}
    for table in (trace_report.where_the_time_went(sides), trace_report.families(sides)):
        screen.print(to_rich(table, numbers=True))
    tell(f"{report.shortened(traced, asked)}; {traced.slowdown:.2f} times as long as without the profiler")
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
    for table in (trace_report.where_the_time_went(sides), trace_report.families(sides)):
        screen.print(to_rich(table, numbers=True))
    screen.print(to_rich(trace_report.gone_and_new(sides), numbers=False))


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
    machine.require(variant, asked.kind, asked.device)
    plan, now = options.plan([asked]), _now()
    folder = _folder(options, now, f"{asked.model}-mutants")
    cases = mutation.cases(variant, asked.kind, lambda one: not machine.obstacles(one, asked.kind, asked.device))
    tried: list[mutation.Outcome] = []
    working = _working(lambda: f"the {len(tried)} of {len(cases)} that were tried are in {folder / 'mutants.json'}")
    with working as progress, journal.writing(folder):
        journal.make_folder(folder)
        with compare.laboratory(asked, plan, folder, options.wait, progress) as laboratory:
            for outcome in mutation.try_all(cases, laboratory):
                tried.append(outcome)
                write_whole(folder / "mutants.json", mutation.to_json(tried))
    screen.print(to_rich(mutation.table(tried), numbers=False))
    write_whole(folder / "mutants.md", mutation.to_markdown(tried, asked, now, shlex.join(["evbench", *sys.argv[1:]])))
    right = all(outcome.right for outcome in tried)
    tell(f"{'Passed' if right else 'FAILED'}: {mutation.told(tried)}")
    tell(f"Written to {folder}: mutants.md, mutants.json")
    raise typer.Exit(0 if right else 6)


def _delay(text: str) -> Delay:
    """`vision:2%`. Raises UserError."""
    stage, colon, share = text.partition(":")
    if stage not in STAGES or not colon:
        raise UserError(f"--plant {text!r} names no stage and share; write it such as vision:2%. Stages are {', '.join(STAGES)}")
    return Delay(stage, percent("--plant", share))


def _refuse_idle(options: Options, heeded: Sequence[str], why: str) -> None:
    """Raises UserError for an option that has no effect."""
    idle = [
        field.name for field in dataclasses.fields(Options) if field.name not in heeded and getattr(options, field.name) != field.default
    ]
    if idle:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise UserError(f"{why}: {told} would have no effect; leave it out")


def _refuse_replaced(option: str, given: str | None, instead: Mapping[str, object]) -> None:
    """Raises UserError for an option of both sides, if each has another of its own instead."""
    if given is not None and None not in instead.values():
        raise UserError(f"{' and '.join(instead)} stand instead of it: {option} would have no effect; leave it out")


def main() -> None:
    """Entry point. Exit codes: those of the verdict, 1 a fault of evbench, 2 wrong input or options, 130 interrupted."""
    try:
        app()
    except UserError as error:
        complain(printable(str(error)))
        raise SystemExit(2) from None
    except OSError as error:  # what the file system says of a path that the user gave
        complain(f"{printable(str(error.filename or 'file system'))}: {error.strerror}; give a path that can be read")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
