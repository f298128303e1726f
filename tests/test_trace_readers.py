"""Single traces in other programs that read traces of torch.profiler. They are no dependencies: each test runs where its package is.

HolisticTraceAnalysis 0.5.0 is on PyPI. TraceLens is AMD's (github.com/AMD-AGI/TraceLens, read at 171dd74); what PyPI has under that name is
another program. Call stacks of HolisticTraceAnalysis are left out: it refuses those of any trace with nanoseconds, torch's own included, as
it cuts events to whole microseconds and then finds some that end before they begin.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from evbench.results import STAGES
from evbench.traces import chrome
from evbench.traces.chrome import GPU_WORK
from tests.traces import profile_tiny

RECORDED = Path(__file__).parent.parent / "profiles" / "h200" / "video-llava-7b"
SIDES = ["baseline", "optimized"]


def copied(side: str, folder: Path) -> Path:
    return Path(shutil.copy(RECORDED / f"trace-{side}.json.gz", folder))


def gpu_work(file: Path) -> list[chrome.Event]:
    return [event for event in chrome.read(file).events if event["ph"] == "X" and event.get("cat") in GPU_WORK]


def busy(work: list[chrome.Event]) -> float:
    """Microseconds in which at least one piece of work ran."""
    total, until = 0.0, 0.0
    for start, end in sorted((float(event["ts"]), float(event["ts"]) + float(event["dur"])) for event in work):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def analysed(file: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    analysis = pytest.importorskip("hta.trace_analysis", reason="HolisticTraceAnalysis is not installed")
    monkeypatch.setenv("HTA_DISABLE_NS_ROUNDING", "1")  # else each time is cut to whole microseconds
    return analysis.TraceAnalysis(trace_files={0: str(file)})


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
def test_holistic_trace_analysis_finds_the_work_and_the_stages(side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = copied(side, tmp_path)
    found, work = analysed(file, monkeypatch), gpu_work(file)
    (row,) = found.get_temporal_breakdown(visualize=False).to_dict("records")
    assert row["kernel_time(us)"] - row["idle_time(us)"] == pytest.approx(busy(work), abs=5)
    kinds, kernels = found.get_gpu_kernel_breakdown(visualize=False, num_kernels=1000)
    assert set(kinds["kernel_type"]) == {"COMPUTATION", "MEMORY"}
    names = {event["name"] for event in work if event["cat"] == "kernel"}
    assert names & set(kernels["name"]) == names
    on_host = found.get_gpu_user_annotation_breakdown(use_gpu_annotation=False, visualize=False)
    assert set(on_host["name"]) == {f"evbench/{name}" for name in (*STAGES, "prefill", "decode", "text")}
    on_gpu = found.get_gpu_user_annotation_breakdown(use_gpu_annotation=True, visualize=False)
    assert {"evbench/vision", "evbench/prefill", "evbench/decode"} <= set(on_gpu["name"])
    assert found.get_cuda_kernel_launch_stats(visualize=False)[0]["gpu_duration"].gt(0).any()


@pytest.mark.slow
def test_holistic_trace_analysis_reads_what_is_recorded_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hta.trace_analysis", reason="HolisticTraceAnalysis is not installed")
    profile_tiny("baseline", tmp_path / "trace.json.gz")
    found = analysed(tmp_path / "trace.json.gz", monkeypatch)
    on_host = found.get_gpu_user_annotation_breakdown(use_gpu_annotation=False, visualize=False)
    assert set(on_host["name"]) >= {f"evbench/{stage}" for stage in STAGES}


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
def test_tracelens_finds_the_work_and_what_launched_it(side: str, tmp_path: Path) -> None:
    lens = pytest.importorskip("TraceLens", reason="TraceLens is not installed")
    file = copied(side, tmp_path)
    found, work = lens.TreePerfAnalyzer.from_file(str(file)), gpu_work(file)
    times = found.get_df_gpu_timeline().set_index("type")["time ms"]
    assert times["busy_time"] == pytest.approx(busy(work) / 1e3, rel=1e-3)
    kernels = found.get_df_kernels()
    assert {event["name"] for event in work if event["cat"] == "kernel"} <= set(kernels["Kernel name"])
    launchers = found.get_df_kernel_launchers_summary(found.get_df_kernel_launchers())
    assert ("cudaGraphLaunch" if side == "optimized" else "aten::mm") in set(launchers["name"])
