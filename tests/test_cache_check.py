"""Seen against unseen input: what is remembered across runs is found, in the stage that it is in, and nothing else is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from evbench.errors import UserError
from evbench.inputs import sample
from evbench.pipelines.build import build
from evbench.pipelines.load import event_files, event_images, png, video
from evbench.results import STAGES, CacheCheck, CachePair, CompileCounts, Drafting, EventWindow, Run, Workload
from evbench.session import caches
from evbench.session.mutation import planted
from evbench.variants.named import parse
from evbench.verdict.caches import MIN_RATIO, cached, examine, suspected
from evbench.verdict.ignored_input import MOST_MORE
from evbench.worker import cache_check, handlers, unseen
from evbench.worker.cache_check import check_cache
from evbench.worker.handlers import WorkerState
from evbench.worker.instruments import instruments
from evbench.worker.measure import Instruments
from evbench.worker.messages import ActivationRequest, CacheCheckRequest
from evbench.worker.mutants import MUTANTS
from evbench.worker.unseen import copy_sample, other_pixels, reversed_events
from tests import raw_events
from tests.conftest import MakeClip
from tests.examples import make_run, make_side
from tests.h264 import write
from tests.test_mutants import NEW_TOKENS, PATHS, UNCOMPILED, workload

FITTING = [case.name for case in planted(parse(UNCOMPILED), workload("video"))]
CACHES = [name for name in FITTING if MUTANTS[name].of_time]
EVENTS = ("event-images", "events")
FRAMES = workload("video").frames
KEPT = {"load": {"load"}, "vision": {"vision"}, "generate": {"generate", "prefill"}}
"""Stage of a fault of time -> the timings in which it shows."""


# Unseen input.


def apart(*files: Path) -> None:
    """No two are as long, or begin or end with the same bytes: a cache may go by any of these."""
    contents = [file.read_bytes() for file in files]
    for told in (len, lambda content: content[:100], lambda content: content[-100:]):
        assert len({told(content) for content in contents}) == len(files)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv", "clip.webm"])
def test_an_unseen_video_has_other_bytes_and_the_same_frames(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frames = [np.full((48, 64, 3), 40 + 5 * index, np.uint8) for index in range(20)]
    if name.endswith("webm"):
        path = tmp_path / "clip.mkv"  # the same container; WebM holds no H.264
    write(path, frames, {"crf": "10"})
    copies = [copy_sample(path, tmp_path / str(number), number) for number in (1, 2)]
    assert [other for _, other in copies] == [True, True]
    apart(path, *(copy for copy, _ in copies))
    assert len({path.name, *(copy.name for copy, _ in copies)}) == 3
    for decode in (video.decode_plain, video.decode_threaded):
        expected = decode(path, 8, "inclusive")
        for copy, _ in copies:
            assert copy.suffix == path.suffix
            found = decode(copy, 8, "inclusive")
            assert np.array_equal(found.values(), expected.values())
            assert (found.indices, found.seconds) == (expected.indices, expected.seconds)


def test_unseen_event_images_have_other_bytes_and_the_same_pixels(tmp_path: Path) -> None:
    copy, other = copy_sample(sample.EVENTS, tmp_path / "unseen", 7)
    assert other
    assert png.probe(copy) == png.probe(sample.EVENTS)
    files = png.find(sample.EVENTS)
    assert [file.name for file in png.find(copy)] == [file.name for file in files]
    for ours, theirs in zip(files, png.find(copy), strict=True):
        apart(ours, theirs)
    for read in (png.read_plain, png.read_threaded):
        assert np.array_equal(read(copy).values(), read(sample.EVENTS).values())


@pytest.mark.parametrize("behind", [b"", b"more", bytes(40)])
def test_a_picture_with_bytes_behind_its_end_or_without_an_end_stays_one(behind: bytes, tmp_path: Path) -> None:
    whole = png.find(sample.EVENTS)[0].read_bytes()
    for content in (whole + behind, whole[:-12] + behind):
        file = tmp_path / "0.png"
        file.write_bytes(content)
        unseen._change_png(file, 7)
        changed = file.read_bytes()
        assert changed.replace(changed[33 : 33 + 12 + 15], b"") == content, "the chunk alone was put in"
        assert changed.count(b"evNb") == 1 + (b"IEND" in content)


def test_unseen_raw_events_have_other_bytes_and_the_same_events(tmp_path: Path) -> None:
    copy, other = copy_sample(raw_events.stored(), tmp_path / "unseen", 7)
    assert other
    apart(copy, raw_events.stored(), copy_sample(raw_events.stored(), tmp_path / "more", 8)[0])
    ours, theirs = (event_files.read(path, raw_events.WINDOW) for path in (raw_events.stored(), copy))
    for name in ("x", "y", "t", "p"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("window", [raw_events.WINDOW, dataclasses.replace(raw_events.WINDOW, start=10_000, length=20_000)])
def test_reversed_events_make_images_of_the_same_sizes_without_a_common_pixel_that_is_no_ground(
    window: EventWindow, tmp_path: Path
) -> None:
    reversed_events(raw_events.stored(), window, tmp_path / "reversed.npz")
    ours, theirs = (event_files.read(path, window) for path in (raw_events.stored(), tmp_path / "reversed.npz"))
    for name in ("x", "y", "t", "sensor"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    for image, other in zip(*(event_images.loop(stream, "own").pixels for stream in (ours, theirs)), strict=True):
        ground = (image == event_images.GROUND).all(axis=-1)
        assert np.array_equal((image == other).all(axis=-1), ground) and not ground.all()


def test_of_other_formats_the_copy_is_another_file_of_the_same_bytes_and_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "events.raw"
    path.write_bytes(b"% evt 3.0\n" + bytes(100))
    copy, other = copy_sample(path, tmp_path / "unseen", 7)
    assert not other
    assert copy.read_bytes() == path.read_bytes()
    assert copy.stat().st_ino != path.stat().st_ino


def test_the_copy_that_is_seen_has_the_same_bytes(tmp_path: Path) -> None:
    copy, other = copy_sample(sample.CLIP, tmp_path / "seen", None)
    assert not other
    assert copy.name == sample.CLIP.name
    assert copy.read_bytes() == sample.CLIP.read_bytes()


@pytest.mark.parametrize("grey", [0, 255])
def test_other_pixels_are_few_and_in_every_image_and_other_ones_for_each_seed(grey: int) -> None:
    before: npt.NDArray[np.uint8] = np.full((3, 40, 60, 3), grey, np.uint8)
    kept = before.copy()
    one, two = other_pixels(before, 1), other_pixels(before, 2)
    assert np.array_equal(before, kept)
    assert np.array_equal(one, other_pixels(before, 1))
    assert not np.array_equal(one, two)
    for image in range(3):
        share = (one[image] != before[image]).any(axis=-1).mean()
        assert 0 < share <= 1 / 64
    tensor = other_pixels(torch.from_numpy(before), 1)
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor.numpy(), one)


def test_other_pixels_of_event_images_have_their_colours() -> None:
    before = png.read_plain(sample.EVENTS).values()
    pixels = np.asarray(other_pixels(before, 3)).astype(np.int32)
    assert set(np.unique(pixels @ [65536, 256, 1]).tolist()) == {0xFFFFFF, 0xFF0000, 0x0000FF}


# Runs.


def test_a_pair_is_three_runs_in_one_of_two_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seen run right behind another of the same input; the unseen one in front of both, or behind."""
    runs: list[int | None] = []

    def run(pipeline: object, path: Path, pixels: int | None, new_tokens: int, using: object, batch: int) -> cache_check._Ran:
        runs.append(pixels)
        return cache_check._Ran({"load": 1.0 if pixels is None else 2.0}, {})

    monkeypatch.setattr(cache_check, "_run", run)
    anything: Any = None
    found = check_cache(anything, sample.CLIP, 4, 3, 8, anything)
    assert found == CacheCheck((CachePair({"load": 1.0}, {"load": 2.0}),) * 8, True)
    first, rest = runs[0], runs[1:]
    assert first is None
    pairs = [rest[start : start + 3] for start in range(0, len(rest), 3)]
    assert [sorted(run is None for run in pair) for pair in pairs] == [[False, True, True]] * 8
    assert sum(pair[0] is None for pair in pairs) == sum(pair[2] is None for pair in pairs) == 4
    assert len(set(rest)) == 9, "each unseen input once"


