"""A run over 1,100 samples: the memory of the command and of its worker stays what it is."""

from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from evbench.api.measure import request_to_run
from evbench.machine import conditions
from evbench.machine.conditions import Findings, descendants
from evbench.session import compare
from tests.checkpoints import least
from tests.scene_files import small_clip

STREETS, WINDOWS = 11, 100
MOST_GROWTH = 50e3
"""Bytes for each sample, of four runs. Runs are kept for the result, and in the worker rows of their logits, up to 64 MiB of them. A single
frame that was not let go would take 230,000."""


def resident(process: int) -> int:
    """Bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def place_clips(folder: Path, streets: int, windows: int) -> Path:
    """So many clips of other bytes each, in a folder for each street: few pictures, and a box that players skip."""
    for street in range(streets):
        content = small_clip(street % 4).read_bytes()
        (folder / f"street-{street:02}").mkdir(parents=True)
        for window in range(windows):
            box = (16).to_bytes(4, "big") + b"free" + (street * windows + window).to_bytes(8, "big")
            (folder / f"street-{street:02}" / f"{window:06}.mp4").write_bytes(content + box)
    return folder


@dataclass
class MemoryListener:
    """Looks at the memory of this process and of its worker at every step."""

    seen: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Blocks that have ended -> bytes of the command and of the worker."""

    def step(self, activity: str, done: int, total: int, /) -> None:
        if activity.startswith("timed runs") and done not in self.seen and (workers := descendants(os.getpid())):
            self.seen[done] = resident(os.getpid()), max(map(resident, workers))

    def message(self, text: str, /) -> None: ...


class NothingDisturbs:
    """A watch that finds nothing: other processes change times, and no memory."""

    def warmed(self) -> None: ...

    def begin(self) -> None: ...

    def look(self) -> None: ...

    def end(self) -> Findings:
        return Findings((), ())


def growth(values: Sequence[int]) -> float:
    """Bytes for each block, from the second tenth to the last: what is loaded once is there by then."""
    tenth = max(1, len(values) // 10)
    return (statistics.median(values[-tenth:]) - statistics.median(values[tenth : 2 * tenth])) / (len(values) - 2 * tenth)


@pytest.mark.long
def test_memory_is_flat_over_1100_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(conditions, "watch", lambda *given: (NothingDisturbs(), (), None))
    data, listener = place_clips(tmp_path / "clips", STREETS, WINDOWS), MemoryListener()
    options = {
        "weights": least("video-llava"), "device": "cpu", "data": data, "frames": 1, "new_tokens": 2, "warmup": 5, "invocations": 1,
        "trace_tokens": 0,
    }  # fmt: skip
    request = request_to_run("baseline", None, tmp_path / "out", (), False, True, "test", options)  # type: ignore[arg-type]
    judged = compare.carry_out(request, listener)
    samples = STREETS * WINDOWS
    assert len(judged.result.baseline.workload.samples) == samples == len({run.sample for run in judged.result.baseline.timed()})
    assert len({sample.sequence for sample in judged.result.baseline.workload.samples}) == STREETS
    every = [listener.seen[block] for block in sorted(listener.seen)]
    assert len(every) == samples
    (keep := os.environ.get("EVBENCH_MEMORY")) and Path(keep).write_text(json.dumps(every))
    command, worker = (growth([one[side] for one in every]) for side in (0, 1))
    assert command < MOST_GROWTH and worker < MOST_GROWTH, f"{command:,.0f} bytes of the command and {worker:,.0f} of the worker a sample"
