"""`evbench scenes`: what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from evbench.errors import UserError
from evbench.pipelines.load import event_files, png, video
from evbench.results import EventWindow
from evbench.scenes import dataset
from evbench.scenes.captions import QUESTIONS, describe
from evbench.scenes.world import imagine
from tests.command import evbench, interruptible, refused
from tests.scene_files import make_scenes

MAKE = "scenes make set --count 2 --seconds 0.5 --seed 4 --size 320x240"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("scenes")
    done = evbench(f"{MAKE} --workers 2", place)
    assert done.returncode == 0, done.stderr
    assert "Written to set" in done.stdout
    return place / "set"


def entries(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "dataset.json").read_text()))


@pytest.mark.slow
def test_the_entries_have_the_keys_of_the_original_set(folder: Path) -> None:
    for index, entry in enumerate(entries(folder)):
        assert {"id", "split", "event_data", "video_data", "mp4_data", "event_image", "conversations"} <= set(entry)
        assert entry["id"] == f"scene-4-{index:06d}"
        scene = imagine(4, index)
        for key, colours in (("conversations", True), ("event_conversations", False)):
            said = [turn["value"] for turn in entry[key]]
            assert said[0::2] == list(QUESTIONS.values())
            assert said[1::2] == [describe(scene, register, colours=colours) for register in QUESTIONS]


@pytest.mark.slow
def test_clips_are_tagged_h264_of_the_asked_size(folder: Path) -> None:
    for entry in entries(folder):
        with av.open(str(folder / entry["mp4_data"])) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.frames) == (320, 240, 10)
            assert stream.average_rate == 20
            assert stream.codec_context.name == "h264"
            assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1), "BT.709, limited range"


@pytest.mark.slow
def test_events_are_plain_arrays_and_the_images_are_theirs(folder: Path) -> None:
    for entry in entries(folder):
        stream = event_files.read(folder / entry["event_data"], EventWindow(0, None, None, "sensor"))
        assert stream.sensor == (480, 640)
        with np.load(folder / entry["event_data"], allow_pickle=False) as stored:
            x, y, t, p = (stored[name] for name in "xytp")
        assert [array.dtype.name for array in (x, y, t, p)] == ["uint16", "uint16", "int64", "uint8"]
        assert len(x) > 10_000
        assert (np.diff(t) >= 0).all()
        assert t[-1] < 500_000
        by_pixel = np.lexsort((t, x, y))
        same = (np.diff(x[by_pixel].astype(int)) == 0) & (np.diff(y[by_pixel].astype(int)) == 0)
        assert np.diff(t[by_pixel])[same].min() >= 500, "no pixel fires within its refractory time, not by noise either"
        images = png.read_plain((folder / entry["event_image"][0]).parent).pixels
        # Written out: one event after the other, as the released code does it.
        size = len(x) // 5
        for index, image in enumerate(images):
            end = (index + 1) * size if index < 4 else len(x)
            expected = np.full((480, 640, 3), 255, np.uint8)
            for place in range(index * size, end):
                expected[y[place], x[place]] = (255, 0, 0) if p[place] else (0, 0, 255)
            assert np.array_equal(image, expected)


@pytest.mark.slow
def test_a_spec_gives_equal_bytes_whatever_the_number_of_workers(folder: Path, tmp_path: Path) -> None:
    make_scenes(tmp_path / "set", 4, 1, 0.5, 320, 240)
    again = sorted(file.relative_to(tmp_path / "set") for file in (tmp_path / "set").rglob("*") if file.is_file())
    assert len(again) == 7 + 1
    for name in again:
        if name.name != "dataset.json":
            assert (tmp_path / "set" / name).read_bytes() == (folder / name).read_bytes(), name
    assert entries(tmp_path / "set") == entries(folder)[:1]


@pytest.mark.slow
def test_the_sheet_shows_the_scenes(folder: Path, tmp_path: Path) -> None:
    done = evbench(f"scenes show '{folder}' --out sheet.png --count 2", tmp_path)
    assert done.returncode == 0, done.stderr
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    first = video.decode_plain(folder / entries(folder)[0]["mp4_data"], 3, "inclusive").pixels[0]
    corner = np.array(Image.fromarray(np.asarray(first)).resize((300, 225), Image.Resampling.LANCZOS))
    assert np.array_equal(sheet[8:233, 8:308], corner)
    again = evbench(f"scenes show '{folder}' --out sheet.png --count 1", tmp_path)
    assert again.returncode == 0, again.stderr
    assert Image.open(tmp_path / "sheet.png").height < len(sheet)
    Image.new("RGB", (8, 8)).save(tmp_path / "holiday.png")
    before = (tmp_path / "holiday.png").read_bytes()
    refused = evbench(f"scenes show '{folder}' --out holiday.png", tmp_path)
    assert refused.returncode == 2
    assert "--out holiday.png was not written by this command, and is not replaced; remove it, or give another --out" in refused.stderr
    assert (tmp_path / "holiday.png").read_bytes() == before


@pytest.mark.slow
def test_a_set_that_stands_there_is_not_overwritten(folder: Path) -> None:
    done = evbench(MAKE, folder.parent)
    assert done.returncode == 2
    assert "holds scenes already" in done.stderr


def test_scenes_are_not_made_among_the_files_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "cat.mp4").touch()
    with pytest.raises(UserError, match=r"is not empty \(cat\.mp4\), and its files would be mixed with the scenes"):
        dataset.open_folder(dataset.DatasetSpec(tmp_path, 0, 1, 1.0, 64, 64))
    assert [path.name for path in tmp_path.iterdir()] == ["cat.mp4"]


def wait_for_scenes(folder: Path, begun: int) -> None:
    images = folder / "event_images"
    deadline = time.monotonic() + 60
    while not (images.exists() and len(list(images.iterdir())) >= begun):
        assert time.monotonic() < deadline, "no scene"
        time.sleep(0.1)


@pytest.mark.long
def test_an_interrupt_keeps_the_scenes_that_are_done(tmp_path: Path) -> None:
    with interruptible("scenes make set --count 50 --seconds 0.5 --size 320x240 --workers 1", tmp_path) as running:
        wait_for_scenes(tmp_path / "set", 2)
        running.send_signal(signal.SIGINT)
        _, printed = running.communicate(timeout=60)
    assert running.returncode == 130
    assert printed.splitlines()[-1] == "evbench: interrupted; the scenes that are done are in set/dataset.json"
    assert "Traceback" not in printed
    kept = entries(tmp_path / "set")
    assert 1 <= len(kept) < 50
    assert all((tmp_path / "set" / entry["event_image"][-1]).exists() for entry in kept)


@pytest.mark.slow
def test_a_killed_worker_is_an_error_of_one_line(tmp_path: Path) -> None:
    with interruptible("scenes make set --count 50 --seconds 0.5 --size 320x240 --workers 1", tmp_path) as running:
        wait_for_scenes(tmp_path / "set", 2)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        worker = next(pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text())
        os.kill(int(worker), signal.SIGKILL)
        _, printed = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "a worker was killed" in printed.splitlines()[-1]
    assert "Traceback" not in printed
    assert entries(tmp_path / "set")


@pytest.mark.slow
def test_the_sheet_reads_the_files_that_are_listed(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "set")
    lost = entries(folder)[0]["event_image"][0]
    (tmp_path / "set" / lost).unlink()
    done = evbench("scenes show set", tmp_path)
    assert done.returncode == 2
    assert f"set/{lost}: no such file" in done.stderr
    assert "cannot write nowhere/sheet.png" in evbench(f"scenes show '{folder}' --out nowhere/sheet.png", tmp_path).stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("scenes make set --size 1440", "is no size; write WIDTHxHEIGHT"),
        ("scenes make set --size 321x240", "each edge must be even"),
        ("scenes make set --size 32x24", "from 64 to 4096"),
        ("scenes make set --size 480x640", "higher than wide"),
        ("scenes make file/set", "the folder file/set cannot be made: Not a directory in "),
        ("scenes show outside", "is no list of scenes"),
        ("scenes show nothing", "No such file or directory; give a folder that `evbench scenes make` has made"),
        ("scenes show empty", "is no list of scenes"),
        ("scenes show hostile", "is no list of scenes"),
        ("scenes show nobody", "is no list of scenes"),
        ("scenes show torn", "is damaged"),
        ("scenes show twice", "twice/dataset.json: a and b are both of a.mp4; leave one of them out, they are one scene"),
        ("scenes show again", "again/dataset.json: a and b are both of a.npz; leave one of them out, they are one scene"),
        ("scenes show lost", "no such file"),
        ("scenes show lost --out sheet.gif", "is no PNG"),
    ],
)
def test_wrong_input_gets_one_line(
    command: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    lost = {"id": "a", "mp4_data": "mp4/a.mp4", "event_image": ["a/0.png"]}
    turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}] * 2
    said = {"conversations": turns, "event_conversations": turns}
    made = said | {"id": "a", "mp4_data": "a.mp4", "event_image": ["a/0.png"], "event_data": "a.npz"}
    for name, text in {
        "empty": '{"a": 1}',
        "nobody": "[]",
        "hostile": json.dumps([lost | {"conversations": 5, "event_conversations": [{}]}]),
        "outside": json.dumps([lost | {"mp4_data": "../a.mp4", "conversations": turns, "event_conversations": turns}]),
        "torn": '[{"id"',
        "twice": json.dumps([made, made | {"id": "b", "mp4_data": "./a.mp4", "event_image": ["b/0.png"], "event_data": "b.npz"}]),
        "again": json.dumps([made, made | {"id": "b", "mp4_data": "b.mp4", "event_image": ["b/0.png"]}]),
        "lost": json.dumps([lost | {"conversations": turns, "event_conversations": turns}]),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert message in refused(command, monkeypatch, capsys)