@pytest.mark.parametrize(("asked", "given"), [(102, 8), (5, 5)])
def test_runs_that_look_for_caches_and_evidence_generate_few_tokens(asked: int, given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    state = WorkerState(nothing, parse("baseline"), dataclasses.replace(workload("video"), new_tokens=asked), nothing, nothing)
    told: list[int] = []
    monkeypatch.setattr(handlers, "check_cache", lambda pipeline, path, new_tokens, *others: told.append(new_tokens))
    monkeypatch.setattr(handlers, "gather", lambda pipeline, prefetch, paths, new_tokens, *others: told.append(new_tokens))
    monkeypatch.setattr(handlers, "prove", lambda *arguments: ())
    for request in (CacheCheckRequest(0, 1, 4), ActivationRequest()):
        handlers.HANDLERS[type(request)](state, request)
    assert told == [given, given]


# What is found.


def pairs(*ratios: float, seconds: float = 0.1) -> CacheCheck:
    return CacheCheck(tuple(CachePair({"vision": seconds}, {"vision": seconds * ratio}) for ratio in ratios), True)


def test_cached_is_what_is_faster_beyond_scatter() -> None:
    (found,) = examine(pairs(2.0, 2.1, 1.9, 2.0))
    assert found.cached
    assert found.ratio == pytest.approx(2.0, rel=0.01)
    assert MIN_RATIO < found.low < found.ratio
    (scattered,) = examine(pairs(1.0, 1.6, 0.9, 1.3))
    assert scattered.ratio > MIN_RATIO
    assert not scattered.cached
    assert suspected(pairs(1.0, 1.6, 0.9, 1.3)), "more pairs decide"
    assert not examine(pairs(1.03, 1.04, 1.03, 1.04))[0].cached, "steady, and too little to be a cache"
    assert not examine(pairs(0.5, 0.5, 0.5, 0.5))[0].cached, "slower on what it has seen"
    assert not suspected(pairs(0.99, 1.01, 1.0, 1.0))
    assert not suspected(pairs(1.03, 1.03, 1.031, 1.029)), "more pairs would not make it more than it is"
    assert not suspected(pairs(0.8, 1.5, 0.8, 1.3)), "more pairs would not make it certain"
    assert suspected(pairs(2.0, 2.1, 1.9, 2.0)), "what is found is confirmed on other input"
    assert suspected(pairs(3.0))
    assert not examine(pairs(1.2, 1.2, 1.2, 1.2, seconds=50e-6))[0].cached, "ten microseconds"
    assert not examine(pairs(3.0))[0].cached, "of one pair the scatter is not known"


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({}, []),
        ({"vision": 0.09}, []),
        ({"vision": 0.11}, ["optimized: vision takes 2.20x as long as in the timed runs, on the same input, once there was other input"]),
        ({"generate": 0.034}, ["optimized: tpot takes 3.08x as long as in the timed runs, on the same input, once there was other input"]),
        ({"generate": 0.033}, []),
        (dict.fromkeys(("load", "preprocess", "vision"), 0.1) | {"prefill": 0.05, "generate": 0.1 / 3}, []),
        (dict.fromkeys(("load", "preprocess"), 0.1) | {"vision": 0.19, "prefill": 0.05, "generate": 0.1 / 3}, []),
        (
            dict.fromkeys(("load", "preprocess"), 0.1) | {"vision": 0.21, "prefill": 0.05, "generate": 0.1 / 3},
            ["optimized: vision takes 4.20x as long as in the timed runs, on the same input, once there was other input"],
        ),
    ],
)
def test_what_is_faster_in_timed_runs_only_is_cached(seen: dict[str, float], told: list[str]) -> None:
    """Stages take 50 ms there, the prefill 25, and a decode step 12.5: three tokens, as many as the answer has, take 50."""
    timed = make_run(seconds=0.05, tokens=(5, 6, 7))
    times = {**dict.fromkeys(STAGES, 0.05), "prefill": 0.025, "generate": 0.05 / 3} | seen
    check = CacheCheck((CachePair(times, times), CachePair({name: 2 * seconds for name, seconds in times.items()}, times)), True)
    drafted = dataclasses.replace(timed, drafting=Drafting(1, 1, 1, 0, 0.001, 0.001))
    ours, theirs = (
        [line for line in cached({"optimized": dataclasses.replace(make_side(run, run), cache_check=check)}) if "timed runs" in line]
        for run in (timed, drafted)
    )
    assert (ours, theirs) == (told, [line for line in told if "tpot" not in line])


