"""No pickle does anything but make arrays; what numpy.save and pickle write of events is read whole."""

from __future__ import annotations

import collections
import datetime
import io
import os
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evbench.pipelines.load.restricted_pickle import MOST_OPCODES, Refused, arrays

EVENTS = {
    "x": np.arange(7, dtype=np.uint16),
    "y": np.arange(7, dtype=">u2"),
    "t": np.arange(7, dtype=np.int64) * 1000,
    "p": np.array([0, 1, 1, 0, 1, 0, 0], np.bool_),
}
EXTRAS: dict[str, Any] = {
    "time_start": np.int64(5), "duration_ms": 1000.0, "image_indices_in_clip": list(range(20)), "num_events": 7, "name": "é",
    "shape": (480, 640), "big": 2**80, "nothing": None, "flags": {"a": True}, "labels": np.array(["a", "bc"]),
    "frames": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "empty": np.empty(0, np.uint16),
}  # fmt: skip


def as_numpy_1(pickled: bytes) -> bytes:
    """Numpy 1 writes the same under another module's name, which is a letter shorter."""
    assert pickled.count(b"numpy._core.multiarray") >= 1
    renamed = pickled.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    return renamed.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")


def boxed(value: Any) -> Any:
    """As numpy.save makes of a dict."""
    box = np.empty((), object)
    box[()] = value
    return box


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("wrap", [boxed, dict], ids=["array", "dict"])
def test_what_numpy_and_pickle_write_is_read(protocol: int, wrap: Any) -> None:
    pickled = pickle.dumps(wrap(EVENTS | EXTRAS), protocol)
    found = arrays(pickled)
    assert set(found) == {*EVENTS, "labels", "frames", "empty"}
    for name in found:
        expected = (EVENTS | EXTRAS)[name]
        assert np.array_equal(found[name], expected)
        assert found[name].dtype == expected.dtype
    if protocol == 4:
        other = arrays(as_numpy_1(pickled))
        assert all(np.array_equal(other[name], found[name]) for name in found)


def test_long_arrays_are_not_copied() -> None:
    pickled = pickle.dumps({"t": np.arange(100_000)})
    assert np.shares_memory(arrays(pickled)["t"], np.frombuffer(pickled, np.uint8))


class Hostile:
    def __init__(self, called: Any, *arguments: Any) -> None:
        self.reduced = called, arguments

    def __reduce__(self) -> Any:
        return self.reduced


