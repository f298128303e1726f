from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import timeit
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from evbench.errors import UserError
from evbench.inputs import sample, workload
from evbench.results import Delay, Kind, Sample, Workload
from evbench.variants.named import parse
from evbench.worker.client import Worker, WorkerDied, WorkerGaveUp
from evbench.worker.measure import RunPosition
from evbench.worker.messages import BuildRequest, ThroughputRequest, TimedRunRequest, TraceSpec
from evbench.worker.planting import plant_delay
from evbench.worker.process import serve
from tests.checkpoints import least

pytestmark = pytest.mark.slow


def small(model: str = "eventgpt", **changes: Any) -> Workload:
    options: dict[str, Any] = {
        "model": model,
        "preset": None,
        "weights": least(model),
        "videos": (),
        "events_folders": (),
        "data": None,
        "frame_policy": "inclusive",
        "prompt": "What?",
        "new_tokens": 4,
        "stop_at_end": False,
        "device": "cpu",
        "seed": None,
    }
    return workload.describe(**(options | changes))


def order(kind: Kind, turn: int, *, stage_sync: bool = True) -> TimedRunRequest:
    return TimedRunRequest(RunPosition(kind, turn, 0, None), stage_sync, cold_file=False)


class WorkerInThread(Worker):
    """Replies as a process does, without the time that one takes to begin: for what it does with requests."""

    def __init__(self, build: BuildRequest) -> None:
        self._build, self._deadline = build, 100.0
        self._connection, child = Pipe()
        self._thread = threading.Thread(target=serve, args=(child,))
        self._thread.start()
        self._send(build)

    def _end(self, seconds: float) -> int:
        self._thread.join(30)
        assert not self._thread.is_alive(), "it ends when its parent does"
        return 0


def test_a_worker_stays_alive_and_runs_what_it_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also from a cold file. What libraries print goes to its log, its environment is its own, and it ends with the block."""
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    with Worker(BuildRequest(parse("baseline"), small()), tmp_path / "log", cache) as worker:
        build = worker.built()
        first, second = worker.timed_run(order("first", 0)), worker.timed_run(order("timed", 1))
        cold = worker.timed_run(TimedRunRequest(RunPosition("timed", 2, 0, None), False, cold_file=True))
    assert worker._process.returncode == 0
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "log").exists()
    assert build.cached_files == 0
    assert build.parameters == sum(weights.size for weights in load_file(least("eventgpt") / "model.safetensors").values())
    assert 0 < build.seconds < 120
    assert (first.kind, first.turn, second.kind, second.turn) == ("first", 0, "timed", 1)
    assert first.tokens == second.tokens == cold.tokens
    assert len(first.tokens) == 4
    assert second.stages is not None
    assert all(stage.seconds > 0 for stage in second.stages.values())
    assert all(stage.memory.process is None or stage.memory.process > 50_000_000 for stage in second.stages.values())


def test_a_worker_that_is_killed_is_reported_with_its_log(tmp_path: Path) -> None:
    with Worker(BuildRequest(parse("baseline"), small()), tmp_path / "log") as worker:
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied, match=r"the worker of baseline ended with code -9: .*log"):
            worker.built()


def test_leaving_the_block_by_an_error_ends_the_process_at_once(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Worker(BuildRequest(parse("baseline"), small()), tmp_path / "log") as other:
        _ = 1 / 0
    assert other._process.returncode == -signal.SIGKILL


def test_a_trace_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    with WorkerInThread(BuildRequest(parse("baseline"), small())) as worker:
        worker.built()
        with pytest.raises(WorkerGaveUp, match=r"^baseline: .*; mend that and run again$"):
            worker.profile(TraceSpec(tmp_path / "gone" / "trace.json.gz", "baseline", 2, 2, False))


def test_a_worker_starts_without_the_libraries_that_only_some_pipelines_use() -> None:
    """transformers takes seconds, and a pipeline of one's own may do without."""
    script = "import sys, evbench.worker.process, evbench.worker.build, evbench.worker.limits\nassert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_planted_delay_makes_its_stage_longer_by_its_share() -> None:
    class Sleepy:
        vision = generate = staticmethod(lambda: time.sleep(0.02))

    def least(stage: Callable[[], None]) -> float:
        return min(timeit.repeat(stage, number=1, repeat=5))

    pipeline: Any = Sleepy()
    plant_delay(Delay("vision", 3.0), pipeline, lambda: None)
    assert least(pipeline.vision) == pytest.approx(0.08, rel=0.3)
    assert least(pipeline.generate) == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize("prefetch", [pytest.param("off", marks=pytest.mark.long), "on"])
def test_samples_are_run_in_a_row_and_again_from_the_first(prefetch: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for place in range(5):
        (other / f"{place}.png").write_bytes((sample.EVENTS / "4.png").read_bytes())
    asked = small(events_folders=(sample.EVENTS, other), new_tokens=12)
    with WorkerInThread(BuildRequest(parse(f"baseline+prefetch={prefetch}"), asked)) as worker:
        worker.built()
        alone = [worker.timed_run(TimedRunRequest(RunPosition("timed", turn, turn, None), False, cold_file=False)) for turn in (0, 1)]
        row = worker.throughput_run(ThroughputRequest(2, 7, 5, cold_files=True))
        again = worker.timed_run(order("timed", 3))
    assert alone[0].tokens != alone[1].tokens, "they are different samples"
    assert row.tokens == tuple(alone[place % 2].tokens for place in range(5))
    assert row.work == tuple(alone[place % 2].work for place in range(5))
    assert (row.turn, row.block, row.samples, bool(row.compile_counts)) == (2, 7, 5, False)
    assert 0 < row.load_seconds < row.seconds
    assert 0 < row.load_wait_seconds < row.seconds
    assert again.tokens == alone[0].tokens, "one sample by itself is run as before"


def test_a_sample_of_a_row_that_cannot_be_used_reaches_the_user_as_without_a_row(tmp_path: Path) -> None:
    known = small()
    asked = replace(known, samples=(*known.samples * 2, Sample(str(tmp_path / "gone"), "", 0, 0)))
    with Worker(BuildRequest(parse("baseline+prefetch=on"), asked), tmp_path / "log") as worker:
        worker.built()
        with pytest.raises(UserError, match=r"gone: no such file or folder"):
            worker.throughput_run(ThroughputRequest(0, 0, 3, cold_files=False))
        assert worker._process.wait(30) == 0, "no thread keeps the process alive"