def test_a_stage_that_took_no_time_is_no_division_by_it() -> None:
    timed = make_run(seconds=0.05)
    assert timed.stages is not None
    empty = dataclasses.replace(timed, stages=timed.stages | {"vision": dataclasses.replace(timed.stages["vision"], seconds=0.0)})
    times = {**dict.fromkeys(STAGES, 0.05), "prefill": 0.025, "generate": 0.025}
    for seconds, lines in ((1e-6, 0), (0.05, 1)):
        pair = CachePair(times | {"vision": seconds}, times | {"vision": seconds})
        side = dataclasses.replace(make_side(empty, empty), cache_check=CacheCheck((pair,) * 2, True))
        assert len(cached({"optimized": side})) == lines


def test_a_pair_without_times_is_no_pair() -> None:
    for ours, theirs in (({}, {}), ({"load": 0.1}, {"vision": 0.1}), ({"load": 0.0}, {"load": 0.1})):
        with pytest.raises(ValueError, match="pair"):
            CachePair(ours, theirs)


def run(sample: int, seconds: float, kind: Any = "timed") -> Run:
    nothing: Any = None
    return Run(
        kind=kind,
        turn=0,
        sample=sample,
        block=0 if kind == "timed" else None,
        seconds=seconds,
        stages=None,
        prefill_seconds=None,
        decode_step_seconds=None,
        compile_counts=CompileCounts(0, 0, 0, 0),
        reserved=None,
        work=nothing,
        tokens=(),
        text="",
    )


