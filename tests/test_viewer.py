"""Our traces in Perfetto's real viewer: what its trace processor finds in them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from evbench import results
from evbench.report import comparison
from evbench.results import STAGES, Side
from evbench.traces import chrome
from evbench.traces.former_tracks import redrawn
from evbench.traces.merge import TraceSide, merge
from evbench.traces.timeline import Timeline
from evbench.verdict.judge import judge
from tests.perfetto import Viewer, browser_path, chromium, opened
from tests.traces import profile_tiny

ROOT = Path(__file__).parent.parent
H200 = ROOT / "profiles" / "h200"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser_path() is None, reason="no Chromium here; apt-get install chromium"),
]


BOTH = ["A baseline: stages", "B optimized: stages", "A baseline: completeness", "B optimized: completeness"]
DRAWN = "category = 'evbench'"


@dataclass(frozen=True)
class Traces:
    """Files of one comparison."""

    single: Path
    as_it_ran: Path
    aligned: Path


@pytest.fixture(scope="module")
def view() -> Iterator[Callable[[Path], Viewer]]:
    """Opens a trace, each one once: that takes longer than all that is asked of it."""
    with chromium() as browser, ExitStack() as pages:
        yield functools.cache(lambda file: pages.enter_context(opened(browser, file)))


SIDES: dict[Side, str] = {"baseline": "baseline", "optimized": "optimized+vision=batched+generate=static"}
"""What is profiled as it; nothing compiled, which takes long and shows nothing more."""


@pytest.fixture(scope="module")
def recorded_here(tmp_path_factory: pytest.TempPathFactory) -> dict[Side, Path]:
    folder = tmp_path_factory.mktemp("recorded")
    files = {side: folder / f"{side}.json.gz" for side in SIDES}
    for side, file in files.items():
        profile_tiny(SIDES[side], file)
    return files


@pytest.fixture(scope="module", params=["cpu", pytest.param("video-llava-7b", marks=pytest.mark.long)])
def traces(request: pytest.FixtureRequest, recorded_here: dict[Side, Path], tmp_path_factory: pytest.TempPathFactory) -> Traces:
    folder = tmp_path_factory.mktemp("traces")
    files = recorded_here if request.param == "cpu" else {side: H200 / request.param / f"trace-{side}.json.gz" for side in SIDES}
    read = {side: chrome.read(file) for side, file in files.items()}
    sides = {side: TraceSide(read[side], Timeline(read[side].events, files[side]), side) for side in SIDES}
    told = comparison.of_stages(judge(results.read(H200 / "video-llava-7b")))
    merged = Traces(files["baseline"], folder / "as-it-ran.json.gz", folder / "aligned.json.gz")
    chrome.write(merge(sides, told, aligned=False), merged.as_it_ran)
    chrome.write(merge(sides, told, aligned=True), merged.aligned)
    return merged


@pytest.mark.parametrize("kind", ["single", "as_it_ran", "aligned"])
def test_perfetto_shows_all_of_a_trace(view: Callable[[Path], Viewer], traces: Traces, kind: str) -> None:
    file = getattr(traces, kind)
    events = chrome.read(file).events
    viewer = view(file)
    told = viewer.rows("select name, value from stats where severity in ('error', 'data_loss') and value > 0")
    assert told == []
    assert viewer.value("select count(*) from slice") == sum(event["ph"] in ("X", "i", "b") for event in events)
    assert viewer.value("select count(*) from slice where dur < 0") == 0
    assert viewer.value("select count(*) from flow") == arrows(events)
    stages = viewer.rows(
        "select upid, slice.name as name from slice join thread_track on track_id = thread_track.id join thread using (utid) "
        "where category = 'user_annotation' and slice.name glob 'evbench/*' order by upid, ts, -dur"
    )
    by_process: dict[int, list[str]] = {}
    for stage in stages:
        by_process.setdefault(stage["upid"], []).append(stage["name"].removeprefix("evbench/"))
    assert len(by_process) == (1 if kind == "single" else 2)
    for names in by_process.values():
        assert [name for name in names if name in STAGES] == list(STAGES), "each once, in order"


def arrows(events: list[chrome.Event]) -> int:
    """That have both ends: those of launches, and those between the stages of two sides."""
    starts = {(event["cat"], event["id"]) for event in events if event["ph"] == "s"}
    return sum("flow_in" in event or (event["ph"] == "f" and (event["cat"], event["id"]) in starts) for event in events)


def test_tracks_of_a_single_trace_are_pinned_once_by_name(view: Callable[[Path], Viewer], recorded_here: dict[Side, Path]) -> None:
    require_pinned(view(recorded_here["baseline"]), ["stages", "completeness"])


def test_tracks_of_a_trace_from_before_are_pinned_once_by_name(view: Callable[[Path], Viewer], tmp_path: Path) -> None:
    """Its stages stood on a thread called `evbench stages 9999999`."""
    file = ROOT / "tests" / "recorded" / "former-trace-optimized.json.gz"
    chrome.write(redrawn(chrome.read(file), file), tmp_path / "redrawn.json.gz")
    viewer = view(tmp_path / "redrawn.json.gz")
    require_pinned(viewer, ["stages", "completeness"])
    assert viewer.rows("select name, value from stats where severity in ('error', 'data_loss') and value > 0") == []
    assert viewer.value("select count(*) from thread where name glob 'evbench*'") == 0


@pytest.mark.parametrize(("kind", "pinned"), [("as_it_ran", BOTH), ("aligned", ["ruler", *BOTH])])
def test_tracks_of_both_sides_are_pinned_once_by_the_name_of_the_side(
    view: Callable[[Path], Viewer], traces: Traces, kind: str, pinned: list[str]
) -> None:
    require_pinned(view(getattr(traces, kind)), pinned)


def require_pinned(viewer: Viewer, pinned: list[str]) -> None:
    """That these tracks are pinned, and each shows something."""
    assert viewer.pinned() == pinned
    drawn = viewer.rows(
        f"select track.name as track, slice.name as name from slice join track on track_id = track.id where {DRAWN} and dur > 0"
    )
    assert {row["track"] for row in drawn} == set(pinned)
    assert {row["name"].partition(":")[0] for row in drawn} == {*STAGES, "prefill", "decode", "text", "COMPLETE"}


def test_stages_drawn_are_those_recorded(view: Callable[[Path], Viewer], recorded_here: dict[Side, Path]) -> None:
    viewer = view(recorded_here["baseline"])
    drawn, recorded = (
        viewer.rows(f"select replace(name, 'evbench/', '') as name, ts, dur from slice where {which} order by ts, -dur")
        for which in (f"{DRAWN} and dur > 0 and name not glob 'COMPLETE*'", "category = 'user_annotation' and name glob 'evbench/*'")
    )
    assert [row["name"] for row in drawn] == [row["name"] for row in recorded]
    for ours, theirs in zip(drawn, recorded, strict=True):
        assert abs(ours["ts"] - theirs["ts"]) <= 1 and abs(ours["dur"] - theirs["dur"]) <= 1


def test_stages_of_both_sides_begin_at_the_same_place(view: Callable[[Path], Viewer], traces: Traces) -> None:
    viewer = view(traces.aligned)
    found = viewer.rows(
        "select name, count(*) as times, max(ts) - min(ts) as apart from slice "
        "where category = 'user_annotation' and name in ('evbench/load', 'evbench/preprocess', 'evbench/vision', "
        "'evbench/generate') group by name"
    )
    ruler = viewer.rows(
        "select slice.name as name from slice join track on track_id = track.id where track.name = 'ruler' and dur > 0 order by ts"
    )
    joined = viewer.rows(
        "select a.name as a, b.name as b, a.ts - b.ts as apart, extract_arg(b.arg_set_id, 'args.speedup') as ratio, "
        "extract_arg(b.arg_set_id, 'args.outputs') as outputs, extract_arg(b.arg_set_id, 'args.95% CI') as around "
        f"from flow join slice a on slice_out = a.id join slice b on slice_in = b.id where a.{DRAWN} order by a.ts"
    )
    assert sorted(row["name"] for row in found) == sorted(f"evbench/{stage}" for stage in STAGES)
    assert all(row["times"] == 2 and row["apart"] <= 1 for row in found)
    assert [row["name"].partition(":")[0] for row in ruler] == list(STAGES)
    assert [(row["a"], row["b"]) for row in joined] == [(stage, stage) for stage in STAGES]
    assert all(row["apart"] <= 1 and row["ratio"] and row["outputs"] and row["around"] for row in joined)


def test_curves_are_there(view: Callable[[Path], Viewer], recorded_here: dict[Side, Path]) -> None:
    viewer = view(recorded_here["baseline"])
    curves = {
        row["name"]: row
        for row in viewer.rows(
            "select t.name as name, max(value) as most from counter join process_counter_track t on track_id = t.id group by t.name"
        )
    }
    steps = viewer.value("select count(*) from slice where name = 'evbench/decode'")
    assert set(curves) == {"memory allocated bytes", "memory of the process bytes", "tokens produced"}
    assert curves["tokens produced"]["most"] == steps + 1
    assert curves["memory allocated bytes"]["most"] > 0
