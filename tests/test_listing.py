"""--data: scenes, lists in JSON with the layout of the one-second set, and folders of files. A list may come from anybody."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evbench import results
from evbench.api.options import Options
from evbench.cli import compare_models
from evbench.errors import UserError
from evbench.inputs import listing
from evbench.inputs.listing import Listed, Selection
from evbench.inputs.recorded import workload_here
from evbench.pipelines.load import png
from evbench.results import Workload
from evbench.scenes import index as scenes
from tests.checkpoints import least_model
from tests.command import evbench, refused
from tests.event_examples import make_events, save_npy, save_npz
from tests.scene_files import make_scenes, small_clip
from tests.test_worker import small

STREETS = ("interlaken_00_a", "thun_01_b")
LIST = "EventGPT_Instruction_Subset.json"


def event_image(file: Path, shade: int) -> None:
    Image.new("RGB", (8, 6), (shade, shade, 255)).save(file)


def entry(street: str, number: int, **changes: Any) -> dict[str, Any]:
    """As the one-second set has it: each file relative to the folder of its kind."""
    name = f"{street}/{number:06}"
    images = [f"{name}_{place}.png" for place in range(5)]
    made = {
        "id": f"{street}-{number}", "split": "test" if number else "train", "event_data": f"{name}.npy", "video_data": name,
        "mp4_data": f"{name}.mp4", "event_image": images,
        "conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": ""}],
    }  # fmt: skip
    return {key: value for key, value in (made | changes).items() if value is not None}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Two sequences with three windows each, with events of a second, five event images and a clip."""
    folder, entries = tmp_path / "my_egpt_dsec_seq_1s", []
    for of_street, street in enumerate(STREETS):
        for kind in ("event_npy", "mp4", "event_image"):
            (folder / kind / street).mkdir(parents=True)
        for number in range(3):
            entries.append(entry(street, number))
            more = {"time_start": 5, "time_end": 10, "duration_ms": 1000.0, "image_indices_in_clip": [1, 2], "num_events": 500}
            events = make_events(count=500 + 10 * of_street + number, microseconds=1_000_000)
            save_npy(folder / "event_npy" / street / f"{number:06}.npy", {**events, **more})
            for place in range(5):
                event_image(folder / "event_image" / street / f"{number:06}_{place}.png", 100 * of_street + 10 * number + place)
            (folder / "mp4" / street / f"{number:06}.mp4").symlink_to(small_clip(number))
    (folder / LIST).write_text(json.dumps(entries))
    return folder


def names(found: Workload) -> list[str]:
    return [Path(sample.path).name for sample in found.samples]


def read(data: Path, kind: str = "video", **selection: Any) -> list[Listed]:
    return listing.read(data, kind, colours=kind == "video", prompt="What?", selection=Selection(**selection))


# The layout of the one-second set.


def test_the_layout_of_the_one_second_set_is_read_for_clips_events_and_event_images(origin: Path) -> None:
    clips = small("video-llava", data=origin)
    assert names(clips) == ["000000.mp4", "000001.mp4", "000002.mp4"] * 2
    images = small(data=origin)
    assert images.kind == "event-images" and images.frames == 5 and (images.samples[0].height, images.samples[0].width) == (6, 8)
    assert names(images) == ["000000", "000001", "000002"] * 2
    events = small(data=origin, raw_events=True, event_limit="none")
    assert events.kind == "events" and names(events) == ["000000.npy", "000001.npy", "000002.npy"] * 2
    for found in (clips, images, events):
        assert [sample.sequence for sample in found.samples] == [street for street in STREETS for _ in range(3)]
        assert len({sample.sha256 for sample in found.samples[:3]}) == 3
        assert {sample.caption for sample in found.samples} == {None}
    assert "/event_image/" in images.samples[0].path, "the images of a sample are looked for in the folder that all share"
    named = [file.name for file in png.find(Path(images.samples[1].path))]
    assert named == [f"000001_{place}.png" for place in range(5)]


def test_a_list_may_be_named_itself_and_is_found_again_where_its_files_have_moved(origin: Path, tmp_path: Path) -> None:
    assert read(origin / LIST) == read(origin)
    (origin / "other.json").write_text("[]")
    with pytest.raises(UserError, match=rf"holds 2 lists \({LIST}, other.json\); give one of them as --data"):
        read(origin)
    asked = small(data=origin / LIST)
    moved = origin.rename(tmp_path / "moved")
    found = workload_here(asked, [moved], None)
    assert [sample.path for sample in found.samples] == [str(one.path) for one in read(moved / LIST, "event-images")]


