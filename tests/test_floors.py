from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from evbench.errors import UserError
from evbench.machine import noise_floors
from evbench.machine.noise_floors import Floor
from evbench.results import Gpu, Machine, Sample, Workload

MACHINE = Machine("Linux", "Fast CPU", 8, 2**34, None, "3.11", {"torch": "2.14"}, "abc")
WITH_GPU = dataclasses.replace(MACHINE, gpu=Gpu("Fast GPU", "580.1", 2**36, 700.0, 700.0, 1980, None))
TINY = Workload(
    "video-llava", "tiny", None, (Sample("a.mp4", "00", 4, 6),), 8, "inclusive", "What?", 2, False, "cpu", "float32", 0, kind="video"
)
ON_GPU = dataclasses.replace(TINY, preset=None, weights="/weights", device="cuda", seed=None)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of our own, never a real one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "state"


def floor(machine: Machine = MACHINE, workload: Workload = TINY, end_to_end: float = 0.01) -> Floor:
    smallest = {"end-to-end": end_to_end, "vision": 0.02}
    return Floor("2026-01-01T00:00:00Z", noise_floors.place(machine), noise_floors.work(workload), smallest)


def test_what_was_kept_is_found_again(state: Path) -> None:
    assert noise_floors.find(MACHINE, TINY) is None
    noise_floors.keep(floor())
    assert noise_floors.find(MACHINE, TINY) == floor()
    assert [path.name for path in (state / "evbench").iterdir()] == ["noise-floors.json"]


def test_a_floor_is_of_one_machine_and_one_kind_of_work() -> None:
    noise_floors.keep(floor())
    assert noise_floors.find(WITH_GPU, TINY) is None
    assert noise_floors.find(MACHINE, ON_GPU) is None
    assert noise_floors.find(dataclasses.replace(MACHINE, cores=4), TINY) is None
    assert noise_floors.find(dataclasses.replace(MACHINE, packages={"torch": "3.0"}), TINY) is None
    assert noise_floors.find(MACHINE, dataclasses.replace(TINY, new_tokens=9)) is None
    assert noise_floors.find(MACHINE, dataclasses.replace(TINY, frames=4)) is None
    assert noise_floors.find(dataclasses.replace(MACHINE, source="def"), TINY) == floor(), "it is the same machine"
    assert noise_floors.find(MACHINE, dataclasses.replace(TINY, prompt="Who?")) == floor(), "it is the same kind of work"


def test_a_machine_and_its_work_are_named() -> None:
    assert noise_floors.place(MACHINE) == "Fast CPU, 8 cores, torch 2.14"
    assert WITH_GPU.gpu is not None
    assert noise_floors.place(WITH_GPU) == f"Fast CPU, 8 cores, Fast GPU, driver {WITH_GPU.gpu.driver}, torch 2.14"
    assert noise_floors.work(TINY) == f"video-llava tiny on cpu, {TINY.new_tokens} new tokens"
    assert noise_floors.work(dataclasses.replace(TINY, frames=4)) == f"{noise_floors.work(TINY)}, 4 frames"
    assert noise_floors.work(ON_GPU) == f"video-llava /weights on cuda, {ON_GPU.new_tokens} new tokens"


def test_a_new_floor_replaces_the_one_before_and_no_other() -> None:
    noise_floors.keep(floor(end_to_end=0.01))
    noise_floors.keep(floor(WITH_GPU, ON_GPU, end_to_end=0.002))
    noise_floors.keep(floor(end_to_end=0.03))
    assert noise_floors.find(MACHINE, TINY) == floor(end_to_end=0.03)
    assert noise_floors.find(WITH_GPU, ON_GPU) == floor(WITH_GPU, ON_GPU, end_to_end=0.002)
    assert noise_floors.path().read_text().count('"measured"') == 2


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_folder_by_the_environment_it_is_in_the_home(value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("XDG_STATE_HOME")
    else:
        monkeypatch.setenv("XDG_STATE_HOME", value)
    noise_floors.keep(floor())
    assert (tmp_path / "home" / ".local" / "state" / "evbench" / "noise-floors.json").exists()
    assert noise_floors.find(MACHINE, TINY) == floor()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[{",
        b"null",
        b"7",
        b"[7]",
        b"\xff\xfe",
        b'[{"measured": "2026"}]',
        b'[{"measured": "2026", "machine": "CPU", "work": "tiny", "smallest": {"end-to-end": "0.1"}}]',
        b'[{"measured": "2026", "machine": "CPU", "work": "tiny", "smallest": {}, "more": 1}]',
        b"[" * 100_000,
    ],
    ids=[
        "empty",
        "cut off",
        "null",
        "number",
        "list of numbers",
        "no text",
        "fields missing",
        "text for a number",
        "one field more",
        "deep",
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(content: bytes) -> None:
    file = noise_floors.path()
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"noise-floors\.json is damaged \(.*\); remove it and run evbench selftest again"):
        noise_floors.find(MACHINE, TINY)
    with pytest.raises(UserError, match="is damaged"):
        noise_floors.keep(floor())
    assert file.read_bytes() == content


def test_a_place_that_cannot_be_read_is_named(state: Path) -> None:
    state.write_text("a file in the folder's place")
    with pytest.raises(UserError, match=r"cannot read .*noise-floors\.json \(Not a directory\); mend that, or set XDG_STATE_HOME"):
        noise_floors.find(MACHINE, TINY)


def test_a_place_that_cannot_be_written_is_named(state: Path) -> None:
    # A link to nowhere stops the superuser too, whom permissions do not stop.
    state.mkdir()
    (state / "evbench").symlink_to(state / "nowhere")
    assert noise_floors.find(MACHINE, TINY) is None
    with pytest.raises(UserError, match=r"cannot write .*noise-floors\.json \(File exists\); mend that, or set XDG_STATE_HOME"):
        noise_floors.keep(floor())


def test_a_file_with_former_names_of_timings_is_read_with_the_names_of_today() -> None:
    file = noise_floors.path()
    file.parent.mkdir(parents=True)
    former = dataclasses.asdict(floor()) | {"smallest": {"total": 0.01, "first token": 0.02, "further token": 0.03, "load": 0.04}}
    file.write_text(json.dumps([former]))
    found = noise_floors.find(MACHINE, TINY)
    assert found is not None
    assert found.smallest == {"end-to-end": 0.01, "ttft": 0.02, "tpot": 0.03, "load": 0.04}


def test_a_floor_that_cannot_be_written_leaves_the_one_before(state: Path) -> None:
    noise_floors.keep(floor(end_to_end=0.01))
    (state / "evbench" / "noise-floors.json.part").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        noise_floors.keep(floor(end_to_end=0.03))
    assert noise_floors.find(MACHINE, TINY) == floor(end_to_end=0.01)
