"""EVT 2, EVT 3 and DAT, held against a decoder that goes word by word."""

from __future__ import annotations

import re
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from evbench.errors import UserError
from evbench.pipelines.load import event_files, event_words
from evbench.pipelines.load.event_readers import from_words
from tests import event_decoder
from tests.cases import CASES
from tests.event_examples import WHOLE

HEIGHT, WIDTH = 48, 64
SIZES = {2: "<u4", 3: "<u2"}
Words = npt.NDArray[np.int64]


def write(path: Path, version: int, words: Words, header: str | None = None) -> Path:
    text = f"% evt {version}.0\n% format EVT{version};height={HEIGHT};width={WIDTH}\n% end\n" if header is None else header
    path.write_bytes(text.encode() + words.astype(SIZES[version]).tobytes())
    return path


def evt2(t: int, x: int, y: int, p: int) -> int:
    return p << 28 | (t & 63) << 22 | x << 11 | y


def row(y: int) -> int:
    return y


def single(x: int, p: int = 1) -> int:
    return 0x2000 | p << 11 | x


def base(x: int, p: int = 1) -> int:
    return 0x3000 | p << 11 | x


HIGH, LOW, VECTOR12, VECTOR8 = 0x8000, 0x6000, 0x4000, 0x5000


def random_words(version: int, random: np.random.Generator) -> Words:
    """A recording as a camera makes it, that begins anywhere, and is damaged now and then."""
    count = int(random.integers(1, 400))
    if version == 2:
        times = np.cumsum(random.integers(0, 40, count)) + int(random.choice([0, 5000, 2**34 - 3000]))
        words: list[int] = []
        before = int(times[0])
        for time in times.tolist():
            if random.random() < 0.1 or time >> 6 != before >> 6:
                words.append(0x8 << 28 | time >> 6 & 0xFFFFFFF)
            words.append(evt2(time, int(random.integers(WIDTH)), int(random.integers(HEIGHT)), int(random.integers(2))))
            before = time
            if random.random() < 0.05:
                words.append(int(random.choice([0xA, 0xE, 0xF])) << 28 | int(random.integers(1 << 28)))
    else:
        words, time = [], int(random.choice([0, 5000, 2**24 - 3000]))
        for _ in range(count):
            time += int(random.integers(0, 60))
            wide = int(random.integers(0, WIDTH - 20))
            words += {
                0: [HIGH | time >> 12 & 0xFFF, LOW | time & 0xFFF],
                1: [row(int(random.integers(HEIGHT))), single(int(random.integers(WIDTH)), int(random.integers(2)))],
                2: [base(wide, int(random.integers(2))), VECTOR12 | int(random.integers(4096)), VECTOR8 | int(random.integers(256))],
                3: [int(random.choice([0x7, 0xA, 0xE, 0xF])) << 12 | int(random.integers(4096))],
                4: [VECTOR8 | int(random.integers(256)) & 0x0F] if random.random() < 0.1 else [],
            }[int(random.integers(5))]
    found = np.array(words, np.int64)
    if random.random() < 0.3 and len(found):
        found[random.integers(0, len(found), 2)] = random.integers(0, 1 << (32 if version == 2 else 16), 2)
    return found


def fuzz(version: int, rounds: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str | None]:
    random, outcomes, path = np.random.default_rng(version), Counter[str | None](), folder / "a.raw"
    for _ in range(rounds):
        monkeypatch.setattr(event_words, "PIECE", int(random.choice([5, 64, 2**16])))
        words = random_words(version, random)
        expected = event_decoder.decode(version, words.tolist(), HEIGHT, WIDTH)
        outcomes[expected.wrong] += 1
        write(path, version, words)
        try:
            columns = from_words(path, WHOLE)
        except UserError as error:
            # Of a piece in which both happen, the clock is looked at first.
            told = "clock" if "its clock steps back" in str(error) else "edge"
            assert expected.wrong is not None and (told == expected.wrong or told == "clock"), words
            assert "the sensor's edge" in str(error) or told == "clock"
            continue
        assert expected.wrong is None, words
        found = list(zip(*(columns.values[name].tolist() for name in "xytp"), strict=True))
        assert found == expected.events
    return outcomes


