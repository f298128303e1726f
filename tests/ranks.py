"""Several ranks on the CPU, really started: what is asked of them, and what they leave."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from evbench.machine.conditions import descendants
from evbench.results import Run
from evbench.session.verification import read_verified
from tests.checkpoints import least_model
from tests.scene_files import small_clip

QUICK = "--blocks 4 --invocations 1 --warmup 5 --new-tokens 5 --trace-tokens 0"
CLIPS = 4
MEASURED = (0, 6)
"""Exit codes. 6 if somebody else used this machine in each block."""


def command(clips: list[str], more: str) -> str:
    return f"run baseline {least_model('video-llava')} {QUICK} {' '.join(f'--video {clip}' for clip in clips)} {more}"


def place_clips(folder: Path) -> list[str]:
    names = [f"{number}.mp4" for number in range(CLIPS)]
    for number, name in enumerate(names):
        shutil.copy(small_clip(number), folder / name)
    return names


def timed(runs: tuple[Run, ...]) -> dict[int, list[tuple[int, ...]]]:
    """Sample -> tokens of each of its timed runs."""
    found: dict[int, list[tuple[int, ...]]] = {}
    for run in runs:
        if run.kind == "timed":
            found.setdefault(run.sample, []).append(run.tokens)
    return found


def was_measured(code: int, said: str) -> bool:
    """torch's launcher ends with 1 where rank 0 does with 6."""
    return code == 0 or "exit 6: INVALID" in said


def require_one_result_as(alone: Path, spread: Path) -> None:
    """The results in both folders are whole, and have sample by sample the same input and the same tokens."""
    one, several = read_verified(alone), read_verified(spread)
    assert not several.baseline.unverified
    assert [sample.sha256 for sample in several.baseline.workload.samples] == [sample.sha256 for sample in one.baseline.workload.samples]
    ours, theirs = timed(several.baseline.runs), timed(one.baseline.runs)
    assert {sample: set(tokens) for sample, tokens in ours.items()} == {sample: set(tokens) for sample, tokens in theirs.items()}
    assert set(ours) == set(range(CLIPS))
    assert len({tokens[0] for tokens in theirs.values()}) == CLIPS, "else a sample could stand in another's place"
    assert all(len(tokens) >= 4 for tokens in ours.values())
    assert several.baseline.builds[0].weights_fingerprint == one.baseline.builds[0].weights_fingerprint
    numbers = [block.number for block in several.sessions[0].blocks]
    assert len(numbers) == len(set(numbers)), "no block is there twice"


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
