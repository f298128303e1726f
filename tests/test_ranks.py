"""Two ranks on the CPU, really started: one result as of one device, and what becomes of it when one of them is lost."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evbench.machine.conditions import descendants
from evbench.session import journal
from evbench.session.verification import read_verified
from tests.command import evbench, interruptible, is_running
from tests.left_behind import places_in
from tests.ranks import CLIPS, MEASURED, blocks, command, place_clips, ranks_of, require_one_result_as, timed, wait_until, was_measured
from tests.scene_files import small_clip

pytestmark = pytest.mark.slow

DAMAGED, CUT_OFF = "damaged.mp4", "cut-off.mp4"


def damage(folder: Path) -> list[str]:
    """Two clips more: one that ends too early, which its container shows, and one that shows it only when it is decoded."""
    whole = small_clip(CLIPS).read_bytes()
    (folder / CUT_OFF).write_bytes(whole[: len(whole) // 3])
    start = whole.index(b"mdat") + len(whole) // 4
    torn = bytearray(whole)
    for place in range(start, min(len(whole), start + len(whole) // 3)):
        torn[place] = place * 7 % 251
    (folder / DAMAGED).write_bytes(torn)
    return [DAMAGED, CUT_OFF]


def test_two_ranks_have_one_result_as_of_one_device_and_go_on_without_corrupt_samples(one_process: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    place_clips(clips)
    bad = [f"clips/{name}" for name in damage(clips)]
    two = evbench(command([], "--data clips --gpus 2 --out two"), tmp_path)
    assert two.returncode in MEASURED, two.stderr
    assert "Traceback" not in two.stdout + two.stderr
    require_one_result_as(one_process, tmp_path / "two")

    ranks = json.loads((tmp_path / "two" / "ranks.json").read_text())
    assert sorted(one["path"] for one in ranks["failed"]) == sorted(bad)
    assert [one.number for one in read_verified(tmp_path / "two").baseline.failed] == [one["number"] for one in ranks["failed"]]
    assert "FAILED_SAMPLES" in (tmp_path / "two" / "report.md").read_text()
    assert [share["samples"] for share in ranks["shares"]] == [[0, 2], [1, 3]]
    assert all(share["differing"] == 0 for share in ranks["shares"])
    assert ranks["alone"]["samples"] == 2
    assert ranks["seconds"] >= max(share["together"]["seconds"] for share in ranks["shares"])
    assert "2 of 6 samples cannot be used and are left out: " in two.stdout
    assert re.search(r"2 ranks: \S+ samples/s, \S+x of rank 0 alone", two.stdout)
    assert two.stdout.splitlines()[-1].startswith(f"exit {two.returncode}: ")
    files = [file for file in (tmp_path / "two").rglob("*") if file.is_file() and file.suffix != ".log"]
    assert {file.name: found for file in files if (found := places_in(file))} == {}

    beside = evbench(f"compare --baseline {one_process} --optimized two", tmp_path)
    assert "Traceback" not in beside.stderr
    assert beside.returncode in (0, 3, 4, 6), beside.stderr


@pytest.mark.long
def test_a_rank_that_is_killed_is_named_and_what_ended_is_kept(tmp_path: Path) -> None:
    asked = command(place_clips(tmp_path), "--gpus 2 --out out")
    out = tmp_path / "out"
    with interruptible(asked, tmp_path) as running:
        wait_until(lambda: bool(blocks(out, 0)) and bool(blocks(out, 1)), "a block of each rank", running)
        started = descendants(running.pid)
        os.kill(ranks_of(running.pid)[1], signal.SIGKILL)
        _, said = running.communicate(timeout=120)
    assert running.returncode == 1
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith("evbench: rank 1 ended with code -9: SIGKILL")
    assert re.search(r"what had ended, \d+ blocks? of runs, is in out\. To go on, give the same command with --out out --resume", last)
    assert not [process for process in started if is_running(process)]
    kept = {rank: blocks(out, rank) for rank in (0, 1)}
    assert all(kept.values())

    done = evbench(f"{asked} --resume", tmp_path)
    assert done.returncode in MEASURED, done.stderr
    for rank, before in kept.items():
        assert blocks(out, rank)[: len(before)] == before
    found = read_verified(out)
    assert set(timed(found.baseline.runs)) == set(range(CLIPS))
    assert len(found.sessions[0].blocks) == len({block.number for block in found.sessions[0].blocks})
    other = evbench(f"{asked.replace('--new-tokens 5', '--new-tokens 6')} --resume", tmp_path)
    assert other.returncode == 2
    assert other.stderr.count("the session was begun with something else: workloads.baseline.new_tokens 5 and 6") == 1
    again = evbench(f"{asked.replace('--gpus 2', '--gpus 3')} --resume", tmp_path)
    assert (again.returncode, again.stderr.splitlines()[-1]) == (
        2,
        "evbench: --resume: out was begun with 2 ranks, and these are 3; start so many again",
    )


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_all_ranks_with_one_line(times: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with interruptible(command(place_clips(tmp_path), "--gpus 2 --out out"), tmp_path) as running:
        wait_until(lambda: bool(blocks(out, 0)), "a block", running)
        started = descendants(running.pid)
        for _ in range(times):
            running.send_signal(signal.SIGINT)
            time.sleep(0.2)
        _, said = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "Traceback" not in said
    assert re.match(r"evbench: interrupted; what had ended, \d+ blocks? of runs, is in out", said.splitlines()[-1])
    wait_until(lambda: not any(map(is_running, started)), "the end of all that it has started")
    assert sum(len(journal.read(out / f"rank-{rank}").blocks) for rank in (0, 1)) >= 1


@pytest.mark.long
def test_ranks_end_with_their_launcher(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with interruptible(command(place_clips(tmp_path), "--gpus 2 --out out"), tmp_path) as running:
        wait_until(lambda: (out / "rank-0" / "runs.jsonl").exists(), "the first run", running)
        started = descendants(running.pid)
        assert len(started) >= 4, "two ranks, and a worker of each"
        running.kill()
        wait_until(lambda: not any(map(is_running, started)), "the end of all that it has started")


def by_torchs_launcher(asked: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As a person starts two ranks by `torchrun`."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "evbench"]
    return subprocess.run([*launcher, *shlex.split(asked)], cwd=folder, capture_output=True, text=True, check=False, timeout=400)


def test_torchs_launcher_starts_two_ranks_that_have_one_result_as_of_one_process(one_process: Path, tmp_path: Path) -> None:
    done = by_torchs_launcher(command(place_clips(tmp_path), "--out out"), tmp_path)
    assert was_measured(done.returncode, done.stdout), done.stderr
    require_one_result_as(one_process, tmp_path / "out")
    ranks = json.loads((tmp_path / "out" / "ranks.json").read_text())
    assert [(share["rank"], share["node"], share["samples"]) for share in ranks["shares"]] == [(0, 0, [0, 2]), (1, 0, [1, 3])]
    assert done.stdout.count("2 ranks: ") == 1, "rank 0 alone tells the result"


@pytest.mark.long
def test_what_ranks_of_torchs_launcher_refuse_is_said_once(tmp_path: Path) -> None:
    done = by_torchs_launcher(command(place_clips(tmp_path)[:1], "--out out"), tmp_path)
    assert done.returncode == 1  # torch's launcher knows no other
    assert done.stderr.count("evbench: 2 ranks are more than 1 sample") == 1