def test_of_several_samples_the_one_is_looked_at_with_which_a_side_is_furthest_ahead() -> None:
    """A cache may hold some of them only, as those with long prompts."""
    baseline = [run(sample, seconds) for sample, seconds in [(0, 1.0), (1, 2.0), (2, 4.0), (0, 1.1), (2, 4.2), (3, 9.0)]]
    optimized = [run(0, 0.9), run(1, 1.9), run(2, 1.0), run(1, 0.01, "warmup")]
    assert caches.most_ahead(optimized, baseline) == 2
    assert caches.most_ahead(baseline, optimized) == 1
    assert caches.most_ahead([run(0, 1.0)], [run(0, 2.0)]) == 0


# Measured.


class Here:
    """A pipeline in this process, in place of a worker."""

    def __init__(self, pipeline: Any, path: Path, using: Instruments) -> None:
        self._pipeline, self._path, self._using = pipeline, path, using

    def cache_check(self, request: CacheCheckRequest) -> CacheCheck:
        return check_cache(self._pipeline, self._path, NEW_TOKENS, request.seed, request.pairs, self._using)


@pytest.fixture(scope="module")
def using() -> Instruments:
    return instruments("cpu")


@pytest.fixture(params=[pytest.param("video", marks=pytest.mark.slow), *(pytest.param(kind, marks=pytest.mark.long) for kind in EVENTS)])
def small(request: pytest.FixtureRequest, make_clip: MakeClip) -> tuple[Workload, Path]:
    """A workload whose prefill takes a part of the time worth saving, and a sample that is soon decoded."""
    asked = workload(request.param)
    path = make_clip(width=320, height=240) if request.param == "video" else PATHS[request.param][0]
    return dataclasses.replace(asked, prompt=" ".join([asked.prompt] * 30)), path