def test_paths_may_also_begin_in_the_folder_of_the_list(origin: Path) -> None:
    entries = [entry(street, number, mp4_data=f"mp4/{street}/{number:06}.mp4") for street in STREETS for number in range(3)]
    before = read(origin)
    (origin / LIST).write_text(json.dumps(entries))
    assert read(origin) == before, "also with the same sequences"


def test_scenes_are_samples_by_themselves_with_their_captions(tmp_path: Path) -> None:
    folder = make_scenes(tmp_path / "set", 1, 2, 0.1, 64, 48)
    entries = json.loads((folder / scenes.INDEX).read_text())
    question = entries[0]["conversations"][0]["value"]
    found = listing.read(folder, "video", colours=True, prompt=question, selection=Selection())
    assert [one.caption for one in found] == [one["conversations"][1]["value"] for one in entries]
    assert [one.sequence for one in found] == [None, None] and {one.split for one in found} == {"test"}
    assert [one.caption for one in read(folder, "event-images")] == [None, None]


# Which samples.


def test_a_split_is_chosen_and_a_choice_by_chance_is_the_same_again(origin: Path) -> None:
    test = read(origin, split="test")
    assert [one.path.stem for one in test] == ["000001", "000002"] * 2
    assert read(origin, split="test", samples=3) == test[:3]
    whole = read(origin)
    choices = {seed: read(origin, samples=3, shuffle_seed=seed) for seed in range(20)}
    assert choices[7] == read(origin, samples=3, shuffle_seed=7)
    assert len({tuple(one.path for one in choice) for choice in choices.values()}) > 8
    for choice in choices.values():
        assert [one for one in whole if one in choice] == choice, "in the order of the list"
    assert all(one in read(origin, samples=5, shuffle_seed=7) for one in choices[7]), "fewer are among more"


def test_a_choice_by_chance_is_that_of_every_version() -> None:
    every = [Listed(Path(str(number)), None) for number in range(1100)]
    chosen = listing._chosen(every, Selection(samples=5, shuffle_seed=1), Path())
    assert [str(one.path) for one in chosen] == CHOSEN


CHOSEN = ["133", "328", "613", "856", "952"]


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        ({"split": "val"}, r"has no sample of --split 'val'; there is train, test"),
        ({"samples": 7}, r"--samples 7 are more than the 6 in .*; give 6 or fewer"),
        ({"split": "train", "samples": 3}, r"--samples 3 are more than the 2 in .* of --split train; give 2 or fewer"),
        ({"shuffle_seed": 1}, r"--shuffle-seed chooses which --samples are used, which is not given"),
    ],
)
def test_a_selection_that_there_is_not_is_refused(selection: dict[str, Any], told: str, origin: Path) -> None:
    with pytest.raises(UserError, match=told):
        read(origin, **selection)


# Folders of files.


def test_clips_of_a_folder_are_samples_and_its_folders_are_sequences(tmp_path: Path) -> None:
    for name in ("b10.mp4", "b2.MP4", "street/1.mkv", "street/2.mov", "city/day/1.mp4", "notes.txt", ".hidden.mp4", "mp3/a.mp3"):
        file = tmp_path / "clips" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "clips" / "city" / "loop").symlink_to(tmp_path / "clips")
    os.mkfifo(tmp_path / "clips" / "endless.mp4")
    found = read(tmp_path / "clips")
    placed = [(str(one.path.relative_to(tmp_path / "clips")), one.sequence) for one in found]
    assert placed == [
        ("b2.MP4", None), ("b10.mp4", None), ("city/day/1.mp4", "city/day"), ("street/1.mkv", "street"), ("street/2.mov", "street"),
    ]  # fmt: skip


def test_event_files_or_folders_of_event_images_are_samples(tmp_path: Path) -> None:
    for street in ("a", "b"):
        for number in range(2):
            (tmp_path / street / str(number)).mkdir(parents=True)
            for place in range(5):
                event_image(tmp_path / street / str(number) / f"{place}.png", place + number)
    images = small(data=tmp_path)
    assert images.kind == "event-images" and [sample.sequence for sample in images.samples] == ["a", "a", "b", "b"]
    assert [sample.sequence for sample in small(data=tmp_path / "a").samples] == [None, None]
    assert small(data=tmp_path / "a" / "0").samples[0].sequence is None
    (tmp_path / "events").mkdir()
    save_npz(tmp_path / "events" / "one.npz", make_events())
    events = small(data=tmp_path, event_window="0:20ms")
    assert events.kind == "events" and names(events) == ["one.npz"], "events, where there are any"


