"""Two traces on one timeline: everything is there, nothing goes back in time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evbench import results
from evbench.errors import UserError
from evbench.results import SIDES, STAGES
from evbench.session.merged_traces import ALIGNED, AS_IT_RAN, merge_folder
from evbench.traces import chrome
from evbench.traces.chrome import Event, Trace, nanoseconds, slices
from evbench.traces.lanes import close_up
from evbench.traces.merge import TraceSide, merge
from evbench.traces.overview import CATEGORY, draw, of_run
from evbench.traces.timeline import Timeline
from tests.examples import make_result, make_side, make_trace
from tests.traces import HOST, arrow, call, kernel, launched, one, operation, stages

H200 = Path(__file__).parent.parent / "profiles" / "h200" / "video-llava-7b"
TOLD = {stage: {"times as fast": "2.000"} for stage in STAGES}


def trace_side(events: list[Event], title: str) -> TraceSide:
    return TraceSide(Trace({}, events), Timeline(events, title), title)


def merged(aligned: bool, ours: list[Event], theirs: list[Event]) -> list[Event]:
    return merge({"baseline": trace_side(ours, "slow"), "optimized": trace_side(theirs, "quick")}, TOLD, aligned).events


def slow() -> list[Event]:
    return [operation("before", -50, 20), *stages(start=0, length=100, gap=10), *launched(1, 230, 240, 60)]


def quick() -> list[Event]:
    return [*stages(start=5000, length=20, gap=5), *launched(1, 5051, 5055, 10)]


def starts(events: list[Event], stage: str) -> list[float]:
    return [event["ts"] for event in events if event.get("name") == f"evbench/{stage}"]


def test_as_they_ran_both_begin_together_and_keep_their_distances() -> None:
    events = merged(False, slow(), quick())
    assert [starts(events, stage) for stage in STAGES] == [[50, 50], [160, 75], [270, 100], [380, 125]]
    assert one(events, name="before")["ts"] == 0


def test_aligned_each_stage_begins_where_the_slower_side_has_reached_it() -> None:
    events = merged(True, slow(), quick())
    assert [starts(events, stage) for stage in STAGES] == [[50, 50], [160, 160], [270, 270], [380, 380]]
    kernels = [event for event in events if event.get("cat") == "kernel"]
    assert [event["ts"] for event in kernels] == [290, 275]
    assert [event["dur"] for event in kernels] == [60, 10]


FAR = 4_721_551_838_000.0
"""Microseconds: where a clock may stand. A float holds no more than the next 1/1024 there."""


@pytest.mark.parametrize(
    ("origin", "first", "length", "second"),
    [
        (5000.0, 51.3486328125, 23.263671875, 74.6123046875),
        (FAR, 714.271, 13.152, 727.423),
        (FAR, 493.704, 10.592, 504.296),
    ],
)
def test_what_followed_something_to_the_nanosecond_still_does(origin: float, first: float, length: float, second: float) -> None:
    """Moved, each end would be rounded by itself; and far from zero a sum is rounded already."""
    begin = origin + 0.0004 if origin < FAR else origin + first - 52
    first, second = origin + first, origin + second
    call = begin + 5 * 2 + 200 + 1  # in the second stage
    following = [*stages(start=begin, length=200, gap=5), *launched(1, call, first, length), *launched(2, call + 1, second, 28.736)]
    one, other = [event for event in merged(True, slow(), following) if event.get("cat") == "kernel"][-2:]
    (_, ends), (begins, _) = nanoseconds(one), nanoseconds(other)
    assert begins - 1 <= ends <= begins


def test_what_is_inside_something_to_its_last_nanosecond_stays_there() -> None:
    outer = {"ph": "X", "name": "outer", "pid": 1, "tid": 1, "ts": 1.0, "dur": 2.0}
    inner = {"ph": "X", "name": "inner", "pid": 1, "tid": 1, "ts": 2.999, "dur": 0.001}
    behind = {"ph": "X", "name": "behind", "pid": 1, "tid": 1, "ts": 3.0, "dur": 1.0}
    close_up(events := [outer, inner, behind])
    assert [event["dur"] for event in events] == [2.0, 0.001, 1.0]
    close_up(events := [outer, behind | {"ts": 2.999}, behind | {"tid": 2}])
    assert [event["dur"] for event in events] == [1.999, 1.0, 1.0]


def test_a_kernel_goes_with_its_launch_and_its_arrow_with_it() -> None:
    """Launched in vision, it runs when generate has begun."""
    late = [*stages(start=5000, length=20, gap=5), *launched(1, 5051, 5080, 10)]
    events = merged(True, slow(), late)
    shift = starts(events, "vision")[1] - 5050
    theirs = [event for event in events if event.get("cat") == "kernel"][1]
    assert theirs["ts"] == 5080 + shift
    assert [event["ts"] for event in events if event["ph"] == "f" and event.get("cat") == "ac2g"][1] == 5080 + shift


def test_each_arrow_of_a_graph_ends_at_its_own_kernel() -> None:
    graph = [
        *stages(),
        call(1, 221, name="cudaGraphLaunch"),
        kernel(1, 230, 4),
        kernel(1, 240, 4),
        *arrow(1, 221, 230),
        arrow(1, 221, 240)[1],
    ]
    events = merged(True, graph, quick())
    ends = [event["ts"] for event in events if event["ph"] == "f" and event.get("cat") == "ac2g"]
    assert ends[:2] == [event["ts"] for event in events if event.get("cat") == "kernel"][:2]


def test_a_range_on_the_gpu_goes_with_its_range_on_the_host() -> None:
    """The clock of the GPU is a bit early: by its own time the range would be of the stage before."""
    on_gpu = {"ph": "X", "cat": "gpu_user_annotation", "name": "gpu", "pid": 0, "tid": 7, "ts": 5049, "dur": 10, "args": {"External id": 3}}
    events = merged(True, slow(), [*quick(), on_gpu])
    assert one(events, name="gpu")["ts"] == starts(events, "vision")[1] - 1


def test_what_lasts_over_several_stages_still_does() -> None:
    whole = {"ph": "X", "cat": "Trace", "name": "whole", "pid": "Spans", "tid": "PyTorch Profiler", "ts": 4990, "dur": 200}
    events = merged(True, slow(), [*quick(), whole])
    found = one(events, name="whole")
    assert found["ts"] == 40
    assert chrome.end(found) == starts(events, "generate")[1] + 5190 - 5075
    assert isinstance(found["pid"], int) and isinstance(found["tid"], int)


def drawn(events: list[Event]) -> dict[str, list[Event]]:
    """Track -> what begins on it. The first event of each names it."""
    tracks: dict[tuple[Any, Any], list[Event]] = {}
    for event in events:
        if event["ph"] == "b":
            tracks.setdefault((event["pid"], event["id2"]["local"]), []).append(event)
    return {begun[0]["name"]: begun[1:] for begun in tracks.values()}


def test_stages_are_drawn_by_side_and_joined_by_arrows_that_say_what_was_found() -> None:
    tracks = drawn(merged(True, slow(), quick()))
    assert list(tracks) == ["A baseline: stages", "ruler", "B optimized: stages"], "neither has a stamp"
    ours, theirs = tracks["A baseline: stages"], tracks["B optimized: stages"]
    for event in (*ours, *theirs):
        assert event["args"] == {"times as fast": "2.000"}
    assert [event["name"] for event in ours] == [event["name"] for event in theirs] == list(STAGES)
    assert [(event["bind_id"], event["flow_out"]) for event in ours] == [(event["bind_id"], event["flow_in"]) for event in theirs]
    assert [event["ts"] for event in tracks["ruler"]] == [50, 160, 270, 380]
    assert tracks["ruler"][0]["name"] == "load: A 0.10 ms, B 0.02 ms traced"


def test_arrows_lead_forward_in_time() -> None:
    for aligned in (False, True):
        for ours, theirs in ((slow(), quick()), (quick(), slow())):
            begun = [event for event in merged(aligned, ours, theirs) if "bind_id" in event]
            for stage in STAGES:
                start, end = (one(begun, name=stage, **{flow: True}) for flow in ("flow_out", "flow_in"))
                assert start["ts"] <= end["ts"] and start["pid"] != end["pid"] and start["bind_id"] == end["bind_id"]
                assert begun.index(start) < begun.index(end) or start["ts"] < end["ts"]


def test_what_was_drawn_for_one_side_alone_is_drawn_anew() -> None:
    alone = [*slow(), *draw({"stages": of_run(Timeline(slow(), "slow"))}, HOST)]
    assert drawn(merged(False, alone, quick())) == drawn(merged(False, slow(), quick()))


def test_events_of_the_two_sides_do_not_know_each_other() -> None:
    events = merged(False, slow(), slow())
    flows = [event["id"] for event in events if event.get("cat") == "ac2g"]
    assert len(set(flows)) == 2
    calls = [event["args"]["correlation"] for event in events if event.get("cat") == "cuda_runtime"]
    work = [event["args"]["correlation"] for event in events if event.get("cat") == "kernel"]
    assert calls == work and len(set(calls)) == 2
    assert len({event["pid"] for event in slices(events)}) == 4


@pytest.mark.parametrize("aligned", [False, True])
def test_of_recorded_traces_nothing_is_dropped_and_nothing_goes_back(aligned: bool) -> None:
    sides = {}
    for side in SIDES:
        file = H200 / f"trace-{side}.json.gz"
        trace = chrome.read(file)
        sides[side] = TraceSide(trace, Timeline(trace.events, file), side)
    events = merge(sides, TOLD, aligned).events
    for kind in "XiCsf":
        own = sum(event["ph"] == kind and event.get("cat") != CATEGORY for one_side in sides.values() for event in one_side.trace.events)
        assert sum(event["ph"] == kind for event in events) == own
    assert min(event["ts"] for event in events if "ts" in event) == 0
    assert all(event["dur"] >= 0 for event in slices(events))
    for place, side in enumerate(SIDES, 1):
        before = [event for event in slices(sides[side].trace.events) if event.get("cat") != CATEGORY]
        after = [event for event in slices(events) if event["pid"] // 1_000_000 == place]
        order = sorted(range(len(before)), key=lambda index: (before[index]["ts"], index))
        host = [index for index in order if sides[side].timeline.cause(before[index]) is None]
        moved: list[Any] = [after[index]["ts"] - before[index]["ts"] for index in host]
        rounded = 2e-3  # each begins at a whole nanosecond
        assert all(later - earlier > -rounded for earlier, later in pairwise(moved)), "later events move as far or farther"


@pytest.mark.parametrize(("aligned", "name"), [(True, ALIGNED), (False, AS_IT_RAN)])
def test_the_folder_of_a_comparison_is_merged_on_demand(aligned: bool, name: str, tmp_path: Path) -> None:
    """Of one that was recorded: its result says what stands at the arrows."""
    file = merge_folder(H200, tmp_path, aligned=aligned)
    assert file == tmp_path / name
    trace = chrome.read(file)
    variants = {side: about["variant"].partition(",")[0] for side, about in trace.header["evbench"].items()}
    assert variants == {"baseline": "baseline+attention=sdpa-flash", "optimized": "optimized-h100"}
    joined = [event for event in trace.events if "bind_id" in event]
    assert sorted(event["name"] for event in joined) == sorted(STAGES * 2)
    assert all(event["args"]["baseline, median"] and event["args"]["outputs"] for event in joined)


def test_a_folder_without_both_traces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read result"):
        merge_folder(tmp_path, tmp_path, aligned=True)
    results.write(make_result(make_side()), tmp_path / "result.json")
    with pytest.raises(UserError, match="does not hold the traces of both sides"):
        merge_folder(tmp_path, tmp_path, aligned=True)
    sides = [replace(make_side(), trace=make_trace(f"{name}.json.gz")) for name in ("one", "other")]
    results.write(make_result(sides[1], baseline=sides[0]), tmp_path / "result.json")
    (tmp_path / "one.json.gz").touch()
    told = r"does not hold other\.json\.gz any more; record baseline and baseline again by evbench trace"
    with pytest.raises(UserError, match=told):
        merge_folder(tmp_path, tmp_path, aligned=True)
    results.write(make_result(baseline=sides[0]), tmp_path / "result.json")
    with pytest.raises(UserError, match=r"holds one variant, and so one trace; give the file .*one\.json\.gz"):
        merge_folder(tmp_path, tmp_path, aligned=True)


def test_a_folder_of_several_comparisons_is_told_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "ladder.json").touch()
    with pytest.raises(UserError, match="is a ladder; give the folder of one of its comparisons: none has ended"):
        merge_folder(tmp_path, tmp_path, aligned=True)
    (tmp_path / "whole").mkdir()
    results.write(make_result(make_side()), tmp_path / "whole" / "result.json")
    with pytest.raises(UserError, match="is a ladder; give the folder of one of its comparisons: whole"):
        merge_folder(tmp_path, tmp_path, aligned=True)
    (tmp_path / "models.json").touch()
    with pytest.raises(UserError, match="is a comparison of models, which records no traces"):
        merge_folder(tmp_path, tmp_path, aligned=True)
