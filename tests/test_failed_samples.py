"""A damaged sample among good ones: left out on both sides and counted; nothing is claimed if only one side could not use it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from evbench.errors import UserError
from evbench.inputs import workload as workloads
from evbench.results import Build, FailedSample, Side, Workload, read
from evbench.session import failed_samples
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Verdict
from tests.command import evbench
from tests.examples import described, make_side
from tests.plugin_files import written
from tests.scene_files import make_scenes
from tests.simulation import PLAN, SimulatedMachine, simulate, simulated_workload
from tests.test_faults import FAULTY

DAMAGED = "it is damaged; copy it again"


@dataclasses.dataclass
class Tried:
    refused: tuple[int, ...]

    def built(self) -> Build:
        return Build(1.0, 10, "ab", 2, {}, 0)

    def refusal(self, sample: int) -> str:
        return DAMAGED if sample in self.refused else ""


def found(refused: Mapping[Side, tuple[int, ...]], samples: int = 4) -> tuple[failed_samples.Failed, list[str]]:
    """What is left out, and what was told."""
    machine = SimulatedMachine(1)

    @contextmanager
    def start(side: Side) -> Iterator[Tried]:
        yield Tried(refused.get(side, ()))

    both: dict[Side, Workload] = {"baseline": simulated_workload(samples), "optimized": simulated_workload(samples)}
    return failed_samples.find(both, start, machine, at_once=True), machine.messages


def test_each_side_says_what_it_cannot_use_and_both_are_without_it() -> None:
    failed, told = found({"baseline": (1,), "optimized": (1, 3)})
    assert {side: [one.number for one in some] for side, some in failed.items()} == {"baseline": [1], "optimized": [1, 3]}
    assert told == [
        f"baseline: 1 of 4 samples cannot be used and are left out; the first: {DAMAGED}",
        f"optimized: 2 of 4 samples cannot be used and are left out; the first: {DAMAGED}",
    ]
    left = failed_samples.without({"baseline": simulated_workload(4), "optimized": simulated_workload(4)}, failed)
    assert [[sample.path for sample in one.samples] for one in left.values()] == [["0.mp4", "2.mp4"]] * 2


@pytest.mark.parametrize(
    ("at_once", "expected"),
    [
        (True, ["baseline begins", "optimized begins", "optimized ends", "baseline ends"]),
        (False, ["baseline begins", "baseline ends", "optimized begins", "optimized ends"]),
    ],
)
def test_workers_start_at_the_same_time_where_there_is_room_for_both(at_once: bool, expected: list[str]) -> None:
    order: list[str] = []

    @contextmanager
    def start(side: Side) -> Iterator[Tried]:
        order.append(f"{side} begins")
        yield Tried(())
        order.append(f"{side} ends")

    both: dict[Side, Workload] = {"baseline": simulated_workload(4), "optimized": simulated_workload(4)}
    assert failed_samples.find(both, start, SimulatedMachine(1), at_once=at_once) == {}
    assert order == expected


def test_where_all_can_be_used_nothing_changes_and_one_sample_is_not_tried() -> None:
    assert found({}) == ({}, [])
    assert found({"baseline": (0,)}, samples=1) == ({}, [])


@pytest.mark.parametrize("refused", [{"baseline": (0, 1, 2, 3)}, {"baseline": (0, 1), "optimized": (2, 3)}])
def test_if_none_is_left_that_is_refused(refused: dict[Side, tuple[int, ...]]) -> None:
    with pytest.raises(UserError, match=f"no sample can be used by all sides; the first: {DAMAGED}"):
        found(refused)


@pytest.mark.parametrize(("blocks", "expected"), [(4, 3), (8, 6), (12, 9), (10, 10), (3, 3)])
def test_each_sample_that_is_left_has_as_many_blocks_as_it_would_have_had(blocks: int, expected: int) -> None:
    plan = failed_samples.plan_of(dataclasses.replace(PLAN, blocks=blocks), range(4), range(3))
    assert plan.blocks == expected
    assert failed_samples.plan_of(plan, range(4), range(4)) == plan


# The verdict.


FAILED = (FailedSample(2, "2.mp4", DAMAGED),)


def test_a_sample_that_both_sides_cannot_use_is_counted_on_both_and_the_others_are_claimed() -> None:
    result = simulate(SimulatedMachine(1, faster=1.5), samples=4)
    assert result.optimized is not None and judge(result).verdict is Verdict.FASTER and "FAILED_SAMPLES" not in judge(result).flags
    even = dataclasses.replace(
        result, baseline=dataclasses.replace(result.baseline, failed=FAILED), optimized=dataclasses.replace(result.optimized, failed=FAILED)
    )
    judged = judge(even)
    assert judged.verdict is Verdict.FASTER
    assert judged.flags["FAILED_SAMPLES"] == (
        f"1 of 5 samples of the baseline side and 1 of 5 samples of the optimized side could not be used, and are left out on both; "
        f"the first: {DAMAGED}"
    )
    assert any("FAILED_SAMPLES" in text for text in str(described(even)).split("\n"))


@pytest.mark.parametrize("side", ["baseline", "optimized"])
def test_if_only_one_side_cannot_use_a_sample_nothing_is_claimed(side: Side) -> None:
    result = simulate(SimulatedMachine(1, faster=1.5), samples=4)
    measured = dataclasses.replace(result.variants()[side], failed=FAILED)
    changed = dataclasses.replace(result, baseline=measured) if side == "baseline" else dataclasses.replace(result, optimized=measured)
    judged = judge(changed)
    assert judged.verdict is Verdict.INCONCLUSIVE and judged.exit_code == 4
    assert judged.reasons[0].startswith("FAILED_SAMPLES: ") and f"1 of 5 samples of the {side} side" in judged.reasons[0]
    assert all(timing.claim is None for timing in judged.timings()), "the headline is withheld, and each stage's"
    assert "FASTER" not in described(changed).headline


def test_a_side_has_no_failed_samples_unless_it_says_so() -> None:
    assert make_side().failed == ()


# With files and processes.


def test_a_damaged_clip_in_a_set_is_no_reason_to_refuse_the_set(tmp_path: Path) -> None:
    folder = make_scenes(tmp_path / "set", 1, 3, 0.5, 64, 48)
    clips = sorted((folder / "mp4").iterdir())
    asked = {"model": "video-llava", "preset": "tiny", "weights": None, "events_folders": (), "frame_policy": "inclusive",
             "prompt": "What?", "new_tokens": 2, "stop_at_end": False, "device": "cpu", "seed": None}  # fmt: skip
    whole = workloads.describe(**asked, videos=(), data=folder)  # type: ignore[arg-type]
    clips[0].write_bytes(clips[0].read_bytes()[:700])
    damaged = workloads.describe(**asked, videos=(), data=folder)  # type: ignore[arg-type]
    assert damaged.samples[1:] == whole.samples[1:] and damaged.frames == whole.frames
    assert (damaged.samples[0].path, damaged.samples[0].height) == (whole.samples[0].path, 0)
    with pytest.raises(UserError, match=r"give a video that plays|is cut off"):
        workloads.describe(**asked, videos=tuple(clips), data=None)  # type: ignore[arg-type]
    for clip in clips:
        clip.write_bytes(b"no clip")
    with pytest.raises(UserError, match="is damaged or no video"):
        workloads.describe(**asked, videos=(), data=folder)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("uneven", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_comparison_of_a_set_with_a_damaged_clip_goes_on_with_the_others(
    uneven: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    folder = make_scenes(tmp_path / "set", 1, 4, 0.5, 64, 48)
    damaged = sorted((folder / "mp4").iterdir())[2]
    content = damaged.read_bytes()
    loads = "return evbench.frames_of(path, self.workload)"
    if uneven:
        loads = (
            f'if self.name == "other" and path.name == "{damaged.name}": raise UserError("it is damaged; copy it again")\n        {loads}'
        )
    else:
        damaged.write_bytes(content[:700])
    written(tmp_path, "from evbench.errors import UserError\n" + FAULTY.replace('return np.zeros((8, 4, 4, 3), "uint8")', loads))
    asked = "compare --pipeline mine.py:Faulty --baseline plain --optimized other --device cpu --new-tokens 2 --warmup 5 --trace-tokens 0"
    asked += " --data set --blocks 4 --invocations 1 --out out"
    done = evbench(asked, tmp_path)
    assert done.returncode in (4, 6), done.stderr
    result = read(tmp_path / "out")
    assert result.optimized is not None
    failed = {side: [one.number for one in measured.failed] for side, measured in result.variants().items()}
    assert failed == {"baseline": [] if uneven else [2], "optimized": [2]}
    assert [len(measured.workload.samples) for measured in result.variants().values()] == [3, 3]
    order = [block.sample for block in result.sessions[0].blocks]  # one that was disturbed is run again
    assert list(dict.fromkeys(order)) == [0, 1, 2]
    assert "1 of 4 samples cannot be used and are left out" in done.stderr
    assert "FAILED_SAMPLES" in (tmp_path / "out" / "report.md").read_text()
    if uneven:
        assert (
            json.loads((tmp_path / "out" / "verdict.json").read_text())["reasons"][0].startswith("FAILED_SAMPLES") or done.returncode == 6
        )
    # What is resumed knows them from before, also if the file is whole by then.
    shutil.rmtree(tmp_path / "out" / "result.json", ignore_errors=True)
    damaged.write_bytes(content)
    assert evbench(f"{asked} --resume", tmp_path).returncode in (2, 4, 6)
