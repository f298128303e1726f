from __future__ import annotations

from typing import Any

from evbench.trace import separate_overlaps


def kernel(name: str, start: float, duration: float, correlation: int) -> dict[str, Any]:
    return {
        "ph": "X",
        "cat": "kernel",
        "name": name,
        "pid": 0,
        "tid": 7,
        "ts": start,
        "dur": duration,
        "args": {"correlation": correlation},
    }


def arrow(correlation: int, start: float) -> dict[str, Any]:
    return {"ph": "f", "cat": "ac2g", "id": correlation, "pid": 0, "tid": 7, "ts": start, "name": "ac2g", "bp": "e"}


def test_kernels_that_overlap_on_a_stream_get_tracks_of_their_own() -> None:
    events = [kernel("a", 0, 10, 1), kernel("b", 8, 4, 2), kernel("c", 9, 10, 3), kernel("d", 12, 1, 4), arrow(1, 0), arrow(2, 8)]
    separate_overlaps(events)
    tracks = {event["name"]: event["tid"] for event in events if event["ph"] == "X"}
    assert tracks["a"] == tracks["d"] == 7
    assert len({7, tracks["b"], tracks["c"]}) == 3
    assert [event["tid"] for event in events if event["ph"] == "f"] == [7, tracks["b"]], "the arrow follows its kernel"
    names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {tracks["b"]: "stream 7, overlapping", tracks["c"]: "stream 7, overlapping"}


def test_what_does_not_overlap_stays() -> None:
    events = [
        kernel("a", 0, 10, 1),
        kernel("b", 10, 4, 2),
        {"ph": "X", "cat": "cpu_op", "name": "x", "pid": 1, "tid": 1, "ts": 3, "dur": 9},
    ]
    before = [dict(event) for event in events]
    separate_overlaps(events)
    assert events == before
