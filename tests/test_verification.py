"""A result that somebody has edited is refused, and one that nothing stands beside is told as not verified."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import evbench
from evbench import digest, results
from evbench.cli.report import write_report
from evbench.errors import UserError
from evbench.results import FORMAT
from evbench.session import journal
from evbench.session.session_folder import HEADER, RUNS
from evbench.session.verification import ALONE, OLDER, read_verified
from evbench.variants.named import parse
from evbench.verdict.judge import judge
from tests.command import refused
from tests.simulation import PLAN, Noise, SimulatedMachine, header, run_simulated

CHOICES = {side: {"name": "baseline", **parse("baseline").choices()} for side in ("baseline", "optimized")}
ASKED = replace(header(replace(PLAN, blocks=6, throughput=2)), choices=CHOICES)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Folder of a finished session: its journal and its result."""
    folder = tmp_path / "out"
    with journal.create(folder, ASKED) as written:
        results.write(run_simulated(SimulatedMachine(1, Noise()), written), folder / "result.json")
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], object], *, seal: bool) -> None:
    """Edit the result. With `seal` as somebody who knows of the digest."""
    file = folder / "result.json"
    content = json.loads(file.read_text())
    change(content)
    plain = {name: value for name, value in content.items() if name != digest.FIELD}
    file.write_text(json.dumps(digest.sealed(plain) if seal else content))


def quarter(content: dict[str, Any]) -> None:
    """All times of the optimized side."""
    for run in content["optimized"]["runs"]:
        run["seconds"] /= 4
        for stage in (run["stages"] or {}).values():
            stage["seconds"] /= 4


def test_a_result_beside_its_journal_is_verified(recorded: Path, tmp_path: Path) -> None:
    found = read_verified(recorded)
    assert found == results.read(recorded) == read_verified(recorded / "result.json")
    assert not any(measured.unverified for measured in found.variants().values())
    assert "NOT_VERIFIED" not in judge(found).flags
    assert "NOT_VERIFIED" not in judge(evbench.compare(recorded, recorded, folder=tmp_path / "again")).flags
    assert write_report(recorded).unverified == ""


@pytest.mark.parametrize("seal", [False, True])
def test_faster_times_than_were_measured_are_refused(seal: bool, recorded: Path, tmp_path: Path) -> None:
    edit(recorded, quarter, seal=seal)
    told = (
        r"out contradicts itself: optimized: run 0: seconds is 0\.\d+ in result\.json, and 0\.\d+ in runs\.jsonl" if seal else "was changed"
    )
    for use in (
        lambda: evbench.compare(recorded, recorded, folder=tmp_path / "other"),
        lambda: write_report(recorded),
    ):
        with pytest.raises(UserError, match=told):
            use()
    assert not (tmp_path / "other").exists()


def leave_out_block(content: dict[str, Any]) -> None:
    """The last one, with all of its runs."""
    number = content["sessions"][0]["blocks"].pop()["number"]
    for side in ("baseline", "optimized"):
        for rows in ("runs", "throughput_runs"):
            content[side][rows] = [run for run in content[side][rows] if run["block"] != number]


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a slow block left out": (leave_out_block, r"blocks: result\.json has 5, and runs\.jsonl has 6"),
    "a block marked as disturbed": (
        lambda content: content["sessions"][0]["blocks"][2].update(disturbances=["x"]),
        "block 2: disturbances",
    ),
    "a slow run left out": (lambda content: content["optimized"]["runs"].pop(20), "optimized: run 20: "),
    "the last run left out": (lambda content: content["optimized"]["runs"].pop(), r"has 27 runs that count, and runs\.jsonl has 28"),
    "other tokens": (lambda content: content["baseline"]["runs"][9].update(tokens=[9]), "baseline: run 9: tokens"),
    "a faster throughput run": (
        lambda content: content["optimized"]["throughput_runs"][1].update(seconds=0.1),
        "throughput run 1: seconds",
    ),
    "less work in a throughput run": (
        lambda content: content["optimized"]["throughput_runs"][1]["work"][0].update(new_tokens=1),
        r"throughput run 1: work\.0\.new_tokens is 1 in result\.json, and 3 in runs\.jsonl",
    ),
    "another variant": (
        lambda content: content["optimized"].update(variant="optimized"),
        "another plan, machine, workload or variant of the optimized",
    ),
    "another machine": (lambda content: content["sessions"][0]["machine"].update(cpu="Z80"), "another plan, machine, workload or variant"),
    "another input": (lambda content: content["optimized"]["workload"].update(prompt="Who?"), "workload or variant of the optimized"),
    "other weights": (lambda content: content["baseline"]["builds"][0].update(parameters=1), "baseline: build 0: parameters is 1 "),
    "a warm-up that was steady": (lambda content: content["baseline"].update(unsteady=["x"]), "reason of an unsteady warm-ups"),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_the_journal_does_not_say_is_named(name: str, recorded: Path) -> None:
    change, told = EDITS[name]
    edit(recorded, change, seal=True)
    with pytest.raises(UserError, match=rf"out contradicts itself: .*{told}"):
        read_verified(recorded)