HOSTILE = {
    "os.system": Hostile(os.system, "touch harmed"),
    "eval": Hostile(eval, "open('harmed', 'w')"),
    "getattr": Hostile(getattr, dict, "get"),
    "numpy.load": Hostile(np.load, "harmed"),
    "numpy.fromfile": Hostile(np.fromfile, "/etc/passwd", "u1"),
    "numpy.memmap": Hostile(np.memmap, "harmed", "u1", "w+", 0, 10),
    "numpy.zeros": Hostile(np.zeros, 2**40),
    "numpy.frombuffer": Hostile(np.frombuffer, b"1234", "u1"),
    "numpy.array": Hostile(np.array, [1, 2]),
    "datetime": datetime.datetime(2026, 1, 1),
    "ordered dict": collections.OrderedDict(t=EVENTS["t"]),
    "a set": {1, 2},
    "path": Path("harmed"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("place", ["alone", "in the dict", "in a list of it", "in the box"])
def test_a_pickle_that_would_call_anything_is_refused(
    case: str, protocol: int, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value = HOSTILE[case]
    holder = {"alone": value, "in the dict": EVENTS | {"a": value}, "in a list of it": EVENTS | {"a": [value]}, "in the box": boxed(value)}
    with pytest.raises(Refused) as caught:
        arrays(pickle.dumps(holder[place], protocol))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert not list(tmp_path.iterdir())


def script(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def blob(content: bytes, claimed: int | None = None) -> bytes:
    return b"\x8e" + struct.pack("<Q", len(content) if claimed is None else claimed) + content


MAKE, FROM_BUFFER = named("numpy._core.multiarray", "_reconstruct"), named("numpy._core.numeric", "_frombuffer")
ARRAY = MAKE + named("numpy", "ndarray") + b"K\0\x85C\1b\x87R"
TYPE = named("numpy", "dtype") + b"X\2\0\0\0u1\x89\x88\x87R(K\3X\1\0\0\0|NNN" + number(-1) * 2 + b"K\0tb"
BY_HAND = {
    "shape and bytes differ": script(ARRAY, b"(K\1", number(2**30), b"\x85", TYPE, b"\x89", blob(b"1234"), b"tb"),
    "a negative shape": script(ARRAY, b"(K\1", number(-4), b"\x85", TYPE, b"\x89", blob(b"1234"), b"tb"),
    "an edge of no number": script(ARRAY, b"(K\1N\x85", TYPE, b"\x89", blob(b"1234"), b"tb"),
    "2^60 bytes claimed": script(blob(b"1", 2**60)),
    "2^31 bytes claimed": b"\x80\x04B" + struct.pack("<I", 2**31 - 1) + b"1.",
    "a memo of 2^31 places": script(b"Nr" + struct.pack("<I", 2**31 - 1)),
    "_reconstruct of another class": script(MAKE, named("numpy", "memmap"), b"K\0\x85C\1b\x87R"),
    "_reconstruct of a size": script(MAKE, named("numpy", "ndarray"), b"J\0\0\0\x40\x85C\1b\x87R"),
    "_frombuffer of a number": script(FROM_BUFFER, b"(K\5", TYPE, b"K\5\x85X\1\0\0\0CtR"),
    "_frombuffer of a name": script(FROM_BUFFER, b"(", named("os", "environ"), TYPE, b"K\5\x85X\1\0\0\0CtR"),
    "another function of numpy's": script(named("numpy._core.multiarray", "fromfile"), b"X\1\0\0\0a\x85R"),
    "a dotted name": script(b"X\2\0\0\0osX\6\0\0\0system\x93X\1\0\0\0a\x85R"),
    "state of a function": script(MAKE, b"}X\1\0\0\0aNsb"),
    "state of a dict": script(b"}}b"),
    "an instance": script(named("numpy", "ndarray"), b")\x81"),
    "an old instance": script(b"(inumpy\nndarray\n"),
    "a persistent id": script(b"Pid\n"),
    "an extension": script(b"\x82\x01"),
    "an object's dtype": script(named("numpy", "dtype"), b"X\2\0\0\0O8\x89\x88\x87R"),
    "fields": script(named("numpy", "dtype"), b"X\2\0\0\0V8\x89\x88\x87R"),
    "nothing": b"",
    "no stop": b"\x80\x04}",
    "an empty stack": b"\x80\x04.",
    "a lone mark": script(b"("),
    "two values": script(b"NN"),
    "append to nothing": script(b"a"),
    "set on a list": script(b"]NNs"),
    "a key that is no text": script(b"}K\1Ns"),
    "a key that is a tuple of tuples": script(b"})" + b"\x85" * 900 + b"Ns"),
    "get what was not put": script(b"h\5"),
    "a mark as a value": script(b"}X\1\0\0\0a(s"),
    "an odd number of items": script(b"}(X\1\0\0\0au"),
    "too many parts": script(b"](" + b"N" * MOST_OPCODES + b"e"),
    "an array without state": script(b"}X\1\0\0\0x", ARRAY, b"s"),
    "an unknown opcode": script(b"\xff"),
    "a number": script(b"K\1"),
    "a digit too many": script(b"I" + b"9" * 4090 + b"x\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_HAND)
def test_a_pickle_made_by_hand_is_refused(case: str) -> None:
    with pytest.raises(Refused) as caught:
        arrays(BY_HAND[case])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [np.array([{}, {}], object), np.array([os.system], object), np.array([(1, 2)], "u1,u1")])
def test_arrays_of_anything_but_numbers_are_refused(values: Any) -> None:
    with pytest.raises(Refused):
        arrays(pickle.dumps(boxed(EVENTS | {"x": values})))


def test_an_object_in_a_box_in_the_dict_is_refused() -> None:
    with pytest.raises(Refused, match="'x' is an array of objects"):
        arrays(pickle.dumps({"x": boxed([1, 2])}))


def test_a_tower_of_tuples_costs_no_time() -> None:
    """Each holds the one before it twice: to go through the last one would take 2^900 steps."""
    tower = b")" + b"".join(b"q" + bytes([place]) + b"h" + bytes([place]) + b"\x86" for place in [*range(200)] * 4 + [*range(100)])
    assert arrays(script(b"}X\1\0\0\0a", tower, b"s")) == {}
    with pytest.raises(Refused, match="keys are no texts"):
        arrays(script(b"}", tower, b"Ns"))
    with pytest.raises(Refused, match="holds tuple"):
        arrays(script(tower))


def test_every_cut_and_thousands_of_changes_are_read_or_refused() -> None:
    """Nothing else is raised, and nothing is imported or called: names are only looked up in a table."""
    pickled = pickle.dumps(boxed(EVENTS | EXTRAS), 4)
    for length in range(len(pickled)):
        with pytest.raises(Refused):
            arrays(pickled[:length])
    random = np.random.default_rng(0)
    whole, outcomes = np.frombuffer(pickled, np.uint8), collections.Counter[str]()
    for _ in range(3000):
        changed = whole.copy()
        changed[random.integers(0, len(whole), random.integers(1, 6))] = random.integers(0, 256)
        try:
            arrays(changed.tobytes())
            outcomes["read"] += 1
        except Refused:
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 100, outcomes


def test_the_table_of_what_may_be_called_is_complete() -> None:
    """Against what numpy.save really has called."""
    from evbench.pipelines.load.restricted_pickle import CALLS

    stored = io.BytesIO()
    np.save(stored, boxed(EVENTS | EXTRAS))
    pickled = stored.getvalue()[stored.getvalue().index(b"\n") + 1 :]
    texts = [str(argument) for opcode, argument, _ in pickletools.genops(pickled) if opcode.name == "SHORT_BINUNICODE"]
    called = {name.name for name in CALLS} | {"ndarray"}
    assert {"_reconstruct", "dtype", "scalar", "ndarray"} == {text for text in texts if text in called}
