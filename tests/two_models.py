"""Results of two models to test with."""

from __future__ import annotations

import dataclasses
import math
import random
from dataclasses import dataclass, field
from typing import Any, Literal

from evbench.results import (
    FORMAT,
    STAGES,
    Block,
    Build,
    EventWindow,
    InputKind,
    Memory,
    Result,
    Rules,
    Run,
    Sample,
    Session,
    Side,
    SideResult,
    StageRun,
    Work,
    Workload,
)
from evbench.scenes.captions import describe
from evbench.scenes.world import imagine
from evbench.worker.compile_counts import NOTHING
from tests.examples import GREEDY, MACHINE, PLAN, STARTED

WINDOW = EventWindow(0, None, None, "sensor")


@dataclass(frozen=True)
class Model:
    """What one of them takes, in seconds, and says."""

    load: float = 0.1
    preprocess: float = 0.05
    vision: float = 0.08
    prefill: float = 0.2
    token: float = 0.01
    rest: float = 0.002
    """Of generate, before prefill and behind the last token."""
    tokens: int = 41
    stop: Literal["length", "end"] = "end"
    right: bool = True
    """Whether it says what the captions say."""
    saved: float = 0.01
    """By overlap of stages."""
    work: Work = field(default_factory=Work)


VIDEO = Model(work=Work(pixel_shape=(1, 8, 3, 224, 224), visual_tokens=2056, prompt_tokens=2076, dtype="float32"))
EVENTS = Model(
    load=0.05,
    preprocess=0.02,
    vision=0.12,
    prefill=0.06,
    token=0.008,
    tokens=21,
    work=Work(pixel_shape=(5, 3, 336, 336), visual_tokens=582, prompt_tokens=641, dtype="float32"),
)


def workload(model: str, scenes: int = 6, *, own: bool = True, tokens: int = 256, window: EventWindow | None = None) -> Workload:
    colours = model == "video-llava"
    samples = tuple(
        Sample(f"{place}", f"{model}{place}", 4, 6, describe(imagine(1, place), "concise", colours=colours)) for place in range(scenes)
    )
    kind: InputKind = "video" if colours else "event-images" if window is None else "events"
    asked: Any = (model, "tiny", None, samples, 8 if colours else 5, "inclusive", "What?", tokens, own, "cpu", "float32", 0, window)
    return Workload(*asked, kind=kind)


def runs(model: Model, asked: Workload, noise: float, seed: int) -> tuple[Run, ...]:
    """For each scene a block of one run with barriers and one without."""
    draw = random.Random(seed)
    made: list[Run] = []
    for scene, sample in enumerate(asked.samples):
        factor = math.exp(draw.gauss(0, noise))
        tokens = model.tokens if asked.stop_at_end else asked.new_tokens
        generate = model.prefill + model.token * (tokens - 1) + model.rest
        taken = {"load": model.load, "preprocess": model.preprocess, "vision": model.vision, "generate": generate}
        memory = Memory(2**20 * (1 + round(100 * model.vision)), None, None, None, None)
        stages = {stage: StageRun(taken[stage] * factor, None, memory) for stage in STAGES}
        stop = model.stop if asked.stop_at_end else "length"
        work = dataclasses.replace(model.work, new_tokens=tokens, stop=stop)
        text = sample.caption if model.right and sample.caption else "no caption"
        stage_sync = Run("timed", len(made), scene, scene, sum(taken.values()) * factor, stages, model.prefill * factor,
                       (model.token * factor,) * (tokens - 1), NOTHING, None, work, tuple(range(tokens)), text)  # fmt: skip
        free = (sum(taken.values()) - model.saved) * factor
        made += [stage_sync, dataclasses.replace(stage_sync, seconds=free, stages=None, prefill_seconds=None, decode_step_seconds=None)]
    return tuple(made)


def make_models(
    video: Model = VIDEO,
    events: Model = EVENTS,
    *,
    scenes: int = 6,
    own: bool = True,
    tokens: int = 256,
    noise: float = 0.01,
    window: EventWindow | None = WINDOW,
    swapped: bool = False,
    disturbed: int = 0,
) -> Result:
    """Both on the same scenes, in a session of one block for each."""
    made: list[SideResult] = []
    for name, model in (("video-llava", video), ("eventgpt", events)):
        asked = workload(name, scenes, own=own, tokens=tokens, window=window if name == "eventgpt" else None)
        done = runs(model, asked, noise, len(made))
        first = dataclasses.replace(done[0], kind="first", block=None)
        build = Build(1.5, 10, name, 2, {"cuda": None}, 0)
        made.append(SideResult("baseline", {"decode": "plain"}, asked, STARTED, (build,), (), (first, *done), (), None, None, (GREEDY,)))
    blocks = tuple(Block(place, place, 0, "ABBA", ("it was busy",) if place < disturbed else (), (), None) for place in range(scenes))
    session = Session(STARTED, MACHINE, PLAN, 0, blocks, ())
    sides: dict[Side, SideResult] = dict(zip(("baseline", "optimized"), reversed(made) if swapped else made, strict=True))
    return Result(
        FORMAT, "0", STARTED, "evbench compare-models", Rules({}, (), (), False, ()), (session,), sides["baseline"], sides["optimized"],
        None)  # fmt: skip
