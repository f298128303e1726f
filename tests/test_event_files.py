from __future__ import annotations

import doctest
import importlib.util
import os
import re
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from evbench.errors import UserError
from evbench.inputs import sample
from evbench.pipelines.load import event_columns, event_files, event_images
from evbench.pipelines.load.event_readers import READERS
from tests.cases import CASES
from tests.event_examples import HEIGHT, SAVE, WHOLE, WIDTH, Columns, make_events, save_hdf5, save_npy, save_npz

pytestmark = pytest.mark.slow


def assert_equal(stream: Any, events: Columns, part: slice = slice(None)) -> None:
    for name, kind in (("x", np.uint16), ("y", np.uint16), ("t", np.int64), ("p", np.uint8)):
        value = getattr(stream, name)
        assert value.dtype == kind
        assert np.array_equal(value, events[name][part])


@pytest.mark.parametrize("ending", SAVE)
def test_the_whole_file_is_read(ending: str, tmp_path: Path) -> None:
    events = make_events()
    path = SAVE[ending](tmp_path / f"a{ending}", events)
    stream = event_files.read(path, WHOLE)
    assert_equal(stream, events)
    assert stream.sensor is None
    assert event_files.probe(path, WHOLE) == (5, HEIGHT, WIDTH)


@pytest.mark.parametrize("ending", SAVE)
@pytest.mark.parametrize("start", [0, 1, 999, 1000, 12_345, 44_000])
@pytest.mark.parametrize("length", [5_500, 6_000, 40_000, None])
def test_a_window_has_its_start_and_not_its_end(ending: str, start: int, length: int | None, tmp_path: Path) -> None:
    events = make_events()
    begin = int(events["t"][0]) + start
    inside = events["t"] >= begin
    inside &= True if length is None else events["t"] < begin + length
    place = np.flatnonzero(inside)
    stream = event_files.read(SAVE[ending](tmp_path / f"a{ending}", events), replace(WHOLE, start=start, length=length))
    assert_equal(stream, events, slice(place[0], place[-1] + 1))


def test_times_that_start_at_zero_in_16_bits_are_read_to_the_last(tmp_path: Path) -> None:
    """As in the sample of the released code; a window may end behind what 16 bits hold."""
    events = make_events(microseconds=2**16, start=0)
    events["t"] = events["t"].astype(np.uint16)
    path = save_npy(tmp_path / "a.npy", events | {"duration_ms": 65.5, "image_indices_in_clip": [0, 1], "num_events": np.int64(1000)})
    for length in (None, 2**16, 10**9):
        assert_equal(event_files.read(path, replace(WHOLE, length=length)), events)
    assert event_files.read(path, replace(WHOLE, length=2**16 - 1)).t[-1] < 2**16 - 1


@pytest.mark.parametrize("ending", SAVE)
@pytest.mark.parametrize(
    ("polarity", "expected"),
    [
        (np.array([-1, 1, 1, -1, 1, -1], np.int8), [0, 1, 1, 0, 1, 0]),
        (np.array([True, False, True, True, False, False]), [1, 0, 1, 1, 0, 0]),
        (np.full(6, -1, np.int16), [0] * 6),
        (np.ones(6, np.int64), [1] * 6),
    ],
)
def test_polarity_is_0_and_1(ending: str, polarity: Any, expected: list[int], tmp_path: Path) -> None:
    path = SAVE[ending](tmp_path / f"a{ending}", make_events(6) | {"p": polarity})
    assert event_files.read(path, WHOLE).p.tolist() == expected


def test_the_limit_is_that_of_the_released_code(tmp_path: Path) -> None:
    """It raises if t.max() - t.min() >= 100,000 us."""
    window = replace(WHOLE, longest=100_000)
    for span in (99_999, 100_000):
        path = save_npz(tmp_path / f"{span}.npz", make_events(microseconds=span + 1))
        if span < 100_000:
            assert len(event_files.read(path, window).t) == 1000
            continue
        with pytest.raises(
            UserError, match=r"span 100 ms, and less than 100 ms are taken; give --event-window .* or another --event-limit"
        ):
            event_files.read(path, window)
        assert len(event_files.read(path, replace(window, longest=None)).t) == 1000
        assert len(event_files.read(path, replace(window, length=100_000)).t) == 999


