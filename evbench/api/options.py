"""The options of a measurement: what is run, and how much of it. Each field is an option of the command line, too."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict, cast

from evbench.errors import UserError
from evbench.inputs import workload as workloads
from evbench.pipelines.registry import DEFAULT_MODEL, MODELS
from evbench.results import Plan, RunOrder, Workload
from evbench.session import memory_fit

BLOCKS: dict[RunOrder, int] = {"interleaved": 12, "reload": 6}
WARMUP_SECONDS = 120.0
FRAME_POLICY = "inclusive"


@dataclass(frozen=True)
class Option:
    """How an option appears on the command line."""

    help: str
    min: float | None = None
    max: float | None = None
    flag: bool = False
    """Whether it takes no value, and only `--name` exists. Else a bool has `--no-name`, too."""


@dataclass(frozen=True)
class Options:
    """The workload, and the plan by which it is measured."""

    model: Annotated[str, Option(f"{' or '.join(MODELS)}.")] = DEFAULT_MODEL
    preset: Annotated[str | None, Option("small: trained on street scenes (default). tiny, 7b: random weights.")] = None
    weights: Annotated[Path | None, Option("A local Hugging Face checkpoint folder, instead of a preset.")] = None
    video: Annotated[
        list[Path] | None, Option("A video file for video-llava; can be given several times. Default: a scene that evbench carries.")
    ] = None
    events: Annotated[
        list[Path] | None,
        Option(
            "For eventgpt: a folder of event images (PNG), or a file of raw events (.npz, .npy, .h5 as in DSEC, .aedat4, .raw, .dat); "
            "can be given several times. Default: event images of the scene that evbench carries."
        ),
    ] = None
    event_window: Annotated[
        str | None, Option("START:LENGTH of the raw events to use, after the first one, such as 0:50ms. Default: all.")
    ] = None
    event_limit: Annotated[
        str | None,
        Option("Refuse raw events that span this time or more, as the released code does: 100ms (default), another time, or none."),
    ] = None
    event_size: Annotated[
        str | None,
        Option(
            "Size of the event images that are rendered from raw events. own: as large as each one needs (default). sensor: the camera's."
        ),
    ] = None
    data: Annotated[Path | None, Option("All scenes of a folder that evbench scenes make has written, instead of --video or --events.")] = (
        None
    )
    raw_events: Annotated[bool, Option("Use the raw events of the scenes in --data, not their event images. For eventgpt.", flag=True)] = (
        False
    )
    limit: Annotated[int | None, Option("Use only this many scenes of --data, from the first.", min=1)] = None
    frame_policy: Annotated[
        str, Option("inclusive: evenly spaced, first and last frame included. stride: every n/8-th frame, never the last.")
    ] = FRAME_POLICY
    prompt: Annotated[
        str, Option("The question to the model. The small models know this one, and: Describe in detail what happened in the scene.")
    ] = workloads.QUESTION
    new_tokens: Annotated[int, Option("Tokens to generate, the same number on both sides.", min=1, max=1024)] = 72
    stop_at_end: Annotated[bool, Option("Let the end-of-text token end an answer early, on both sides.", flag=True)] = False
    device: Annotated[str, Option("cuda, cpu, or auto: the GPU if there is one.")] = "auto"
    dtype: Annotated[str | None, Option("Type to compute in: bfloat16 (default on a GPU) or float32 (default on a CPU).")] = None
    seed: Annotated[int | None, Option("Seed of random weights. Default: 0.", min=0, max=2**63 - 1)] = None
    blocks: Annotated[
        int | None, Option("Blocks ABBA or BAAB, of 8 runs. Default: 12, or one for each sample if there are more.", min=1, max=100_000)
    ] = None
    invocations: Annotated[
        int, Option("Restarts of the workers over which the blocks are spread: processes are not equally fast.", min=1, max=10_000)
    ] = 4
    precision: Annotated[str | None, Option("Add blocks until the half-width of the interval is below this share, such as 1%.")] = None
    max_time: Annotated[float, Option("For --precision: add no block after this many seconds of timed runs.", min=0)] = 600
    warmup: Annotated[int, Option("The most warm-up runs of each variant, until it is steady: 5 or more; 120 s at most.", min=0)] = 30
    order: Annotated[
        str,
        Option("interleaved: both workers stay alive. reload: one at a time, restarted for each block. auto: interleaved if both fit."),
    ] = "auto"
    cold_files: Annotated[bool, Option("Drop the input from the page cache before each run.", flag=True)] = False
    cold_compile: Annotated[bool, Option("Start with empty compile caches.", flag=True)] = False
    throughput: Annotated[
        int,
        Option(
            "Also measure throughput: in each block, run this many samples back to back, loaded as the variant has it. 0: no.",
            min=0,
            max=1000,
        ),
    ] = 0
    trace_tokens: Annotated[int, Option("Tokens to generate in the run that is traced. 0: no trace.", min=0)] = 16
    modules: Annotated[bool, Option("Add a range for each module of the model to the traces.", flag=True)] = False

    def workload(self) -> Workload:
        """Raises UserError if the options contradict each other, have no effect, or the input cannot be used."""
        model = MODELS.get(self.model)
        if model is not None and "video" not in model.kinds and self.frame_policy != FRAME_POLICY:
            reason = f"--frame-policy is of the frames of a video, and --model {self.model} takes none"
            raise UserError(f"{reason}: it would have no effect; leave it out")
        return workloads.describe(
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
            raw_events=self.raw_events,
            event_window=self.event_window,
            event_limit=self.event_limit,
            event_size=self.event_size,
        )

    def plan(self, workloads: Sequence[Workload]) -> Plan:
        """The plan for one worker of each workload. Raises UserError if the workers do not fit into memory."""
        order = memory_fit.choose_order(self.order, workloads)
        return Plan(
            order=order,
            blocks=self.blocks or max(len(workloads[0].samples), BLOCKS[order]),
            invocations=self.invocations,
            precision=None if self.precision is None else percent("--precision", self.precision),
            max_seconds=finite("--max-time", self.max_time),
            warmup_runs=self.warmup,
            warmup_seconds=WARMUP_SECONDS,
            trace_tokens=self.trace_tokens,
            trace_modules=self.modules,
            cold_files=self.cold_files,
            cold_compile=self.cold_compile,
            throughput=self.throughput,
        )

    def keywords(self) -> Keywords:
        """All of them, as `evbench.compare` takes them."""
        return cast(Keywords, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


class Keywords(TypedDict, total=False):
    """`Options` as keyword arguments."""

    model: str
    preset: str | None
    weights: Path | None
    video: list[Path] | None
    events: list[Path] | None
    event_window: str | None
    event_limit: str | None
    event_size: str | None
    data: Path | None
    raw_events: bool
    limit: int | None
    frame_policy: str
    prompt: str
    new_tokens: int
    stop_at_end: bool
    device: str
    dtype: str | None
    seed: int | None
    blocks: int | None
    invocations: int
    precision: str | None
    max_time: float
    warmup: int
    order: str
    cold_files: bool
    cold_compile: bool
    throughput: int
    trace_tokens: int
    modules: bool


OF_WORKLOAD = (
    "model", "preset", "weights", "video", "events", "event_window", "event_limit", "event_size", "data", "raw_events", "limit",
    "frame_policy", "prompt", "new_tokens", "stop_at_end", "device", "dtype", "seed",
)  # fmt: skip
"""Options that describe the workload. All others are of the plan."""


def finite(option: str, value: float) -> float:
    """Raises UserError if the option is no number of seconds."""
    if not math.isfinite(value):
        raise UserError(f"{option} {value} is no number of seconds; give one")
    return value


def percent(option: str, text: str) -> float:
    """`1%` -> 0.01. Raises UserError."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / 100
    except ValueError:
        value = 0.0
    if not (text.strip().endswith("%") and 0 < value < 1):
        raise UserError(f"{option} {text!r} is no share between 0 and 100 %; write it such as 1%")
    return value
