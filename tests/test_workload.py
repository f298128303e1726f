"""Raw events as samples: which options there are, and what becomes of them."""

from __future__ import annotations

import doctest
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evbench.errors import UserError
from evbench.inputs import event_window, sample
from evbench.machine import noise_floors
from evbench.pipelines.load import event_files
from evbench.results import EventWindow, InputKind, Sample, Workload
from evbench.scenes.captions import QUESTIONS
from evbench.session import same_work
from tests.event_examples import HEIGHT, WIDTH, make_events, save_npy, save_npz
from tests.examples import described, make_result, make_side
from tests.test_worker import small


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return save_npz(tmp_path / "a.npz", make_events(count=5000, microseconds=1_000_000) | {"height": 60, "width": 80})


def raw(path: Path, **options: Any) -> Workload:
    return small(events_folders=[path], **options)


def test_a_file_of_raw_events_is_a_sample_with_a_window(events: Path) -> None:
    asked = raw(events, event_window="100:50ms")
    assert asked.window == EventWindow(100_000, 50_000, 100_000, "own")
    assert (asked.kind, asked.frames, asked.frame_policy) == ("events", 5, "all")
    (one,) = asked.samples
    assert (one.height, one.width) == (HEIGHT, WIDTH)
    assert one.sha256 == hashlib.sha256(events.read_bytes()).hexdigest()
    sensor = raw(events, event_window="0:50ms", event_size="sensor", event_limit="none")
    assert sensor.window == EventWindow(0, 50_000, None, "sensor")
    assert (sensor.samples[0].height, sensor.samples[0].width) == (60, 80)


def test_a_window_over_the_limit_is_refused_with_both_options(events: Path) -> None:
    for options in ({}, {"event_window": "0:200ms"}, {"event_window": "0:200ms", "event_limit": "50ms"}):
        with pytest.raises(UserError, match=r"span \d+(\.\d+)? ms, and less than \d+ ms are taken; give --event-window .*--event-limit"):
            raw(events, **options)
    assert raw(events, event_limit="none").window == EventWindow(0, None, None, "own")
    assert raw(events, event_window="0:200ms", event_limit="200ms").window == EventWindow(0, 200_000, 200_000, "own")


@pytest.mark.parametrize(
    ("text", "window"),
    [("0:50ms", (0, 50_000)), ("12.5:0.001ms", (12_500, 1)), ("500ms:50ms", (500_000, 50_000)), (" 0:99.999ms ", (0, 99_999))],
)
def test_windows_are_read_to_the_microsecond(text: str, window: tuple[int, int]) -> None:
    found = event_window.read(text, None, None)
    assert (found.start, found.length) == window


@pytest.mark.parametrize(
    "text", ["", "50ms", "0:50", "0-50ms", "-1:50ms", "0:0ms", "0:50us", "0:1e3ms", "0:0.0001ms", "0:inf ms", "0:5:6ms"]
)
def test_other_windows_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="cannot be read; write START:LENGTH"):
        event_window.read(text, None, None)


def test_the_kind_of_a_workload(events: Path) -> None:
    kinds: dict[InputKind, Workload] = {
        "events": raw(events, event_limit="none"),
        "event-images": small(),
        "video": small(model="video-llava"),
    }
    assert {kind: asked.kind for kind, asked in kinds.items()} == {kind: kind for kind in kinds}
    assert {asked.window is None for kind, asked in kinds.items() if kind != "events"} == {True}


def test_a_window_that_cannot_be_is_none() -> None:
    for start, length, longest in ((-1, 5, None), (0, 0, None), (0, None, 0)):
        with pytest.raises(ValueError, match="no window starts at"):
            EventWindow(start, length, longest, "own")
    with pytest.raises(ValueError, match="raw events have a window, and nothing else has"):
        make_side(window=EventWindow(0, None, None, "own"))


def test_options_without_effect_are_refused(events: Path) -> None:
    for model, options, told in (
        (
            "eventgpt",
            {"events_folders": [sample.EVENTS], "event_window": "0:50ms"},
            "--event-window is for raw events, and .*scene-events has none",
        ),
        ("eventgpt", {"event_limit": "none"}, "--event-limit is for raw events"),
        ("video-llava", {"event_size": "own"}, "--event-size is for raw events, and .*scene.mp4 has none"),
        ("eventgpt", {"events_folders": [events], "raw_events": True}, "--raw-events is of the samples in --data"),
    ):
        with pytest.raises(UserError, match=told):
            small(model=model, **options)