def test_a_npz_may_tell_the_size_of_the_sensor(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", make_events() | {"height": 60, "width": 80})
    assert event_files.read(path, WHOLE).sensor == (60, 80)
    assert event_files.probe(path, WHOLE) == (5, HEIGHT, WIDTH)
    assert event_files.probe(path, replace(WHOLE, size="sensor")) == (5, 60, 80)


def changed(case: str) -> dict[str, Any]:
    """Columns that are wrong, whatever they are stored in."""
    events: dict[str, Any] = make_events()
    match case:
        case "no y":
            del events["y"]
        case "lengths":
            events["p"] = events["p"][:-1]
        case "float times":
            events["t"] = events["t"] / 1e6
        case "text":
            events["p"] = np.full(1000, b"+")
        case "two dimensions":
            events["x"] = events["x"].reshape(10, 100)
        case "not in order":
            events["t"][[3, 700]] = events["t"][[700, 3]]
        case "negative x":
            events["x"] = events["x"].astype(np.int32) - 5
        case "far y":
            events["y"] = events["y"].astype(np.uint32) + 2**16
        case "one far x":
            events["x"][500] = 2**12
        case "polarity 2":
            events["p"][500] = 2
        case "polarity -1, 0, 1":
            events["p"] = events["p"].astype(np.int8)
            events["p"][:2] = -1, 0
        case "four":
            events = make_events(4)
    return events


CHANGED = {
    "no y": "has no",
    "lengths": "differ in length",
    "float times": "integer",
    "text": "integer",
    "two dimensions": r"dimensions; store one integer for each event|differ in length",
    "not in order": r"not in order of time|does not fit",
    "negative x": r"x goes from -5 to",
    "far y": r"y goes from 65536 to",
    "one far x": r"x goes from 0 to 4096, and (no event camera has more than 4,096 pixels|its sensor)|gave up",
    "polarity 2": r"p goes from 0 to 2; polarity is 0 and 1 throughout, or -1 and 1",
    "polarity -1, 0, 1": r"p goes from -1 to 1; polarity is",
    "four": "of 5 events at least pictures are made, and the whole file has 4",
}


def refusal(path: Path, window: Any = WHOLE) -> str:
    """What `probe` says, in one line; `read` says it as well."""
    told = set()
    for look in (event_files.probe, event_files.read):
        with pytest.raises(UserError) as caught:
            look(path, window)
        told.add(str(caught.value))
    (line,) = told
    assert "\n" not in line
    assert line.startswith(str(path))
    assert ";" in line, "it says what to do"
    return line


@pytest.mark.parametrize("ending", SAVE)
@pytest.mark.parametrize("case", CHANGED)
def test_columns_that_cannot_be_events_are_refused_in_one_line(case: str, ending: str, tmp_path: Path) -> None:
    events, path = changed(case), tmp_path / f"a{ending}"
    if ending == ".h5":
        columns = {f"events__{name}": events.get(name) for name in ("x", "y", "p")}
        times = events["t"] if case == "float times" else (events["t"] - events["t"][0]).astype(np.uint32)
        save_hdf5(path, make_events(len(times)), **columns, events__t=times)
    else:
        SAVE[ending](path, events)
    assert re.search(CHANGED[case], refusal(path))


@pytest.mark.parametrize("ending", READERS)
@pytest.mark.parametrize("case", ["none", "folder", "empty", "text", "png"])
def test_what_is_no_such_file_is_refused_in_one_line(case: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    match case:
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "text":
            path.write_text("x y t p\n1 2 3 0\n" * 100)
        case "png":
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(5000))
    told = refusal(path)
    assert {"none": "no such file", "folder": "is a folder", "empty": "is empty"}.get(case, path.name) in told


def test_another_ending_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2,3,0\n")
    assert refusal(tmp_path / "a.csv").endswith("give one of .npz, .npy, .h5, .hdf5, .aedat4, .raw, .dat, or a folder of PNGs")


@pytest.mark.parametrize("ending", SAVE)
def test_a_file_that_is_cut_off_is_refused_in_one_line(ending: str, tmp_path: Path) -> None:
    whole = SAVE[ending](tmp_path / f"whole{ending}", make_events()).read_bytes()
    for share in (0.01, 0.3, 0.7, 0.99):
        path = tmp_path / f"{share}{ending}"
        path.write_bytes(whole[: int(len(whole) * share)])
        refusal(path)


def test_a_window_without_events_is_refused(tmp_path: Path) -> None:
    for ending, save in SAVE.items():
        path = save(tmp_path / f"a{ending}", make_events())
        assert "ends 49.999 ms behind its first event, and" in refusal(path, replace(WHOLE, start=50_000, length=10))
        assert "--event-window 0:0.001ms has 1" in refusal(path, replace(WHOLE, length=1))
        assert "does not hold the sensor's size" in refusal(path, replace(WHOLE, size="sensor"))
    path = save_npz(tmp_path / "none.npz", {name: value[:0] for name, value in make_events().items()})
    assert "holds no events" in refusal(path)
    path = save_npz(tmp_path / "small.npz", make_events() | {"height": 10, "width": 80})
    assert "y goes from 0 to 47, and its sensor has 80x10 pixels" in refusal(path)


def test_a_npz_that_claims_much_or_holds_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    header = (
        np.lib.format.magic(1, 0) + b"\x76\0{'descr': '<u2', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(120) + b"\n"
    )
    with zipfile.ZipFile(path, "w") as file:
        for name in "xytp":
            file.writestr(f"{name}.npy", header + bytes(10))
    assert "damaged or no .npz" in refusal(path)
    save_npz(path, make_events() | {"x": np.array([{}] * 1000)})
    assert "it holds objects" in refusal(path), "and no advice to run them"
    events = make_events()
    with path.open("wb") as file:
        np.save(file, events["x"])
    assert "is no .npz" in refusal(path)


def test_a_npy_of_anything_but_a_dict_is_refused(tmp_path: Path) -> None:
    for content in (make_events()["x"], np.array([{}, {}], object), np.array(5)):
        np.save(tmp_path / "a.npy", content)
        assert "it is no array that holds a dict" in refusal(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([1, 2, None], object)[2:].reshape(()))
    assert "not a dict of arrays" in refusal(tmp_path / "a.npy")


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch harmed",)


def test_a_npy_that_would_run_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save_npy(tmp_path / "a.npy", make_events() | {"extra": Hostile()})
    assert "it would call posix.system, which has no place among events" in refusal(path)
    assert not (tmp_path / "harmed").exists()
    np.load(path, allow_pickle=True)
    assert (tmp_path / "harmed").exists(), "or the test would prove nothing"


HDF5: dict[str, tuple[dict[str, Any], str]] = {
    "no index": ({"ms_to_idx": None}, "has no ms_to_idx"),
    "no offset": ({"t_offset": None}, "has no t_offset"),
    "index behind the end": ({"ms_to_idx": np.full(50, 10**12, np.uint64)}, "ms_to_idx does not fit events/t"),
    "index of another file": ({"ms_to_idx": np.arange(50, dtype=np.uint64) * 19}, "ms_to_idx does not fit events/t"),
    "index of fractions": ({"ms_to_idx": np.arange(50) / 2}, "ms_to_idx is no array of integers"),
    "no index at all": ({"ms_to_idx": np.empty(0, np.uint64)}, "damaged or no HDF5 as in DSEC"),
    "offset out of time": ({"t_offset": np.int64(2**63 - 5)}, "which are no times in microseconds"),
    "offset of several": ({"t_offset": np.arange(3)}, "t_offset has 3 numbers, more than 1"),
    "events in rows": (
        {"events__x": None, "events__y": None, "events__t": None, "events__p": None, "events": np.zeros((1000, 4), np.int64)},
        "holds events as one array of shape (1000, 4), with int64, and not events/x; store x, y, t and p as arrays of their own",
    ),
}


@pytest.mark.parametrize("case", HDF5)
def test_an_hdf5_that_is_not_as_in_dsec_is_refused(case: str, tmp_path: Path) -> None:
    replaced, told = HDF5[case]
    path = save_hdf5(tmp_path / "a.h5", make_events(), **replaced)
    assert told in refusal(path, replace(WHOLE, start=10_000, length=20_000))


def test_an_hdf5_in_chunks_that_are_huge_when_unpacked_is_refused_before_one_is(tmp_path: Path) -> None:
    path = save_hdf5(tmp_path / "a.h5", make_events(), events__x=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("events/x", (1000,), "u2", chunks=(2**26,), maxshape=(None,), compression="gzip")
    assert "events/x is stored in chunks of 128 MiB, which would be unpacked for a single event, and up to 64 are taken" in refusal(path)
    with h5py.File(path, "a") as file:
        del file["events/x"]
        file.create_dataset("events/x", data=make_events()["x"], chunks=(2**25,), maxshape=(None,), compression="gzip")
    assert event_files.probe(path, WHOLE)[0] == 5


def test_an_hdf5_that_points_to_other_files_is_refused(tmp_path: Path) -> None:
    save_hdf5(tmp_path / "other.h5", make_events())
    path = save_hdf5(tmp_path / "a.h5", make_events(), events__x=None)
    with h5py.File(path, "a") as file:
        file["events/x"] = h5py.ExternalLink("other.h5", "events/x")
    assert "has no events/x" in refusal(path)
    with h5py.File(path, "a") as file:
        del file["events/x"]
        file.create_dataset("events/x", (1000,), "u2", external=[(str(tmp_path / "other.h5"), 0, 2000)])
    assert "events/x is no array of integers in this file" in refusal(path)
    with h5py.File(path, "a") as file:
        del file["events/x"]
        layout = h5py.VirtualLayout((1000,), "u2")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "events/x", (1000,))
        file.create_virtual_dataset("events/x", layout)
    assert "events/x is no array of integers in this file" in refusal(path)


def test_of_an_hdf5_only_the_window_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_hdf5(tmp_path / "a.h5", make_events(100_000))
    asked: list[int] = []
    get = h5py.Dataset.__getitem__

    def counted(self: Any, key: Any) -> Any:
        value = get(self, key)
        asked.append(np.size(value))
        return value

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    stream = event_files.read(path, replace(WHOLE, start=20_000, length=1_000))
    assert 1500 < len(stream.t) < 2500
    assert sum(asked) < 4 * len(stream.t) + 20, "the window's milliseconds, the edges, and places in the index"


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("hdf5plugin", "faery") else find(name))
    missing = {"a.h5": "hdf5plugin", "a.aedat4": "faery"}
    for (name, package), extra in zip(missing.items(), ("dsec", "recordings"), strict=True):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UserError) as caught:
            event_files.read(tmp_path / name, WHOLE)
        told = f"{tmp_path / name} is read by the package {package}, which is not installed; install it, or evbench[{extra}]"
        assert str(caught.value) == told