def remembered(variant: str, small: tuple[Workload, Path], mutant: str | None, using: Instruments) -> set[str]:
    asked, path = small
    pipeline = build(parse(variant), asked)
    if mutant is not None:
        MUTANTS[mutant].plant(pipeline, [path])
    found = caches.check(Here(pipeline, path, using), 1)
    assert found.other_bytes
    return {one.timing for one in examine(found) if one.cached}


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_across_runs_is_found_in_its_stage(small: tuple[Workload, Path], name: str, using: Instruments) -> None:
    """And in none before it. Stages behind one that is left out find more of what they read in the processor's caches."""
    found = remembered(UNCOMPILED, small, name, using)
    assert found
    assert min(found, key=[*STAGES, "prefill"].index) in KEPT[MUTANTS[name].stage]


@pytest.mark.parametrize("variant", ["baseline", UNCOMPILED])
def test_a_variant_without_caches_is_not_blamed(small: tuple[Workload, Path], variant: str, using: Instruments) -> None:
    assert remembered(variant, small, None, using) == set()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["video", "event-images", "events"])
def test_unseen_input_is_other_input_from_the_first_visual_token_on(kind: Any) -> None:
    """Else a cache of prefixes, or of single images, would have seen a part of it."""
    pipeline = build(parse(UNCOMPILED), workload(kind))
    loaded, _ = pipeline.load(PATHS[kind][0])
    changed = loaded.holding(other_pixels(loaded.values(), 5))
    ours, theirs = (pipeline.preprocess(images)[0] for images in (loaded, changed))
    for one, other in zip(ours.values(), theirs.values(), strict=True):
        assert not torch.equal(one, other), "an image without a change"
    seen, unseen = (pipeline.vision(inputs)[0].values().flatten(0, -2).to(torch.bfloat16) for inputs in (ours, theirs))
    assert (seen != unseen).any(dim=-1).float().mean() > 0.99
    assert not torch.equal(seen[0], unseen[0])


# Outputs.


def load_kept(pipeline: Any) -> None:
    right, kept = pipeline.load, list[Any]()

    def load(path: Path) -> Any:
        kept[:] = kept or [right(path)]
        return kept[0]

    pipeline.load = load


def buffer_not_filled_again(stage: str) -> Callable[[Any], None]:
    """As a captured graph whose input is not copied: all of the work, on what came first."""

    def plant(pipeline: Any) -> None:
        right, kept = getattr(pipeline, stage), list[Any]()

        def stale(given: Any, *others: Any) -> Any:
            kept[:] = kept or [given]
            return right(kept[0], *others)

        setattr(pipeline, stage, stale)

    return plant


def answer_before(pipeline: Any) -> None:
    """What would be computed beside the next sample: each call returns what belongs to the call before."""
    right, kept = pipeline.vision, list[Any]()

    def vision(inputs: Any) -> Any:
        kept.append(right(inputs))
        return kept.pop(0) if len(kept) > 1 else kept[0]

    pipeline.vision = vision


def one_frame_before(pipeline: Any) -> None:
    right, kept = pipeline.preprocess, list[Any]()

    def preprocess(loaded: Any) -> Any:
        inputs, work = right(loaded)
        values = inputs.values().clone()
        kept[:] = kept or [values[..., :1, :, :, :].clone()]
        values[..., :1, :, :, :] = kept[0]
        return inputs.holding(values), work

    pipeline.preprocess = preprocess


@pytest.fixture
def unchanged(make_clip: MakeClip, using: Instruments) -> Callable[[Callable[[Any], None] | None], CacheCheck]:
    path = make_clip(width=320, height=240)

    def check(plant: Callable[[Any], None] | None) -> CacheCheck:
        pipeline = build(parse("baseline"), workload("video"))
        if plant is not None:
            plant(pipeline)
        return check_cache(pipeline, path, 2, 1, 2, using, sample.OTHER_CLIP)

    return check


@pytest.mark.parametrize(
    ("plant", "stage", "share"),
    [
        (load_kept, "load", 1.0),
        (buffer_not_filled_again("preprocess"), "preprocess", 1.0),
        (buffer_not_filled_again("vision"), "vision", 1.0),
        (buffer_not_filled_again("generate"), "generate", 1.0),
        (answer_before, "vision", 1.0),
        (one_frame_before, "preprocess", 1 / FRAMES),
    ],
)
def test_a_stage_that_does_not_follow_its_input_is_found(
    unchanged: Callable[[Callable[[Any], None] | None], CacheCheck], plant: Callable[[Any], None], stage: str, share: float
) -> None:
    """Its outputs for the sample of the session are right, and so are its times."""
    found = unchanged(plant).unchanged
    assert found[stage] == pytest.approx(share)
    before = STAGES[: STAGES.index(stage)]
    assert all(found[one] < MOST_MORE for one in before)


