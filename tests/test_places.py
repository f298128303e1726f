"""Files that are given to others name no folder of this machine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from evbench import results
from evbench.cli.main import main
from evbench.inputs import sample
from evbench.places import short_command, short_path, without_places
from evbench.session import compare
from evbench.traces import chrome
from tests.left_behind import places_in
from tests.simulation import SimulatedMachine, SimulatedWorker


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder that is no temporary one, in which work is the current folder."""
    home = tmp_path / "home" / "me"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "work")
    yield home


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("clip.mp4", "clip.mp4"),
        ("{home}/work/clips/a b.mp4", "clips/a b.mp4"),
        ("{home}/work", "."),
        ("../clip.mp4", "~/clip.mp4"),
        ("{home}/workshop/clip.mp4", "~/workshop/clip.mp4"),
        ("{home}", "~"),
        ("/tmp/x/y/clip.mp4", "clip.mp4"),
        ("/var/tmp/clip.mp4", "clip.mp4"),
        ("/data/of/somebody/weights", "weights"),
        ("/", "/"),
        (str(sample.CLIP), "evbench/data/scene.mp4"),
    ],
)
def test_a_path_is_cut_to_what_others_may_read(given: str, expected: str, at_home: Path) -> None:
    assert short_path(given.format(home=at_home)) == expected


def test_a_user_whose_folder_lies_in_the_current_one_is_not_named_either(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(at_home.parent.parent)
    assert short_path(at_home / "clip.mp4") == "~/clip.mp4"
    assert short_path("other.mp4") == "other.mp4"


def test_where_there_is_no_home_nothing_is_cut_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert without_places("/data/x is gone, /tmp/a/x.log too") == "/data/x is gone, x.log too"


def test_paths_in_a_text_are_cut_and_nothing_else(at_home: Path) -> None:
    cases = {
        f'"a": "{at_home}/.cache/x.py"': '"a": "~/.cache/x.py"',
        "see /tmp/torch_me/ab/k.cpp:12": "see k.cpp:12",
        f"(in {at_home}, or {at_home}/work/out)": "(in ~, or out)",
        f"/mnt{at_home}/y is another": f"/mnt{at_home}/y is another",
        f"{at_home}x is in a temporary folder": "mex is in a temporary folder",
        "1/tmp is no path, nor is a.b/tmpx or /tmpx": "1/tmp is no path, nor is a.b/tmpx or /tmpx",
    }
    assert {text: without_places(text) for text in cases} == cases


def test_a_command_can_still_be_copied(at_home: Path) -> None:
    typed = ["evbench", "run", "--weights", f"{at_home}/my weights", f"--video={at_home}/work/a.mp4", "--out", "/tmp/o", "--prompt", "Why?"]
    assert short_command(typed) == "evbench run --weights ~/'my weights' --video=a.mp4 --out o --prompt 'Why?'"
    assert short_command(["evbench", "--target", "video-llava.ttft<1s"]) == "evbench --target 'video-llava.ttft<1s'"


def test_a_trace_is_written_without_the_host(at_home: Path) -> None:
    event = {"ph": "X", "name": "k", "ts": 1, "dur": 1, "pid": 1, "tid": 1, "args": {"kernel_file": f"{at_home}/inductor/k.py"}}
    chrome.write(chrome.Trace({"host_name": "secret", "traceName": "/tmp/x.json", "trace_id": "7"}, [event]), Path("t.json.gz"))
    trace = chrome.read(Path("t.json.gz"))
    assert trace.header == {"trace_id": "7"}
    assert trace.events == [event | {"args": {"kernel_file": "~/inductor/k.py"}}]


def test_what_a_run_leaves_names_no_folder_and_no_host(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a clip in the user's folder, with paths given in full. It can be resumed by the same command."""
    shutil.copy(sample.CLIP, at_home / "clip.mp4")
    machine = SimulatedMachine(1)

    def start(side: results.Side, *_: object) -> AbstractContextManager[SimulatedWorker]:
        return machine.start(side)

    monkeypatch.setattr(compare, "_worker", start)
    given = f"--video {at_home}/clip.mp4 --preset tiny --device cpu --blocks 6 --trace-tokens 0 --out {at_home}/work/out"
    monkeypatch.setattr(sys, "argv", ["evbench", "run", "baseline", *given.split()])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    files = sorted(Path("out").iterdir())
    assert [file.name for file in files] == ["report.html", "report.md", "result.json", "runs.jsonl", "session.json", "verdict.json"]
    assert {file.name: found for file in files if (found := places_in(file))} == {}
    result = results.read("out")
    assert result.baseline.workload.samples[0].path == "~/clip.mp4"
    assert result.command.endswith("--out out")
    for name in ("result.json", "report.md"):
        Path("out", name).unlink()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--resume"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    again = results.read("out")
    assert (again.baseline.workload, again.baseline.timed()) == (result.baseline.workload, result.baseline.timed())