def test_a_reader_that_aborts_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_hdf5(tmp_path / "a.h5", make_events())
    run = subprocess.run
    for script, told in (("import os; os.abort()", "SIGABRT"), ("raise Exception('no event tracks')", "Exception: no event tracks")):

        def dying(command: list[str], script: str = script, **options: Any) -> Any:
            return run([command[0], "-c", script], **options)

        monkeypatch.setattr(subprocess, "run", dying)
        with pytest.raises(UserError) as caught:
            event_files.probe(path, WHOLE)
        assert str(caught.value) == f"{path} is damaged: its reader gave up ({told}); copy the file again"


def test_files_of_events_are_told_from_images(tmp_path: Path) -> None:
    for name in ("0.png", "0.PNG", "a.csv", "b"):
        (tmp_path / name).touch()
    names = ("0.png", "0.PNG", "a.csv", "b", "none.npz", "none.RAW", "none")
    assert [event_files.is_file_of_events(tmp_path / name) for name in names] == [False, False, True, True, True, True, False]
    assert not event_files.is_file_of_events(tmp_path)


def test_the_examples_in_docstrings_hold() -> None:
    for module in (event_columns, event_images):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("damage", ["bytes", "header", "shape", "size"])
def test_an_npz_whose_members_are_damaged_is_refused_in_a_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.npz"
    save_npz(path, make_events() | {"height": np.int64(48), "width": np.int64(64)})
    member, content = {
        "bytes": ("x.npy", b"no array"),
        "header": ("x.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((  \n"),
        "shape": ("x.npy", b"\x93NUMPY\x01\x00\x3a\x00{'descr': '<u2', 'fortran_order': False, 'shape': (True,)}\n\0\0"),
        "size": ("height.npy", b"no array"),
    }[damage]
    with zipfile.ZipFile(path) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(path, "w") as stored:
        for name, kept in (members | {member: content}).items():
            stored.writestr(name, kept)
    told = refusal(path)
    assert str(path) in told and "damaged" in told


