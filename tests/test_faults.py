"""What goes wrong while evbench measures, with the command and the processes as they are: a line says what, and what is kept."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evbench.errors import UserError
from evbench.results import FORMAT, read
from evbench.session import journal
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Verdict
from evbench.worker.instruments import instruments
from tests.command import evbench, interruptible, is_running, wait_for, workers
from tests.plugin_files import written
from tests.simulation import Noise, SimulatedMachine, simulate
from tests.test_profiles import ROOT

pytestmark = pytest.mark.slow

FAULTY = '''
import os, signal, time
import numpy as np
class Faulty:
    """A pipeline of which a stage does, at its so manieth call in a process, what FAULT says: other:vision:9:kill."""
    variants = {"plain": {"name": "plain"}, "other": {"name": "other"}}
    evidence = {name: [Evidence("vision", "call of it", "function:mine.*vision")] for name in variants}
    calls = {}
    def __init__(self, workload, dtype, name):
        self.workload, self.name = workload, name
        self.reach("build")
    def reach(self, stage):
        self.calls[stage] = number = self.calls.get(stage, 0) + 1
        who, where, when, what = (os.environ.get("FAULT") or "nobody:x:0:x").split(":")
        if (who, where, int(when)) != (self.name, stage, number):
            return
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "hang":
            time.sleep(1000)
        if what == "memory":
            import torch
            torch.empty(2**60)
        if what == "array":
            np.empty(2**50)
    def load(self, path):
        self.reach("load")
        return np.zeros((8, 4, 4, 3), "uint8")
    def preprocess(self, frames):
        self.reach("preprocess")
        return frames.astype("float32") / 255
    def vision(self, pixels):
        self.reach("vision")
        return pixels.mean((1, 2))
    def generate(self, features, new_tokens, choose):
        self.reach("generate")
        return [choose(np.arange(8.0)) for _ in range(new_tokens)]
'''
ASKED = "compare --pipeline mine.py:Faulty --baseline plain --optimized other --device cpu --new-tokens 2 --warmup 5 --trace-tokens 0"
STAGES = ("build", "load", "preprocess", "vision", "generate")
EARLIER = ROOT / "profiles" / "cpu" / "video-llava-small"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The command, with little work. Nothing is timed: it waits for no other evbench on this machine."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    written(tmp_path, FAULTY)
    return f"{ASKED} --blocks 2 --invocations 1 --out out"


FURTHER = [("build", 1, 2), ("load", 1, 2), ("preprocess", 6, 2), ("generate", 12, 2), ("load", 24, 2)]


@pytest.mark.parametrize(
    ("stage", "call", "invocations"),
    [("vision", 9, 2), ("generate", 30, 1), *(pytest.param(*one, marks=pytest.mark.long) for one in FURTHER)],
)
def test_a_worker_that_is_killed_in_a_stage_is_named_and_the_session_goes_on(
    stage: str, call: int, invocations: int, asked: str, tmp_path: Path
) -> None:
    """While it builds, in its first call, in the warm-up, in blocks, and behind them; also with another deadline than before."""
    asked = asked.replace("--invocations 1", f"--invocations {invocations}")
    done = evbench(asked, tmp_path, FAULT=f"other:{stage}:{call}:kill")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "the worker of other ended with code -9: SIGKILL" in last, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out" / "report.md").exists()
    assert last.endswith("give the same command with --out out --resume")
    kept = journal.read(tmp_path / "out")
    again = evbench(f"{asked} --deadline 600 --resume", tmp_path)
    assert again.returncode in (4, 6), again.stderr
    blocks = read(tmp_path / "out").sessions[0].blocks
    assert blocks[: len(kept.blocks)] == tuple(kept.blocks) and [block.number for block in blocks] == list(range(len(blocks)))


def test_a_worker_that_hangs_is_ended_at_the_deadline_and_its_log_says_where(asked: str, tmp_path: Path) -> None:
    begun = time.monotonic()
    done = evbench(f"{asked} --deadline 20", tmp_path, FAULT="other:load:3:hang")
    assert 20 < time.monotonic() - begun < 100
    told = "the worker of other did not answer for 20 s and was ended; it was to: Run one sample, timed (what it was at is in "
    assert done.returncode == 1 and told in done.stderr.splitlines()[-1], done.stderr
    assert "If it may take longer, give a higher --deadline. To go on, give the same command" in done.stderr
    log = tmp_path / "out" / "worker-optimized.log"
    assert 'mine.py", line' in log.read_text() and "in load" in log.read_text()


@pytest.mark.parametrize("what", ["memory", pytest.param("array", marks=pytest.mark.long)])
def test_a_variant_for_which_there_is_no_memory_is_named_and_nothing_is_claimed(what: str, asked: str, tmp_path: Path) -> None:
    """Of the other, what was measured is kept."""
    done = evbench(asked, tmp_path, FAULT=f"other:vision:9:{what}")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert last.startswith("evbench: other: out of memory; use a smaller --preset, or a machine with more (its traceback is in "), last
    assert not (tmp_path / "out" / "verdict.json").exists()
    assert {"baseline", "optimized"} == journal.read(tmp_path / "out").runs.keys()


# The disk.


def limited(running: subprocess.Popen[str], size: int) -> None:
    """From now on no file of it becomes larger, as on a disk that is full. Not those of its workers."""
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (size, size))


def test_a_disk_that_fills_up_in_a_session_leaves_whole_lines_and_the_session_goes_on(asked: str, tmp_path: Path) -> None:
    raw = tmp_path / "out" / "runs.jsonl"
    with interruptible(asked.replace("--blocks 2", "--blocks 30"), tmp_path) as running:
        wait_for(raw, '"block": {', 1)
        limited(running, raw.stat().st_size + 3000)
        _, told = running.communicate(timeout=60)
    last = told.splitlines()[-1]
    assert running.returncode == 2 and "Traceback" not in told
    assert last.startswith("evbench: cannot write to out (") and "make room or give another --out. What is written stays" in last
    assert raw.read_bytes().endswith(b"}\n") and not list((tmp_path / "out").glob("*.part"))
    kept = journal.read(tmp_path / "out")
    assert 1 <= len(kept.blocks) < 30
    assert evbench(f"{asked.replace('--blocks 2', '--blocks 30')} --resume", tmp_path).returncode in (0, 3, 4, 6)
    assert read(tmp_path / "out").sessions[0].blocks[: len(kept.blocks)] == tuple(kept.blocks)


FULL = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)); from evbench.cli.main import main; main()"
"""The command where no file can be larger than 10,000 bytes."""


@pytest.mark.parametrize(
    "options", ["", *(pytest.param(option, marks=pytest.mark.long) for option in ("--html page.html", "--csv runs.csv"))]
)
def test_a_full_disk_is_told_by_a_report_and_what_was_there_stays_whole(options: str, tmp_path: Path) -> None:
    for name in ("result.json", "report.md", "verdict.json"):
        (tmp_path / name).write_bytes((EARLIER / name).read_bytes() if name == "result.json" else b"as it was")
    done = subprocess.run([sys.executable, "-c", FULL, "report", ".", *options.split()], cwd=tmp_path, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("evbench: cannot write to . ") and line.endswith("(File too large); make it writable, or report a copy of it")
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", "report.md", "verdict.json"}
    assert (tmp_path / "verdict.json").read_bytes() == b"as it was"


def as_anybody() -> None:
    """In a child: also root heeds the permissions of files from here on."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def test_a_folder_that_is_read_only_is_told_in_one_line(asked: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "result.json").write_bytes((EARLIER / "result.json").read_bytes())
    (tmp_path / "empty").mkdir()
    kept.chmod(0o555)
    (tmp_path / "empty").chmod(0o555)
    try:
        for arguments, told in {
            "report kept": "cannot write to kept (Permission denied); make it writable, or report a copy of it",
            asked.replace("--out out", "--out empty"): "cannot write to empty (Permission denied); make room or give another --out",
            asked.replace("--out out", "--out empty/new"): "the folder empty/new cannot be made: Permission denied in ",
            "merge kept": "kept does not hold trace-baseline.json.gz and trace-optimized.json.gz any more",
        }.items():
            command = [sys.executable, "-m", "evbench.cli.main", *arguments.split()]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=as_anybody)
            (line,) = [line for line in done.stderr.splitlines() if line.startswith("evbench: ")]
            assert done.returncode == 2 and told in line and "Traceback" not in done.stderr, done.stderr
    finally:
        kept.chmod(0o755)
        (tmp_path / "empty").chmod(0o755)
    assert [path.name for path in kept.iterdir()] == ["result.json"] and not list((tmp_path / "empty").iterdir())