@pytest.mark.parametrize("version", SIZES)
def test_random_recordings_are_read_as_another_decoder_reads_them(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = fuzz(version, 200, tmp_path, monkeypatch)
    assert outcomes[None] > 100 and outcomes["clock"] > 2 and outcomes["edge"] > 2, outcomes


@pytest.mark.long
@pytest.mark.parametrize("version", SIZES)
def test_very_many_random_recordings(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz(version, 5_000, tmp_path, monkeypatch)


def test_events_before_the_first_time_are_left_out() -> None:
    path = CASES / "evt2_pre.raw"
    stream = event_files.read(path, WHOLE)
    assert (len(stream.t), int(stream.t[0])) == (800, 6_437_104)
    assert len(event_files.read(path, replace(WHOLE, length=50_000, longest=100_000)).t) == 500
    assert event_files.probe(path, replace(WHOLE, length=50_000))[0] == 5


def test_in_evt3_also_those_before_the_first_row_and_vectors_before_the_first_column(tmp_path: Path) -> None:
    begun = [single(1), row(7), single(2), VECTOR8 | 1, HIGH | 5, single(3), VECTOR8 | 1, base(10), VECTOR8 | 0b101, HIGH | 6]
    events = [single(20 + place) for place in range(5)]
    stream = event_files.read(write(tmp_path / "a.raw", 3, np.array(begun + events)), WHOLE)
    assert stream.x.tolist() == [3, 10, 12, 20, 21, 22, 23, 24]
    assert stream.y.tolist() == [7] * 8
    assert stream.t.tolist() == [5 << 12] * 3 + [6 << 12] * 5
    assert stream.sensor == (HEIGHT, WIDTH)


def test_a_recording_of_which_no_event_has_a_time_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.raw", 2, np.array([evt2(5, 1, 1, 1)] * 50))
    with pytest.raises(UserError, match=r"a\.raw holds no events"):
        event_files.probe(path, WHOLE)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        event_files.probe(path, WHOLE)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)
    return str(caught.value)


def test_a_clock_that_steps_back_is_refused_with_its_place(tmp_path: Path) -> None:
    forward = [0x8 << 28 | 100, *(evt2(place, 1, 1, 1) for place in range(10))]
    path = write(tmp_path / "a.raw", 2, np.array([*forward, 0x8 << 28 | 99, *(evt2(place, 1, 1, 1) for place in range(10))]))
    assert refusal(path) == f"{path}: its clock steps back from 6,409 to 6,336 us at event 10; record it again, or cut it there"
    words = [HIGH | 5, LOW | 900, row(1), *[single(1)] * 9, LOW | 899, single(1)]
    path = write(tmp_path / "b.raw", 3, np.array(words))
    assert refusal(path) == f"{path}: its clock steps back from 21,380 to 21,379 us at event 9; record it again, or cut it there"
    path = tmp_path / "c.dat"
    path.write_bytes(dat([*range(0, 1000, 10), 5]))
    assert refusal(path) == f"{path}: its clock steps back from 990 to 5 us at event 100; record it again, or cut it there"


def dat(times: list[int], kind: int = 12, size: int = 8) -> bytes:
    """Events in one column, the row counting up."""
    events = [time % 2**32 | 3 << 32 | place % HEIGHT << 46 | place % 2 << 60 for place, time in enumerate(times)]
    return f"% Version 2\n% Width {WIDTH}\n% Height {HEIGHT}\n".encode() + bytes([kind, size]) + struct.pack(f"<{len(events)}Q", *events)


def test_a_counter_that_begins_again_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(dat([*range(2**32 - 50, 2**32 + 50)]))
    stream = event_files.read(tmp_path / "a.dat", WHOLE)
    assert stream.t.tolist() == list(range(2**32 - 50, 2**32 + 50))
    assert (stream.x.tolist(), stream.y.tolist()[:3], stream.p.tolist()[:3]) == ([3] * 100, [0, 1, 2], [0, 1, 0])
    words = [row(1), *(word for high in (4094, 4095, 0, 1) for word in (HIGH | high, single(1), single(2)))]
    assert event_files.read(write(tmp_path / "a.raw", 3, np.array(words)), WHOLE).t.tolist()[::2] == [
        high << 12 for high in (4094, 4095, 4096, 4097)
    ]


@pytest.mark.parametrize("kind", ["single", "vector of 12", "vector of 8", "row"])
def test_an_event_over_the_edge_is_refused_however_it_is_coded(kind: str, tmp_path: Path) -> None:
    words = [HIGH, row(1), *[single(place) for place in range(10)]]
    words += {
        "single": [single(WIDTH)],
        "vector of 12": [base(WIDTH - 11), VECTOR12 | 0x800],
        "vector of 8": [base(WIDTH - 7), VECTOR8 | 0x80],
        "row": [row(HEIGHT), single(0)],
    }[kind]
    path = write(tmp_path / "a.raw", 3, np.array(words))
    name, edge = ("y", HEIGHT) if kind == "row" else ("x", WIDTH)
    assert refusal(path) == f"{path} is damaged: an event has {name} {edge}, and {edge} is the sensor's edge; copy the file again"
    words[-1 if kind != "single" else -2 :] = [VECTOR12 & 0xF000, single(0)] if kind != "row" else [row(0), single(0)]
    assert event_files.probe(write(path, 3, np.array(words)), WHOLE)[0] == 5, "a vector may reach over it with no event there"


HEADERS = {
    "% evt 2.0\n": None,
    "% evt 2.0\n% geometry 64x48\n": (48, 64),
    "% format EVT2;height=48;width=64\n% end\n": (48, 64),
    "% Date 2020-09-25 07:48:31\n% evt 2.0\n% Width 64\n% Height 48\n": (48, 64),
    "% evt 2.0\n% geometry 0x48\n": None,
    "% evt 2.0\n% geometry x\n": None,
}


@pytest.mark.parametrize("header", HEADERS)
def test_the_size_of_the_sensor_stands_in_one_of_several_lines(header: str, tmp_path: Path) -> None:
    words = np.array([0x8 << 28 | 1, *(evt2(place, place, place, 1) for place in range(20))])
    stream = event_files.read(write(tmp_path / "a.raw", 2, words, header), WHOLE)
    assert (stream.sensor, len(stream.t)) == (HEADERS[header], 20)


def test_an_offset_of_the_clock_is_added(tmp_path: Path) -> None:
    words = np.array([0x8 << 28, *(evt2(place, place, place, 1) for place in range(20))])
    assert event_files.read(write(tmp_path / "a.raw", 2, words, "% evt 2.0\n% t0 7000\n"), WHOLE).t.tolist() == list(range(7000, 7020))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"%", "its header tells no version"),
        (b"% evt 4.0\n", "its header tells evt4"),
        (b"% evt\n", "its header tells no version"),
        (b"% evt " + b"9" * 100_000, "its header tells no version"),
        (b"%\xff\n", "its header tells no version"),
        (b"% geometry 64x48\n" + bytes(800), "its header tells no version"),
    ],
)
def test_a_header_without_a_known_version_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(content)
    assert told in refusal(tmp_path / "a.raw")


@pytest.mark.parametrize(("kind", "size"), [(14, 8), (12, 16)])
def test_a_dat_of_anything_but_events_is_refused(kind: int, size: int, tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(dat([*range(100)], kind, size))
    assert re.search("it is no DAT of change detections, with 8 bytes for each", refusal(tmp_path / "a.dat"))