def test_a_journal_that_was_edited_is_refused(recorded: Path) -> None:
    raw = recorded / RUNS
    raw.write_text(raw.read_text().replace('"tokens": [1, 2, 3]', '"tokens": [1, 2, 4]', 1))
    with pytest.raises(UserError, match="contradicts itself: baseline: run 0: tokens"):
        read_verified(recorded)
    raw.write_text("".join(raw.read_text().splitlines(keepends=True)[:-1][1:]))
    with pytest.raises(UserError, match=r"runs\.jsonl, line 2 is damaged"):
        read_verified(recorded)


def test_a_result_alone_is_read_and_told_as_not_verified(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recorded / RUNS).unlink()
    found = read_verified(recorded)
    assert {measured.unverified for measured in found.variants().values()} == {ALONE}
    assert write_report(recorded).unverified == f"baseline: {ALONE}; optimized: {ALONE}"
    assert "NOT_VERIFIED: nothing shows that the earlier result holds what was measured" in (recorded / "report.md").read_text()
    again = evbench.compare(recorded, recorded, folder=tmp_path / "again")
    assert "NOT_VERIFIED" in judge(again).flags
    assert results.read(tmp_path / "again") == again, "a comparison with it says so wherever it goes"
    edit(recorded, quarter, seal=False)
    with pytest.raises(UserError, match=r"result\.json was changed after it was written: its digest is not that of its content"):
        read_verified(recorded)


def test_a_journal_of_another_session_or_version_verifies_nothing(recorded: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(recorded / "result.json", moved)
    with journal.create(tmp_path / "other", replace(ASKED, started="2026-02-02T00:00:00Z")) as written:
        run_simulated(SimulatedMachine(2, Noise()), written)
    for name in (HEADER, RUNS):
        shutil.copy(tmp_path / "other" / name, moved)
    assert read_verified(moved).baseline.unverified == ALONE
    content = json.loads((moved / HEADER).read_text())
    (moved / HEADER).write_text(json.dumps(content | {"format": FORMAT - 1}))
    assert read_verified(moved).baseline.unverified == OLDER


def test_a_result_written_before_the_workers_were_started_again_is_verified(recorded: Path) -> None:
    """As a kill while outputs are compared leaves it: the journal has a warm-up more."""
    with journal.resume(recorded, ASKED) as written:
        run_simulated(SimulatedMachine(2, Noise()), written)
    assert len(journal.read(recorded).runs["baseline"]) > len(results.read(recorded).baseline.runs)
    assert read_verified(recorded).baseline.unverified == ""


def test_the_layout_of_a_file_is_not_part_of_its_digest(recorded: Path) -> None:
    file = recorded / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=3))
    assert read_verified(recorded).baseline.unverified == ""


def test_the_command_refuses_an_edited_result_in_one_line(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(recorded, quarter, seal=True)
    asked = f"compare --baseline {recorded} --optimized {recorded} --out {tmp_path / 'new'}"
    assert "contradicts itself: optimized: run 0: seconds" in refused(asked, monkeypatch, capsys)
    assert "contradicts itself" in refused(f"report {recorded}", monkeypatch, capsys)
    assert not (tmp_path / "new").exists()