def test_a_text_that_is_named_npz_is_refused_without_advice_to_run_it(tmp_path: Path) -> None:
    path = tmp_path / "text.npz"
    path.write_text("hello", encoding="ascii")
    assert refusal(path) == f"{path} is no .npz file; store x, y, t and p by numpy.savez"


def test_a_sensor_of_a_size_that_no_camera_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "claims.npz"
    save_npz(path, make_events() | {"height": np.int64(48), "width": np.int64(60_000)})
    assert "names a sensor of 60000x48 pixels, and no event camera has more than 4,096 along an edge" in refusal(path)
    save_npz(path, make_events() | {"height": np.int64(70_000), "width": np.int64(64)})
    assert "names a sensor of 64x70000 pixels" in refusal(path)


@pytest.mark.parametrize("height", [60, np.uint16(60), np.array([60]), np.array([[60]], np.int8)])
def test_the_size_of_a_sensor_is_any_integer(height: Any, tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", make_events() | {"height": height, "width": 80})
    assert event_files.read(path, WHOLE).sensor == (60, 80)


@pytest.mark.parametrize(
    ("height", "told"),
    [
        (0, "0"),
        (-480, "-480"),
        (480.0, "480.0"),
        (np.array([480.0]), "480.0"),
        (True, "True"),
        (np.array([48, 48]), "of type int64 and shape (2,)"),
        (np.empty(0, np.int64), "of type int64 and shape (0,)"),
        ("480", "of type <U3 and shape ()"),
    ],
)
def test_a_sensor_whose_size_is_no_number_of_pixels_is_refused(height: Any, told: str, tmp_path: Path) -> None:
    """Or it would be taken for one that is not told, and events outside of it would be drawn."""
    path = save_npz(tmp_path / "a.npz", make_events() | {"height": height, "width": 80})
    expected = f"{path}: height is {told}, and not the number of a sensor's pixels; store height and width as integers, or neither"
    assert refusal(path) == expected


@pytest.mark.parametrize("name", ["height", "width"])
def test_half_the_size_of_a_sensor_is_refused(name: str, tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", make_events() | {name: 80})
    assert refusal(path) == f"{path} holds only the {name} of its sensor; store both height and width, or neither"


@pytest.mark.parametrize("ending", SAVE)
def test_events_that_are_stored_backwards_are_not_in_order_of_time(ending: str, tmp_path: Path) -> None:
    events, path = make_events(), tmp_path / f"a{ending}"
    if ending == ".h5":
        save_hdf5(path, events, events__t=(events["t"] - events["t"][0]).astype(np.uint32)[::-1])
    else:
        SAVE[ending](path, events | {"t": events["t"][::-1]})
    for window in (WHOLE, replace(WHOLE, start=10_000, length=20_000)):
        assert refusal(path, window) == f"{path}: the events are not in order of time; sort them by t"


def test_a_recording_whose_clock_falls_back_is_not_in_order_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader leaves out what lies before the window, and tells by the last time that it fell back."""
    path = save_npz(tmp_path / "a.npz", make_events())
    monkeypatch.setitem(READERS, ".npz", lambda path, window: event_columns.Columns(make_events(), first=8_000_000, last=7_049_999))
    assert refusal(path).endswith("the events are not in order of time; sort them by t")


def flat(*, columns: int = 4096, rows: int = 1) -> dict[str, Any]:
    """Events that lie in few rows, or in few columns."""
    random = np.random.default_rng(0)
    return make_events() | {"x": random.integers(0, columns, 1000), "y": random.integers(0, rows, 1000)}


@pytest.mark.parametrize("ending", SAVE)
def test_events_of_which_pictures_would_be_much_longer_than_wide_are_refused(ending: str, tmp_path: Path) -> None:
    """Of 4096x1 pixels a model's input would have 1,376,256x336. What reads a stream, timed, does not look."""
    path = SAVE[ending](tmp_path / f"a{ending}", flat())
    assert len(event_files.read(path, WHOLE).t) == 1000
    with pytest.raises(UserError) as caught:
        event_files.probe(path, WHOLE)
    assert re.fullmatch(
        rf"{re.escape(str(path))}: picture 1 of the whole file has \d+x1 pixels, and no side may be more than 32 times the other; "
        "give another --event-window",
        str(caught.value),
    )
    path = SAVE[ending](tmp_path / f"b{ending}", flat(columns=64, rows=2))
    assert event_files.probe(path, WHOLE) == (5, 2, 64)


@pytest.mark.parametrize(("name", "told"), [("lz.npz", "Corrupt input data"), ("s30.npz", "too large to convert|Maximum allowed")])
def test_an_npz_that_a_mutation_damaged_is_refused_in_one_line(name: str, told: str) -> None:
    assert re.search(rf"is damaged or no \.npz \(.*({told})", refusal(CASES / name))


def test_what_helps_against_pictures_that_are_too_long_depends_on_the_sensor(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", flat(columns=2, rows=480) | {"height": 480, "width": 640})
    with pytest.raises(UserError, match=r"has 2x4\d\d pixels, .*; give another --event-window, or --event-size sensor$"):
        event_files.probe(path, WHOLE)
    assert event_files.probe(path, replace(WHOLE, size="sensor")) == (5, 480, 640)
    save_npz(path, flat(columns=640) | {"height": 4, "width": 640})
    for size in ("own", "sensor"):
        with pytest.raises(UserError, match=r"has 6\d\dx[14] pixels, .*; store the sensor's true size$"):
            event_files.probe(path, replace(WHOLE, size=size))


@pytest.mark.parametrize("line", ["% evt 2.1", "% date 2024-05-01 12:00:00\n% format EVT21;height=720;width=1280"])
def test_evt_2_1_is_refused_in_one_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(f"{line}\n% end\n".encode() + bytes(800))
    told = "its header tells evt2.1, and evt2, evt3, dat1, dat2 are read" if line.endswith("2.1") else "its header tells evt21, and"
    assert refusal(path).startswith(f"{path} cannot be read: {told}")
    assert refusal(path).endswith("convert it to EVT 2 or EVT 3")


def test_a_folder_of_pictures_may_be_named_as_a_recording(tmp_path: Path) -> None:
    folder = tmp_path / "street.raw"
    folder.mkdir()
    assert event_files.is_file_of_events(folder)
    assert "is a folder that holds no PNG" in refusal(folder)
    (folder / "0.png").write_bytes((sample.EVENTS / "0.png").read_bytes())
    assert not event_files.is_file_of_events(folder)