@pytest.mark.parametrize("variant", ["baseline", UNCOMPILED])
def test_stages_that_follow_their_input_leave_hardly_a_row_as_it_was(variant: str, make_clip: MakeClip, using: Instruments) -> None:
    path = make_clip(width=320, height=240)
    found = check_cache(build(parse(variant), workload("video")), path, 2, 1, 2, using, sample.OTHER_CLIP).unchanged
    assert list(found) == ["preprocess", "vision", "generate", "load"]
    assert max(found.values()) < MOST_MORE / 2


def test_the_other_sample_is_of_the_workload_or_carried_by_evbench_and_never_the_same(tmp_path: Path) -> None:
    nothing: Any = None

    def other(kind: Any, *paths: Path) -> Path | None:
        work = workload(kind)
        samples = tuple(dataclasses.replace(work.samples[0], path=str(path)) for path in paths)
        state = WorkerState(nothing, parse("baseline"), dataclasses.replace(work, samples=samples), nothing, nothing)
        return handlers._other_sample(state, paths[0], tmp_path)

    link = tmp_path / "link.mp4"
    link.symlink_to(sample.CLIP)
    assert other("video", sample.CLIP) == sample.OTHER_CLIP
    assert other("video", link) == sample.OTHER_CLIP
    assert other("video", sample.OTHER_CLIP) == sample.CLIP
    assert other("video", sample.CLIP, link, sample.OTHER_CLIP) == sample.OTHER_CLIP
    assert other("event-images", sample.EVENTS) == sample.OTHER_EVENTS
    again = tmp_path / "again.npz"
    again.write_bytes(raw_events.stored().read_bytes())
    assert other("events", raw_events.stored(), again) == again
    assert other("events", raw_events.stored()) == tmp_path / "reversed.npz"


@pytest.mark.parametrize(("plant", "share"), [(load_kept, 1.0), (lambda pipeline: None, 0.0)], ids=["stale", "right"])
def test_of_a_single_file_of_raw_events_a_load_that_does_not_follow_it_is_found(plant: Callable[[Any], None], share: float) -> None:
    asked = workload("events")
    asked = dataclasses.replace(asked, samples=(dataclasses.replace(asked.samples[0], path=str(raw_events.stored())),), new_tokens=2)
    pipeline = build(parse("baseline"), asked)
    plant(pipeline)
    nothing: Any = None
    state = WorkerState(pipeline, parse("baseline"), asked, instruments("cpu"), nothing)
    assert handlers._cache_check(state, CacheCheckRequest(0, 1, 2)).unchanged["load"] == share


def test_what_cannot_be_loaded_or_seen_is_not_judged() -> None:
    class Blind:
        def load(self, path: Path) -> Any:
            raise UserError("only my own files")

    class Unseen:
        def load(self, path: Path) -> Any:
            return self, None

        def values(self) -> None:
            return None

    pipelines: list[Any] = [Blind(), Unseen()]
    assert [cache_check._loaded(one, sample.CLIP) for one in pipelines] == [{}, {}]


def test_frames_that_are_kept_by_the_name_of_their_file_are_found(make_clip: MakeClip, using: Instruments) -> None:
    """Copies lie in another folder, and a cache by name alone would take each for the one before."""
    path = make_clip(width=320, height=240)
    pipeline: Any = build(parse("baseline"), workload("video"))
    calls = list[str]()
    right, kept = pipeline.load, dict[str, Any]()

    def load(path: Path) -> Any:
        if path.name not in kept:
            calls.append(path.name)
            kept[path.name] = right(path)
        return kept[path.name]

    pipeline.load = load
    found = check_cache(pipeline, path, 2, 1, 2, using)
    assert len(calls) == 3, "what is seen, and two that are not"
    assert all(pair.seen["load"] * 10 < pair.unseen["load"] for pair in found.pairs)
