"""Events from cameras, not from our own simulation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from evbench.errors import UserError
from evbench.pipelines.load import event_files
from tests.event_examples import WHOLE, save_hdf5, save_npy, save_npz
from tests.materials import DENSE, MEGAPIXEL, MEGAPIXEL_DAT, ROAD, Material

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Recording:
    material: Material
    events: int
    microseconds: int
    """Between the first and the last."""
    sensor: tuple[int, int] | None
    height: int
    width: int
    """That hold all events."""
    brighter: int
    first: int


RECORDINGS = {
    "road.aedat4": Recording(ROAD, 78_830, 2_359_945, (260, 346), 260, 346, 41_257, 1_589_163_147_368_868),
    "evt2.raw": Recording(DENSE, 521_252, 95_871, None, 480, 640, 185_861, 913_716_224),
    "evt3.raw": Recording(MEGAPIXEL, 1_218_618, 10_767_997, (720, 1280), 720, 1280, 553_295, 11_200_224),
    "gen4.dat": Recording(MEGAPIXEL_DAT, 1_218_618, 10_767_997, (720, 1280), 720, 1280, 553_295, 5_856),
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_read_whole(name: str) -> None:
    expected = RECORDINGS[name]
    stream = event_files.read(expected.material.fetch(), WHOLE)
    assert len(stream.t) == len(stream.x) == len(stream.y) == len(stream.p) == expected.events
    assert (int(stream.t[0]), int(stream.t[-1] - stream.t[0])) == (expected.first, expected.microseconds)
    assert (np.diff(stream.t) >= 0).all()
    assert (int(stream.p.sum()), int(stream.p.max())) == (expected.brighter, 1)
    assert stream.sensor == expected.sensor
    assert (int(stream.y.max()) + 1, int(stream.x.max()) + 1) == (expected.height, expected.width)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_window_is_that_part_of_the_whole(name: str) -> None:
    path = RECORDINGS[name].material.fetch()
    whole, part = event_files.read(path, WHOLE), event_files.read(path, replace(WHOLE, start=30_000, length=50_000, longest=100_000))
    inside = (whole.t >= whole.t[0] + 30_000) & (whole.t < whole.t[0] + 80_000)
    assert inside.sum() > 100
    for column in ("x", "y", "t", "p"):
        assert np.array_equal(getattr(part, column), getattr(whole, column)[inside])
    count, height, width = event_files.probe(path, replace(WHOLE, start=30_000, length=50_000))
    assert (count, height, width) == (5, part.y.max() + 1, part.x.max() + 1)


def test_two_formats_of_one_recording_hold_the_same_events() -> None:
    raw, dat = (event_files.read(material.fetch(), WHOLE) for material in (MEGAPIXEL, MEGAPIXEL_DAT))
    for column in ("x", "y", "p"):
        assert np.array_equal(getattr(raw, column), getattr(dat, column))
    assert len(set((raw.t - dat.t).tolist())) == 1


def test_a_recording_stored_as_arrays_is_the_same(tmp_path: Path) -> None:
    stream = event_files.read(DENSE.fetch(), replace(WHOLE, length=50_000))
    events = {column: getattr(stream, column) for column in ("x", "y", "t", "p")}
    for path in (save_npz(tmp_path / "a.npz", events), save_npy(tmp_path / "a.npy", events), save_hdf5(tmp_path / "a.h5", events)):
        other = event_files.read(path, WHOLE)
        assert all(np.array_equal(getattr(other, column), events[column]) for column in events)


CASES = [(name, case) for name in RECORDINGS for case in ("no header", "scattered", "cut", "other ending")]
CASES.remove(("evt2.raw", "scattered"))  # it tells no size that events could lie outside of, and EVT2 has no other redundancy


@pytest.mark.parametrize(("name", "case"), [*CASES, ("road.aedat4", "panic")])
def test_a_damaged_recording_is_refused_in_one_line(name: str, case: str, tmp_path: Path) -> None:
    content = np.frombuffer(RECORDINGS[name].material.fetch().read_bytes(), np.uint8).copy()
    path = tmp_path / name
    match case:
        case "no header":
            content[:5000] = 0
        case "scattered":
            random = np.random.default_rng(0)
            content[random.integers(1000, len(content), 400)] = random.integers(0, 256, 400)
        case "cut":
            content = content[:100]
        case "panic":
            content[18] = 0x7F  # an offset in the header, at which the reader's Rust code panics
        case _:
            path = tmp_path / ("a.raw" if path.suffix == ".aedat4" else "a.aedat4")
    path.write_bytes(content.tobytes())
    with pytest.raises(UserError) as caught:
        event_files.probe(path, WHOLE)
    assert str(caught.value).startswith(f"{path}")
    assert "\n" not in str(caught.value)
    assert ("its reader gave up (pyo3_runtime.PanicException" in str(caught.value)) == (case == "panic")


def test_the_size_of_the_sensor_is_taken_where_it_is_told() -> None:
    assert event_files.probe(ROAD.fetch(), replace(WHOLE, length=50_000, size="sensor")) == (5, 260, 346)
    with pytest.raises(UserError, match=r"does not hold the sensor's size .*; leave out --event-size sensor"):
        event_files.probe(DENSE.fetch(), replace(WHOLE, size="sensor"))