def test_raw_events_and_images_are_not_mixed(events: Path) -> None:
    with pytest.raises(UserError, match=r"scene-events holds event images and .*a.npz holds raw events; give samples of one kind"):
        small(events_folders=[sample.EVENTS, events])


def scenes(folder: Path, **fields: Any) -> Path:
    """A set of one scene, as far as its raw events go."""
    turns = [{"from": who, "value": text} for question in QUESTIONS.values() for who, text in (("human", question), ("gpt", "A street."))]
    entry = {"id": "one", "mp4_data": "one.mp4", "event_image": ["one/0.png"], "event_data": "one.npz"}
    (folder / "dataset.json").write_text(json.dumps([entry | {"conversations": turns, "event_conversations": turns} | fields]))
    save_npz(folder / "one.npz", make_events())
    return folder


def test_the_raw_events_of_scenes_are_taken_with_their_captions(tmp_path: Path) -> None:
    asked = small(data=scenes(tmp_path), raw_events=True, prompt=QUESTIONS["concise"], event_window="0:20ms")
    assert asked.kind == "events"
    assert [(Path(one.path).name, one.caption) for one in asked.samples] == [("one.npz", "A street.")]


@pytest.mark.parametrize(
    ("place", "told"),
    [(None, r"entry 0 \(one\) has no event_data"), (5, "is not a file"), ("../one.npz", "without"), ("/one.npz", "below")],
)
def test_scenes_without_raw_events_are_refused(place: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        small(data=scenes(tmp_path, event_data=place), raw_events=True)


def test_another_window_is_other_work(events: Path, tmp_path: Path) -> None:
    asked = raw(events, event_window="0:50ms")
    same_work.require_same_workload(asked, raw(events, event_window="0:50ms"))
    for options in (
        {"event_window": "10:50ms"},
        {"event_window": "0:50ms", "event_limit": "none"},
        {"event_window": "0:50ms", "event_size": "sensor"},
    ):
        with pytest.raises(UserError, match=r"not the same work: (samples .*; )?window \{'start': 0, .*'own'\} and \{"):
            same_work.require_same_workload(asked, raw(events, **options))


@pytest.mark.parametrize(
    ("window", "told"),
    [
        (
            EventWindow(0, 50_000, 100_000, "own"),
            "a.npz, events from 0 ms on, for 50 ms (limit: less than 100 ms), 5 event images of 6x4",
        ),
        (EventWindow(1500, None, None, "own"), "a.npz, events from 1.5 ms on (no limit), 5 event images of 6x4"),
        (None, "a.npz, 5 event images of 6x4"),
    ],
)
def test_the_report_tells_the_window_and_the_limit(window: EventWindow | None, told: str) -> None:
    kind = "event-images" if window is None else "events"
    side = make_side(model="eventgpt", window=window, kind=kind, samples=(Sample("a.npz", "", 4, 6),))
    runs = tuple(replace(run, work=replace(run.work, frame_indices=(0, 1, 2, 3, 4), frame_seconds=None)) for run in side.runs)
    assert described(make_result(baseline=replace(side, runs=runs))).facts["Input"] == told


def test_another_number_of_frames_is_other_work() -> None:
    asked = small(model="video-llava")
    assert (asked.frames, small(model="video-llava", frames=4).frames) == (8, 4)
    with pytest.raises(UserError, match="not the same work: frames 8 and 4"):
        same_work.require_same_workload(asked, small(model="video-llava", frames=4))


def test_a_noise_floor_of_images_is_none_of_raw_events(events: Path) -> None:
    images, stream = noise_floors.work(small()), noise_floors.work(raw(events, event_limit="none"))
    assert stream == f"{images}, of raw events"


def test_one_clip_in_two_formats_has_the_same_pictures(events: Path, tmp_path: Path) -> None:
    stored = np.load(events)
    other = save_npy(tmp_path / "a.npy", {name: stored[name] for name in ("x", "y", "t", "p")})
    window = event_window.read("100:50ms", None, None)
    assert event_files.probe(events, window) == event_files.probe(other, window)


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(event_window).failed == 0


def test_a_folder_without_any_whole_file_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"no video")
    with pytest.raises(UserError, match=r"none of 2 samples can be used; the first: .*a\.mp4 is damaged or no video"):
        small(data=tmp_path, model="video-llava")
    (tmp_path / "b.mp4").unlink()
    with pytest.raises(UserError, match=r"^[^;]*a\.mp4 is damaged or no video"):
        small(data=tmp_path, model="video-llava")