# Clocks.


def test_a_wall_clock_that_jumps_changes_no_time_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back by a day, forward by a year: at each reading another time. What is measured is measured by the monotonic clock."""
    usual = simulate(SimulatedMachine(1, Noise(), faster=1.5))
    jumps = itertools.cycle((1e9, 2e9, 0.0))
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int(next(jumps) * 1e9))
    assert simulate(SimulatedMachine(1, Noise(), faster=1.5)) == usual and judge(usual).verdict is Verdict.FASTER
    using = instruments("cpu")
    begun = using.clock()
    assert 0 <= using.clock() - begun < 60e9


WALL_CLOCK = re.compile(r"\btime\.time(_ns)?\(|datetime\.(datetime\.)?(now|utcnow|today)\b")
READS_IT = {"evbench/api/folder.py", "evbench/cli/progress.py", "evbench/traces/counters.py"}
"""Files that may: they name a session, show when a line was printed, and place counters in a trace whose times are of this clock."""


def test_nothing_is_measured_by_a_clock_that_can_jump() -> None:
    files = [path for top in ("evbench", "pipelines", "kernels") for path in (ROOT / top).rglob("*.py")]
    found = {path.resolve().relative_to(ROOT).as_posix() for path in files if WALL_CLOCK.search(path.read_text(encoding="utf-8"))}
    assert found == READS_IT


# Formats.


@pytest.mark.parametrize(("change", "told"), [(1, "reads up to format 8|has format 9"), (-5, "format 3")])
def test_a_result_of_a_newer_format_or_a_much_older_one_is_refused_by_name(change: int, told: str, tmp_path: Path) -> None:
    content = json.loads((EARLIER / "result.json").read_text(encoding="utf-8"))
    content["format"] = FORMAT + change
    content.pop("digest", None)
    (tmp_path / "result.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=told) as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


# Ctrl-C.


LATER = [pytest.param(seconds, marks=pytest.mark.long) for seconds in (0.01, 0.1)]


@pytest.mark.parametrize("apart", [0.0, *LATER, 0.5])
def test_ctrl_c_twice_ends_in_one_line_and_leaves_no_process(apart: float, asked: str, tmp_path: Path) -> None:
    with interruptible(asked.replace("--blocks 2", "--blocks 120"), tmp_path) as running:
        wait_for(tmp_path / "out" / "runs.jsonl", '"block": {', 2)
        started = workers(running)
        assert len(started) == 2
        for _ in range(3):
            if running.poll() is None:
                running.send_signal(signal.SIGINT)
            time.sleep(apart)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 130, told
    assert "Traceback" not in told
    lines = [line for line in told.splitlines() if "interrupted" in line]
    assert len(lines) == 1 and lines[0].endswith("give the same command with --out out --resume"), told
    deadline = time.monotonic() + 5
    while any(map(is_running, started)):
        assert time.monotonic() < deadline, "a worker is left behind"
    assert len(journal.read(tmp_path / "out").blocks) >= 2
    assert os.path.exists(tmp_path / "out" / "session.json")