@pytest.mark.parametrize(
    ("make", "kind", "selection", "told"),
    [
        (None, "video", {}, r"--data .*set: no such folder; give one of scenes \(evbench scenes make\), of clips or of event files"),
        ("", "video", {}, r"set holds no clip \(\.mp4, .*\), and no list in JSON; give another folder"),
        ("a.npz", "video", {}, r"set holds no clip"),
        ("a.mp4", "event-images", {}, r"set holds no event file \(\.npz, .*\) and no folder of event images \(PNG\), and no list"),
        ("a.mp4", "video", {"split": "test"}, r"--split is of a list in JSON, and .*set has none"),
        (
            "a.npz",
            "events",
            {},
            r"--raw-events is of a list in JSON, and .*set has none: its event files are used as they are; leave it out",
        ),
        ("a.mp4", "video", {"samples": 2}, r"--samples 2 are more than the 1 in .*set; give 1 or fewer"),
    ],
)
def test_a_folder_without_samples_is_refused(make: str | None, kind: str, selection: dict[str, Any], told: str, tmp_path: Path) -> None:
    if make is not None:
        (tmp_path / "set").mkdir()
        if make:
            (tmp_path / "set" / make).touch()
    with pytest.raises(UserError, match=told):
        read(tmp_path / "set", kind, **selection)


def test_a_file_is_no_folder_and_too_many_files_are_no_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"0.mp4 is no folder; give its folder, or the file by --video or --events"):
        read(small_clip(0))
    for number in range(4):
        (tmp_path / f"{number}.mp4").touch()
    monkeypatch.setattr(listing, "MOST_FILES", 3)
    with pytest.raises(UserError, match="holds more than 3 files; give a folder of samples alone"):
        read(tmp_path)


# Hostile lists.


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", r"list.json is no list of samples; give JSON with an entry for each, such as \[\{\"id\": \"street-1\", \"mp4_data\": "),
        ("[]", "is no list of samples"),
        ("[[]]", r"entry 0 is no object; give one with id and mp4_data"),
        ("[null]", "entry 0 is no object"),
        ('[{"mp4_data": "a.mp4"}]', r"entry 0 has no id of 1 to 200 characters"),
        (json.dumps([{"id": "a" * 201, "mp4_data": "a.mp4"}]), "entry 0 has no id of 1 to 200 characters"),
        (json.dumps([{"id": "a\x1b[31m", "mp4_data": "a.mp4"}]), "entry 0 has no id"),
        ('[{"id": "a\\ud800", "mp4_data": "a.mp4"}]', "entry 0 has no id"),
        (json.dumps([{"id": "a", "split": 3, "mp4_data": "a.mp4"}]), "the split of entry 0 is no name"),
        ('[{"id": "a"}]', r"entry 0 \(a\) has no mp4_data; give the file that it is, or choose the other --model"),
        (json.dumps([{"id": "a", "video_data": "a"}]), "the pictures in its video_data are no clip: encode them as MP4"),
        (json.dumps([{"id": "a", "mp4_data": ["a.mp4"]}]), r"entry 0 \(a\): its mp4_data is not a file below .*; give paths relative"),
        (json.dumps([{"id": "a", "mp4_data": 5}]), "is not a file below"),
        *(
            (json.dumps([{"id": "a", "mp4_data": path}]), r"is not a file below .*, without \.\.")
            for path in ("../a.mp4", "/etc/passwd", "b/../../a.mp4", "a\0.mp4", "a\n.mp4", "a" * 256, "a/" * 600 + "b", ".")
        ),
        ('[{"id": "a", "mp4_data": "\\ud800.mp4"}]', "is not a file below"),
        (
            json.dumps([{"id": "a", "mp4_data": "lost.mp4"}]),
            r"entry 0 \(a\) names lost.mp4 as mp4_data, and .* has no such file, nor has its folder mp4; copy it there",
        ),
        (json.dumps([{"id": "a", "mp4_data": "folder"}]), "names folder as mp4_data"),
        (json.dumps([{"id": "a", "mp4_data": "pipe.mp4"}]), "names pipe.mp4 as mp4_data"),
        (json.dumps([{"id": "a", "mp4_data": "a.mp4"}, {"id": "b", "mp4_data": "./a.mp4"}]), r"entries 0 and 1 are both of .*a.mp4"),
        ("[{", r"list.json is damaged or no JSON \(.*\); copy it again"),
        ("[" * 100_000, "is damaged or no JSON"),
        ('[{"id": "a", "n": ' + "9" * 5000 + "}]", "is damaged or no JSON"),
        ("\xff", "is damaged or no JSON"),
    ],
)  # fmt: skip
def test_a_list_of_another_shape_is_refused_in_one_line(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_bytes(content.encode("latin-1" if content == "\xff" else "utf-8"))
    (tmp_path / "a.mp4").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UserError, match=told) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2000


