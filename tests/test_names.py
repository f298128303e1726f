from __future__ import annotations

from evbench.traces.names import named
from tests.traces import GPU, HOST, kernel, one, operation


def name(kind: str, process: object, **arguments: object) -> dict[str, object]:
    return {"ph": "M", "name": kind, "pid": process, "tid": 0, "args": arguments}


def test_each_process_says_of_which_side_and_what_it_is() -> None:
    idle = GPU + 1
    labels = {HOST: "CPU", GPU: "GPU 0", idle: "GPU 1"}
    kineto = [name(kind, process, **({"name": "python3"} if kind == "process_name" else {"labels": label}))
              for process, label in labels.items() for kind in ("process_name", "process_labels")]  # fmt: skip
    span = {"ph": "X", "name": "PyTorch Profiler (0)", "pid": "Spans", "tid": "PyTorch Profiler", "ts": 0, "dur": 1}
    overhead = {"ph": "X", "name": "Activity Buffer Request", "pid": -1, "tid": 0, "ts": 0, "dur": 1}
    events = named([*kineto, operation("x", 0, 1), kernel(1, 0, 1), span, overhead], "B optimized", "fast")
    processes = {event["pid"]: event["args"]["name"] for event in events if event.get("name") == "process_name"}
    assert processes == {
        HOST: "B optimized CPU: fast", GPU: "B optimized GPU 0: fast", "Spans": "B optimized Spans: fast", -1: "B optimized profiler: fast"
    }  # fmt: skip
    assert not [event for event in events if event["pid"] == idle], "a GPU that did nothing"
    assert one(events, name="thread_name")["args"] == {"name": "PyTorch Profiler"}
    assert [event["name"] for event in events if event["ph"] == "X"] == ["x", "gemm", "PyTorch Profiler (0)", "Activity Buffer Request"]
