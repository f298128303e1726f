from __future__ import annotations

from evbench.traces.lanes import LANE, separate_overlaps
from tests.traces import GPU, STREAM, arrow, call, kernel, operation


def test_kernels_that_overlap_on_a_stream_get_tracks_of_their_own() -> None:
    kernels = [kernel(1, 0, 10, "a"), kernel(2, 8, 4, "b"), kernel(3, 9, 10, "c"), kernel(4, 12, 1, "d")]
    events = [*kernels, *arrow(1, 0, 0), *arrow(2, 1, 8)]
    separate_overlaps(events)
    tracks = {event["name"]: event["tid"] for event in events if event["ph"] == "X"}
    assert tracks["a"] == tracks["d"] == STREAM
    assert len({STREAM, tracks["b"], tracks["c"]}) == 3
    assert [event["tid"] for event in events if event["ph"] == "f"] == [STREAM, tracks["b"]], "the arrow follows its kernel"
    names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {tracks["b"]: "stream 7, overlapping", tracks["c"]: "stream 7, overlapping"}


def test_a_kernel_inside_another_is_moved_and_one_inside_a_range_is_not() -> None:
    around = {"ph": "X", "cat": "gpu_user_annotation", "name": "evbench/vision", "pid": GPU, "tid": STREAM, "ts": 0, "dur": 100}
    events = [around, kernel(1, 0, 100, "long"), kernel(2, 10, 5, "short")]
    separate_overlaps(events)
    assert [event["tid"] == STREAM for event in events[:3]] == [True, True, False]


def test_calls_of_the_host_that_cross_are_separated() -> None:
    events = [operation("outer", 0, 10), operation("inner", 2, 3), operation("crossing", 8, 10)]
    separate_overlaps(events)
    assert [event["tid"] == events[0]["tid"] for event in events[:3]] == [True, True, False]


def test_what_does_not_overlap_stays() -> None:
    events = [kernel(1, 0, 10, "a"), kernel(2, 10, 4, "b"), operation("x", 3, 9), operation("y", 3.001, 8.999)]
    before = [dict(event) for event in events]
    separate_overlaps(events)
    assert events == before


def test_each_of_a_graphs_kernels_keeps_its_own_arrow() -> None:
    """They have the number of their launch in common. Only the one that overlaps is moved."""
    events = [call(1, 0, name="cudaGraphLaunch"), *(kernel(1, start, 10) for start in (10, 20, 25))]
    events += [event for start in (10, 20, 25) for event in arrow(1, 0, start)]
    separate_overlaps(events)
    ends = {event["ts"]: event["tid"] for event in events if event["ph"] == "f"}
    works = {event["ts"]: event["tid"] for event in events if event.get("cat") == "kernel"}
    assert ends == works == {10: STREAM, 20: STREAM, 25: STREAM + LANE}