def test_a_list_is_of_bounded_size_and_a_pipe_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "MOST_BYTES", 2**20)
    (tmp_path / "list.json").write_text(json.dumps([{"id": "a", "mp4_data": "a.mp4", "more": "b" * 2**20}]))
    with pytest.raises(UserError, match=r"list.json is damaged or no JSON \(it is larger than 1 MiB\)"):
        read(tmp_path)
    (tmp_path / "list.json").unlink()
    os.mkfifo(tmp_path / "list.json")
    with pytest.raises(UserError, match=r"list.json cannot be read \(No such file or directory\)"):
        read(tmp_path / "list.json")


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (None, "has no event_image; it has raw events: take them by --raw-events"),
        ([], "has no event_image"),
        ("one/0.png", "its event_image is not a list of files below"),
        (["one/0.png", "/etc/passwd"], "its event_image is not a list of files below"),
        (["one/0.png"], "its event_image are neither all PNGs of a folder in the order of their names, nor NAME_0.png"),
        (["one/1.png", "one/0.png"], "neither all PNGs of a folder in the order of their names"),
        (["one/0.png", "one/2.png"], "names one/2.png as event_image"),
    ],
)
def test_event_images_that_are_no_sample_are_refused(images: Any, told: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    for place in range(2):
        event_image(tmp_path / "one" / f"{place}.png", place)
    (tmp_path / "list.json").write_text(
        json.dumps([{"id": "a", "event_data": "a.npz"} | ({} if images is None else {"event_image": images})])
    )
    with pytest.raises(UserError, match=told):
        read(tmp_path, "event-images")


# By the command.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--samples 3", "--samples is of the samples in --data, which is not given: it would have no effect; leave it out"),
        ("--split test", "--split is of the samples in --data, which is not given"),
        ("--shuffle-seed 3", "--shuffle-seed is of the samples in --data, which is not given"),
        ("--data . --limit 3", "unknown option --limit; it is now called --samples"),
        ("--data . --samples 0", "--samples 0 is out of range; give 1 or more"),
    ],
)
def test_options_without_data_are_refused(
    options: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(f"run baseline --preset tiny {options}", monkeypatch, capsys)


@pytest.mark.slow
def test_event_images_that_share_a_folder_are_measured(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    asked = f"compare {least_model('eventgpt')} --baseline baseline --optimized baseline+decode=threaded --data '{origin}' --samples 2"
    done = evbench(f"{asked} --blocks 2 --invocations 1 --warmup 5 --new-tokens 2 --trace-tokens 0 --cold-files --out out", tmp_path)
    assert "Traceback" not in done.stderr and (tmp_path / "out" / "report.md").exists(), done.stderr
    result = results.read(tmp_path / "out")
    assert result.outputs is not None and {check.grade for check in result.outputs.checks} == {"pass"}
    assert [Path(sample.path).name for sample in result.baseline.workload.samples] == ["000000", "000001"]


def test_two_models_get_the_same_windows(origin: Path) -> None:
    options = Options(preset="tiny", device="cpu", data=origin, samples=4, shuffle_seed=2)
    ours, theirs = (compare_models._workload(options, model, None) for model in ("video-llava", "eventgpt"))
    assert (ours.kind, theirs.kind) == ("video", "events")
    windows = [[(Path(sample.path).stem, sample.sequence) for sample in found.samples] for found in (ours, theirs)]
    assert windows[0] == windows[1] and len(windows[0]) == 4


@pytest.mark.parametrize(
    "command", ["compare-models --baseline video-llava --optimized eventgpt", "acceptance --target video-llava --draft eventgpt"]
)
def test_two_models_need_a_list_that_says_which_files_belong_together(
    command: str, origin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(f"{command} --data '{origin / 'mp4'}'", monkeypatch, capsys)
    assert "gives two models the same samples: give --data a folder that `evbench scenes make` has made, or a list in JSON" in told
