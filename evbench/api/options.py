"""The options of a measurement: what is run, and how much of it. Each field is an option of the command line, too."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast, get_args, get_type_hints

from evbench.api.option import Option, name_of
from evbench.errors import UserError, nearest
from evbench.inputs import workload as workloads
from evbench.inputs.listing import Selection
from evbench.pipelines.registry import DEFAULT_MODEL, KINDS, MODELS
from evbench.plugins.use import model_of_pipeline, require_another_file, use, use_pipeline
from evbench.results import DEADLINE, Plan, RunOrder, Workload
from evbench.session import memory_fit

BLOCKS: dict[RunOrder, int] = {"interleaved": 12, "reload": 6}
INVOCATIONS = 4
MAX_SECONDS = 600.0
WARMUP_SECONDS = 120.0
FRAME_POLICY = "inclusive"
OF_VIDEO: dict[str, object] = {"frames": None, "frame_policy": FRAME_POLICY}
"""Options of the frames of a video -> their defaults."""
FORMER_OPTIONS = {"starts": "invocations", "limit": "samples"}
"""Options that were renamed -> what they are called now."""
MODEL, INPUT, MEASURING, TRACE = "Model", "Input", "Measuring", "Trace"
"""Groups of options, in the help of a command."""


@dataclass(frozen=True)
class Options:
    """The workload, and the plan by which it is measured.

    Raises:
        UserError: a value is of another type, or out of its range.
    """

    model: Annotated[str, Option(f"{' or '.join(MODELS)}.", group=MODEL)] = DEFAULT_MODEL
    preset: Annotated[
        str | None,
        Option("small: trained (default). 7b: the same, grown to full size. tiny, 7b-random: random.", group=MODEL),
    ] = None
    weights: Annotated[Path | None, Option("A local Hugging Face checkpoint folder, instead of a preset.", group=MODEL)] = None
    plugin: Annotated[
        list[Path] | None,
        Option(
            "A Python file with choices of your own, or the name of an installed one (entry point evbench.plugins); can be given several "
            "times. See docs/your-own.md.",
            group=MODEL,
        ),
    ] = None
    pipeline: Annotated[
        str | None,
        Option("A class of your own with the four stages, such as mine.py:MyPipeline, whose variants are compared.", group=MODEL),
    ] = None
    video: Annotated[
        list[Path] | None,
        Option("A video file for video-llava; can be given several times. Default: a scene that evbench carries.", group=INPUT),
    ] = None
    events: Annotated[
        list[Path] | None,
        Option(
            "For eventgpt: a folder of event images (PNG), or a file of raw events (.npz, .npy, .h5 as in DSEC, .aedat4, .raw, .dat); "
            "can be given several times. Default: event images of the scene that evbench carries.",
            group=INPUT,
        ),
    ] = None
    event_window: Annotated[
        str | None, Option("START:LENGTH of the raw events to use, after the first one, such as 0:50ms. Default: all.", group=INPUT)
    ] = None
    event_limit: Annotated[
        str | None,
        Option(
            "Refuse raw events that span this time or more, as the released code does: 100ms (default), another time, or none.", group=INPUT
        ),
    ] = None
    event_size: Annotated[
        str | None,
        Option(
            "Size of the event images that are rendered from raw events. own: as large as each one needs (default). sensor: the camera's.",
            group=INPUT,
        ),
    ] = None
    data: Annotated[
        Path | None,
        Option(
            "All samples of a folder, instead of --video or --events: scenes of evbench scenes make, clips, event files, or what a list in "
            "JSON names. See docs/many-samples.md.",
            group=INPUT,
        ),
    ] = None
    raw_events: Annotated[
        bool, Option("Use the raw events of the samples in --data, not their event images. For eventgpt.", flag=True, group=INPUT)
    ] = False
    split: Annotated[str | None, Option("Use only the samples of --data whose split this is in its list, such as test.", group=INPUT)] = (
        None
    )
    samples: Annotated[
        int | None, Option("Use only this many samples of --data: the first, or by --shuffle-seed a choice by chance.", min=1, group=INPUT)
    ] = None
    shuffle_seed: Annotated[
        int | None, Option("Seed of the choice of --samples: the same one chooses the same again.", min=0, max=2**63 - 1, group=INPUT)
    ] = None
    frames: Annotated[int | None, Option("Frames of a video that the model gets. Default: 8.", min=1, max=1024, group=INPUT)] = None
    frame_policy: Annotated[
        str,
        Option(
            "inclusive: evenly spaced, first and last frame included. stride: every n/frames-th of n frames, never the last.", group=INPUT
        ),
    ] = FRAME_POLICY
    prompt: Annotated[
        str,
        Option(
            "The question to the model. The small models know this one, and: Describe in detail what happened in the scene.", group=INPUT
        ),
    ] = workloads.QUESTION
    new_tokens: Annotated[int, Option("Tokens to generate, the same number on both sides.", min=1, max=1024, group=INPUT)] = 72
    batch: Annotated[
        int,
        Option("Samples that go through the stages together; fewer than that are repeated.", min=1, max=1024, group=INPUT),
    ] = 1
    stop_at_end: Annotated[bool, Option("Let the end-of-text token end an answer early, on both sides.", flag=True, group=INPUT)] = False
    device: Annotated[str, Option("cuda, cpu, or auto: the GPU if there is one.", group=MODEL)] = "auto"
    dtype: Annotated[str | None, Option("Type to compute in: bfloat16 (default on a GPU) or float32 (default on a CPU).", group=MODEL)] = (
        None
    )
    seed: Annotated[int | None, Option("Seed of random weights. Default: 0.", min=0, max=2**63 - 1, group=MODEL)] = None
    blocks: Annotated[
        int | None,
        Option(
            "Blocks ABBA or BAAB, of 8 runs. Default: 12, or one for each sample if there are more.", min=1, max=10_000, group=MEASURING
        ),
    ] = None
    invocations: Annotated[
        int | None,
        Option(
            "Restarts of the workers over which the blocks are spread: processes are not equally fast. Default: 4.",
            min=1,
            max=10_000,
            group=MEASURING,
        ),
    ] = None
    precision: Annotated[
        str | None, Option("Add blocks until the half-width of the interval is below this share, such as 1%.", group=MEASURING)
    ] = None
    max_time: Annotated[
        float | None, Option("For --precision: add no block after this many seconds of timed runs. Default: 600.", min=0, group=MEASURING)
    ] = None
    warmup: Annotated[
        int, Option("The most warm-up runs of each variant, until it is steady: 5 or more; 120 s at most.", min=0, group=MEASURING)
    ] = 30
    order: Annotated[
        str,
        Option(
            "interleaved: both workers stay alive. reload: one at a time, restarted for each block. auto: interleaved if both fit.",
            group=MEASURING,
        ),
    ] = "auto"
    cold_files: Annotated[bool, Option("Drop the input from the page cache before each run.", flag=True, group=MEASURING)] = False
    cold_compile: Annotated[bool, Option("Start with empty compile caches.", flag=True, group=MEASURING)] = False
    throughput: Annotated[
        int,
        Option(
            "Also measure throughput: in each block, run this many samples back to back, loaded as the variant has it. 0: no.",
            min=0,
            max=1000,
            group=MEASURING,
        ),
    ] = 0
    deadline: Annotated[
        float,
        Option("End a worker that gives no answer for so many seconds, as one whose decoder hangs.", min=1, max=10**6, group=MEASURING),
    ] = DEADLINE
    trace_tokens: Annotated[int, Option("Tokens to generate in the run that is traced. 0: no trace.", min=0, group=TRACE)] = 16
    modules: Annotated[bool, Option("Add a range for each module of the model to the traces.", flag=True, group=TRACE)] = False

    def __post_init__(self) -> None:
        for name, (kind, option) in _declared().items():
            option.require(name_of(name), kind, getattr(self, name))

    def workload(self) -> Workload:
        """Raises UserError if the options contradict each other, have no effect, or the input cannot be used."""
        self._refuse_frames_of_no_video()
        return workloads.describe(
            model=self.model if self.pipeline is None else model_of_pipeline(self.pipeline, self.model),
            preset=self.preset,
            weights=self.weights,
            videos=self.video or (),
            events_folders=self.events or (),
            data=self.data,
            selection=Selection(self.split, self.samples, self.shuffle_seed),
            frames=self.frames,
            frame_policy=self.frame_policy,
            prompt=self.prompt,
            new_tokens=self.new_tokens,
            stop_at_end=self.stop_at_end,
            batch=self.batch,
            device=self.device,
            dtype=self.dtype,
            seed=self.seed,
            raw_events=self.raw_events,
            event_window=self.event_window,
            event_limit=self.event_limit,
            event_size=self.event_size,
        )

    def plan(self, workloads: Sequence[Workload], drafters: Sequence[Workload | None] = ()) -> Plan:
        """The plan for one worker of each workload. `drafters`: see evbench.session.memory_fit.choose_order.

        Raises:
            UserError: an option has no effect, or the workers do not fit into memory.
        """
        self._refuse_idle()
        order = memory_fit.choose_order(self.order, workloads, drafters)
        return Plan(
            order=order,
            blocks=self.blocks or max(len(workloads[0].samples), BLOCKS[order]),
            invocations=INVOCATIONS if self.invocations is None else self.invocations,
            precision=None if self.precision is None else percent("--precision", self.precision),
            max_seconds=MAX_SECONDS if self.max_time is None else float(self.max_time),
            warmup_runs=self.warmup,
            warmup_seconds=WARMUP_SECONDS,
            trace_tokens=self.trace_tokens,
            trace_modules=self.modules,
            cold_files=self.cold_files,
            cold_compile=self.cold_compile,
            throughput=self.throughput,
            deadline_seconds=float(self.deadline),
        )

    def _refuse_frames_of_no_video(self) -> None:
        model = MODELS.get(self.model)
        given = [name for name in OF_VIDEO if getattr(self, name) != OF_VIDEO[name]]
        if model is not None and "video" not in model.kinds and given:
            reason = f"{name_of(given[0])} is of the frames of a video, and --model {self.model} takes {KINDS[model.kinds[0]].title}"
            raise UserError(f"{reason}: it would have no effect; leave it out")

    def _refuse_idle(self) -> None:
        idle = {
            "--max-time is of the blocks that --precision adds, which is not given": self.max_time is not None and self.precision is None,
            "--modules is of the trace, and --trace-tokens 0 records none": self.modules and self.trace_tokens == 0,
            "--invocations is of workers that stay alive, and --order reload restarts them for each block": (
                self.invocations is not None and self.order == "reload"
            ),
        }
        if reason := next((reason for reason, given in idle.items() if given), None):
            raise UserError(f"{reason}: it would have no effect; leave it out")

    def keywords(self) -> Keywords:
        """All of them, as `evbench.compare` takes them."""
        return cast(Keywords, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


class Keywords(TypedDict, total=False):
    """`Options` as keyword arguments."""

    model: str
    preset: str | None
    weights: Path | None
    plugin: list[Path] | None
    pipeline: str | None
    video: list[Path] | None
    events: list[Path] | None
    event_window: str | None
    event_limit: str | None
    event_size: str | None
    data: Path | None
    raw_events: bool
    split: str | None
    samples: int | None
    shuffle_seed: int | None
    frames: int | None
    frame_policy: str
    prompt: str
    new_tokens: int
    batch: int
    stop_at_end: bool
    device: str
    dtype: str | None
    seed: int | None
    blocks: int | None
    invocations: int | None
    precision: str | None
    max_time: float | None
    warmup: int
    order: str
    cold_files: bool
    cold_compile: bool
    throughput: int
    deadline: float
    trace_tokens: int
    modules: bool


OF_WORKLOAD = (
    "model", "preset", "weights", "video", "events", "event_window", "event_limit", "event_size", "data", "raw_events", "split",
    "samples", "shuffle_seed", "frames", "frame_policy", "prompt", "new_tokens", "batch", "stop_at_end", "device", "dtype", "seed",
)  # fmt: skip
"""Options that describe the workload. All others are of the plan."""


@functools.cache
def _declared() -> dict[str, tuple[Any, Option]]:
    """Name of each field of Options -> its type, and what is declared of it."""
    hints = get_type_hints(Options, include_extras=True)
    return {name: (kind, option) for name, hint in hints.items() for kind, option in [get_args(hint)]}


def read(keywords: Keywords) -> Options:
    """Raises UserError for an unknown option, and for a value that cannot be."""
    known = [field.name for field in dataclasses.fields(Options)]
    for name in keywords:
        if name in FORMER_OPTIONS:
            raise UserError(f"unknown option {name!r}; it is now called {FORMER_OPTIONS[name]}")
        if name not in known:
            raise UserError(f"unknown option {name!r}; {nearest(name, known)}")
    return Options(**keywords)


def use_given(options: Options) -> None:
    """Make what files of somebody else's hold known, before variants are named. Raises UserError."""
    if options.pipeline is not None:
        require_another_file(options.pipeline, options.plugin or ())
    use(options.plugin or ())
    if options.pipeline is not None:
        use_pipeline(options.pipeline)


def percent(option: str, text: str) -> float:
    """`1%` -> 0.01. Raises UserError."""
    value = share(text)
    if value is None:
        raise UserError(f"{option} {text!r} is no share between 0 and 100 %; write it such as 1%")
    return value


def share(text: str) -> float | None:
    """`1%` -> 0.01. None for what is no share between 0 and 100 %."""
    try:
        value = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        return None
    return value if text.strip().endswith("%") and 0 < value < 1 else None
