from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from evbench.errors import UserError
from evbench.traces import chrome
from evbench.traces.chrome import Trace

EVENT = {"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 1.0, "dur": 2.0}


def packed(value: Any) -> bytes:
    return gzip.compress(json.dumps(value).encode())


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
@pytest.mark.parametrize("value", [{"traceEvents": [EVENT], "schemaVersion": 1}, [EVENT]])
def test_a_trace_is_read_packed_or_not(wrap: Any, value: Any, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    file.write_bytes(wrap(json.dumps(value).encode()))
    assert chrome.read(file).events == [EVENT]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "trace.json.gz"
    chrome.write(Trace({"schemaVersion": 1}, [EVENT]), file)
    assert chrome.read(file) == Trace({"schemaVersion": 1}, [EVENT])


BAD = {
    "empty": (b"", "is empty"),
    "no JSON": (b"hello", "no JSON"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "no JSON"),
    "cut off": (json.dumps([EVENT]).encode()[:-5], "cut off"),
    "cut off, packed": (packed([EVENT] * 100)[:-20], "cut off or damaged"),
    "damaged": (packed([EVENT] * 100)[:30] + b"\0" * 40, "cut off or damaged"),
    "of something else": (packed({"verdict": "FASTER"}), "no list of traceEvents"),
    "a number": (b"17", "no list of traceEvents"),
    "deep": (b"[" * 100_000, "no JSON"),
    "text for events": (packed({"traceEvents": ["a"]}), "event 0 has no kind"),
    "no time": (packed([EVENT, EVENT | {"ts": None}]), "event 1 has no time"),
    "a slice on no track": (packed([{name: value for name, value in EVENT.items() if name != "pid"}]), "event 0 has no track"),
    "text for a time": (packed([EVENT | {"ts": "1"}]), "event 0 has no time"),
    "endless time": (packed([EVENT | {"ts": float("inf")}]), "event 0 has no time"),
    "true for a time": (packed([EVENT | {"ts": True}]), "event 0 has no time"),
    "backwards": (packed([EVENT | {"dur": -1}]), "event 0 is a slice without name or duration"),
    "a list for a track": (packed([EVENT | {"tid": [1]}]), "event 0 has no track"),
    "a time beyond all years": (packed([EVENT | {"ts": 10**400}]), "event 0 has no time"),
    "a list for a category": (packed([EVENT | {"cat": ["kernel"]}]), "event 0 has no category"),
    "a list for a number": (packed([EVENT | {"args": {"correlation": [1]}}]), "event 0 has a list for a number"),
    "a table for an arrow": (packed([EVENT, {"ph": "f", "ts": 1, "id": {}}]), "event 1 has a list for a number"),
    "a list of arguments": (packed([EVENT | {"args": [1]}]), "event 0 has arguments without names"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    content, told = BAD[name]
    file = tmp_path / "trace.json.gz"
    file.write_bytes(content)
    with pytest.raises(UserError) as error:
        chrome.read(file)
    assert told in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("piece", [b"{},", b"[],", b'{"a":1},', b'"ab",', b"1.5,"])
def test_a_text_that_would_take_all_memory_is_refused_unread(piece: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is estimated is no less than what Python takes, and of a recording it is the usual six times."""
    text = b"[" + piece * 20_000 + b"0]"
    tracemalloc.start()
    json.loads(text)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    needed = len(text) + chrome.OBJECT_BYTES * (text.count(b"{") + text.count(b"[")) + chrome.VALUE_BYTES * text.count(b",")
    assert taken < needed
    monkeypatch.setattr(chrome, "available_memory", lambda: 2 * needed - 2)
    monkeypatch.setattr(json, "loads", lambda text: pytest.fail("it is read"))
    (tmp_path / "trace.json").write_bytes(text)
    with pytest.raises(chrome.TooLarge, match=r"would take some 0\.0 GiB of memory \([0-9,]+ objects and lists\); record fewer tokens"):
        chrome.read(tmp_path / "trace.json")


def test_a_small_file_that_unpacks_to_very_much_is_no_recording(tmp_path: Path) -> None:
    file = tmp_path / "trace.json.gz"
    file.write_bytes(gzip.compress(b"[" + b"{}," * 8_000_000 + b"{}]"))
    assert file.stat().st_size < 100_000
    with pytest.raises(UserError, match="unpacks to more than 100 times its size, as no recording does; record it again"):
        chrome.read(file)


def test_a_file_that_unpacks_to_very_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chrome, "MOST_BYTES", 1000)
    file = tmp_path / "trace.json.gz"
    file.write_bytes(gzip.compress(b" " * 1001))
    with pytest.raises(UserError, match="trace_processor_shell server http"):
        chrome.read(file)
