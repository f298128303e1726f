"""What the commands that measure are told on the command line, and what they make of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from evbench.errors import UserError
from evbench.inputs import workload as workloads
from evbench.pipelines.registry import MODELS
from evbench.results import Plan, RunOrder, Workload
from evbench.session import memory_fit

BLOCKS: dict[RunOrder, int] = {"in turn": 12, "reload": 6}
WARMUP_SECONDS = 120.0
FRAME_POLICY = "inclusive"


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
        list[Path] | None,
        typer.Option(
            help="For eventgpt, any number of times: a folder of event images (PNG), or a file of raw events "
            "(.npz, .npy, .h5 as in DSEC, .aedat4, .raw, .dat). Default: the same scene's images."
        ),
    ] = None
    event_window: Annotated[
        str | None,
        typer.Option(help="START:LENGTH of the raw events that are taken, behind the first one, such as 0:50ms. Default: all."),
    ] = None
    event_limit: Annotated[
        str | None,
        typer.Option(help="Raw events that span as much are refused, as by the released code: 100ms (default), another time, or none."),
    ] = None
    event_size: Annotated[
        str | None,
        typer.Option(
            help="Of the pictures that are made of raw events. own: as large as each one's need (default). sensor: as the camera's."
        ),
    ] = None
    data: Annotated[Path | None, typer.Option(help="Instead: all scenes of a folder that evbench scenes make has made.")] = None
    raw_events: Annotated[
        bool, typer.Option("--raw-events", help="Of the scenes in --data, for eventgpt: their raw events, not the images made of them.")
    ] = False
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many scenes of --data, from the first.")] = None
    frame_policy: Annotated[
        str, typer.Option(help="inclusive: evenly spaced, first and last frame included. stride: every n/8-th frame, never the last.")
    ] = FRAME_POLICY
    prompt: Annotated[
        str,
        typer.Option(
            help="The question put to the model. The small ones have learnt this, and: Describe in detail what happened in the scene."
        ),
    ] = workloads.QUESTION
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
    invocations: Annotated[
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
            help="Also run so many samples in a row, with each turn in a block, prefetched as the variant has it. 0: none.",
        ),
    ] = 0
    trace_tokens: Annotated[int, typer.Option(min=0, help="Tokens generated in the run that is traced. 0: no trace.")] = 16
    modules: Annotated[
        bool, typer.Option("--modules", help="In traces, also a range for each part of the model, where it is called as such.")
    ] = False
    target: Annotated[
        list[str] | None,
        typer.Option(help="A time to reach, such as 'video-llava.generate<2.5s', any number of times. Exit code 3 if one is missed."),
    ] = None
    out: Annotated[Path | None, typer.Option(help="Folder for results, report and traces. Default: profiles/<time>-<model>.")] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted session in --out; give the same options.")] = False
    wait: Annotated[bool, typer.Option(help="Wait for another evbench on the same device to end, or be refused.")] = True

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
        """`workloads`: of each worker."""
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


def finite(option: str, value: float) -> float:
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
