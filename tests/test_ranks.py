"""Two ranks on the CPU, really started: one result as of one device, and what becomes of it when one of them is lost."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from evbench.machine.conditions import descendants
from evbench.results import Run
from evbench.session import journal
from evbench.session.verification import read_verified
from tests.checkpoints import least_model
from tests.command import evbench, interruptible, is_running
from tests.left_behind import places_in
from tests.scene_files import small_clip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
QUICK = "--blocks 4 --invocations 1 --warmup 5 --new-tokens 5 --trace-tokens 0"
CLIPS = 4
DAMAGED, CUT_OFF = "damaged.mp4", "cut-off.mp4"
MEASURED = (0, 6)
"""Exit codes. 6 if somebody else used this machine in each block."""


def command(clips: list[str], more: str) -> str:
    return f"run baseline {least_model('video-llava')} {QUICK} {' '.join(f'--video {clip}' for clip in clips)} {more}"


def place_clips(folder: Path) -> list[str]:
    names = [f"{number}.mp4" for number in range(CLIPS)]
    for number, name in enumerate(names):
        shutil.copy(small_clip(number), folder / name)
    return names


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


def timed(runs: tuple[Run, ...]) -> dict[int, list[tuple[int, ...]]]:
    """Sample -> tokens of each of its timed runs."""
    found: dict[int, list[tuple[int, ...]]] = {}
    for run in runs:
        if run.kind == "timed":
            found.setdefault(run.sample, []).append(run.tokens)
    return found


def ranks_of(process: int) -> dict[int, int]:
    """Rank -> number of its process, of those that the command has started."""
    found = {}
    for child in descendants(process):
        with suppress(OSError):
            given = dict(pair.partition("=")[::2] for pair in Path(f"/proc/{child}/environ").read_text().split("\0"))
            command = Path(f"/proc/{child}/cmdline").read_text()
            if "RANK" in given and "\0evbench\0" in command:
                found[int(given["RANK"])] = child
    return found


def wait_until(done: Callable[[], bool], what: str, running: subprocess.Popen[str] | None = None) -> None:
    """Fails at once if the command that is waited for has ended."""
    deadline = time.monotonic() + 240
    while not done():
        assert running is None or running.poll() is None, f"it ended before {what} came"
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)


def blocks(folder: Path, rank: int) -> list[str]:
    runs = folder / f"rank-{rank}" / "runs.jsonl"
    return re.findall(r'"block": \{.*', runs.read_text()) if runs.exists() else []


def test_two_ranks_have_one_result_as_of_one_device_and_go_on_without_corrupt_samples(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    place_clips(clips)
    one = evbench(command([], "--data clips --out one"), tmp_path)
    assert one.returncode in MEASURED, one.stderr
    bad = [f"clips/{name}" for name in damage(clips)]
    two = evbench(command([], "--data clips --gpus 2 --out two"), tmp_path)
    assert two.returncode in MEASURED, two.stderr
    assert "Traceback" not in two.stdout + two.stderr
    alone, spread = read_verified(tmp_path / "one"), read_verified(tmp_path / "two")
    assert not spread.baseline.unverified
    assert [sample.sha256 for sample in spread.baseline.workload.samples] == [sample.sha256 for sample in alone.baseline.workload.samples]
    ours, theirs = timed(spread.baseline.runs), timed(alone.baseline.runs)
    assert {sample: set(tokens) for sample, tokens in ours.items()} == {sample: set(tokens) for sample, tokens in theirs.items()}
    assert set(ours) == set(range(CLIPS))
    assert all(len(tokens) >= 4 for tokens in ours.values())
    assert spread.baseline.builds[0].weights_fingerprint == alone.baseline.builds[0].weights_fingerprint

    ranks = json.loads((tmp_path / "two" / "ranks.json").read_text())
    assert sorted(one["path"] for one in ranks["failed"]) == sorted(bad)
    assert [one.number for one in spread.baseline.failed] == [one["number"] for one in ranks["failed"]]
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

    beside = evbench("compare --baseline one --optimized two", tmp_path)
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


@pytest.mark.long
def test_torchs_launcher_starts_the_ranks_too(tmp_path: Path) -> None:
    """As on several machines; on one that has fewer samples than ranks it says so once."""
    asked = command(place_clips(tmp_path)[:1], "--out out").split()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, "-m", "evbench", *asked], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 1  # torch's launcher knows no other
    assert done.stderr.count("evbench: 2 ranks are more than 1 sample") == 1


SRUN = """#!/usr/bin/env python3
# As srun starts one task on each machine: here both on this one, each with a folder of its own for locks.
import os, subprocess, sys
command = sys.argv[1:]
while command[0].startswith("--"):
    print("srun", command.pop(0), file=sys.stderr)
nodes = []
for node in range(int(os.environ["SLURM_NNODES"])):
    temporary = os.path.abspath(f"node-{node}")
    os.makedirs(temporary, exist_ok=True)
    nodes.append(subprocess.Popen(command, env=os.environ | {"SLURM_NODEID": str(node), "TMPDIR": temporary}))
sys.exit(max(node.wait() for node in nodes))
"""
SCONTROL = '#!/bin/sh\n[ "$*" = "show hostnames here-[1-2]" ] || exit 1\necho localhost\necho localhost\n'


@pytest.mark.long
def test_the_job_for_slurm_starts_launchers_on_two_machines_and_goes_on(tmp_path: Path) -> None:
    """Both of them this one, and Slurm's commands replaced."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    slurm = {"JOB_ID": "7", "JOB_NODELIST": "here-[1-2]", "NNODES": "2", "GPUS_ON_NODE": "1", "CPUS_ON_NODE": "2"}
    given = {f"SLURM_{name}": value for name, value in slurm.items()}
    environment = os.environ | given | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PORT": str(port), "PYTHONPATH": str(ROOT)}
    asked = ["bash", str(ROOT / "examples" / "ranks.sbatch"), "out", *shlex.split(command(place_clips(tmp_path), ""))[1:]]
    done = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode in MEASURED, done.stderr
    assert "srun --kill-on-bad-exit=1" in done.stderr
    ranks = json.loads((tmp_path / "out" / "ranks.json").read_text())
    assert [(share["rank"], share["node"]) for share in ranks["shares"]] == [(0, 0), (1, 1)]
    assert set(timed(read_verified(tmp_path / "out").baseline.runs)) == set(range(CLIPS))
