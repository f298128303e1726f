"""EVT 2, EVT 3 and DAT: what Prophesee's cameras record, decoded from its words.

An event holds the low bits of its time only, and in EVT 3 only what differs from the event before: the rest stands in words in front of
it. A recording that begins in the middle lacks them. Its first events, up to the first word of each kind that they need, have no time or
place, and are left out.

Source: the documentation of Metavision SDK, "Data Encoding Formats" (EVT 2.0, EVT 3.0) and "DAT File Format".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[Any]
Events = dict[str, npt.NDArray[Any]]
"""x and y uint16, t int64 in microseconds, p uint8, 1 brighter and 0 darker; each [events]."""
PIECE = 2**16
"""Words that are decoded at a time."""
LONGEST_HEADER = 2**16
"""Bytes."""
VECTOR = 12
"""Columns of the longest vector in EVT 3."""
_BITS = np.arange(1 << VECTOR)[:, None] >> np.arange(VECTOR) & 1
COUNTS = _BITS.sum(1)
"""[4096]: how many bits of a number are set."""
SET_BITS = np.argsort(_BITS == 0, axis=1, kind="stable")
"""[4096, 12]: which ones, the lowest first; behind them those that are not."""
EVENT_TYPES = (0x00, 0x0C)
"""Of change detections in a DAT."""


class Damaged(Exception):
    """The recording is none, or is damaged. The message says what is wrong, without a place."""


@dataclass(frozen=True)
class Header:
    """The lines of text at the top."""

    version: str
    """evt2, evt3, dat1 or dat2."""
    sensor: tuple[int, int] | None
    """Height and width."""
    length: int
    """In bytes."""
    offset: int
    """Microseconds that are to be added to all times."""


class Decoder(Protocol):
    """Keeps what later words need of those before."""

    kind: ClassVar[str]
    """Of a word, as NumPy names it."""

    def events(self, words: Words) -> Events: ...


class Evt2:
    """32 bits: an event with the low 6 bits of its time, or the 28 bits above them."""

    kind: ClassVar[str] = "<u4"

    def __init__(self) -> None:
        self._high: int | None = None

    def events(self, words: Words) -> Events:
        types = words >> 28
        is_high = types == 0x8
        highs = _unwrapped(words[is_high] & 0xFFFFFFF, self._high, 28)
        places = np.flatnonzero(types <= 0x1)
        high, is_known = _latest(is_high, highs, self._high, places)
        self._high = int(highs[-1]) if len(highs) else self._high
        found = words[places[is_known]]
        return {
            "x": (found >> 11 & 0x7FF).astype(np.uint16),
            "y": (found & 0x7FF).astype(np.uint16),
            "t": (high[is_known] << 6) + (found >> 22 & 0x3F),
            "p": (found >> 28).astype(np.uint8),
        }


class Evt3:
    """16 bits: a row, an event's column, which of the next 8 or 12 columns have one, the upper 12 bits of the time, or its lower 12."""

    kind: ClassVar[str] = "<u2"

    def __init__(self) -> None:
        self._high: int | None = None
        self._low: int | None = None
        self._row: int | None = None
        self._base: int | None = None
        """Polarity and column from which the next vector counts, as VECT_BASE_X holds them."""
        self._passed = 0
        """Columns that vectors have gone on since then."""

    def events(self, words: Words) -> Events:
        types, values = words >> 12, words & 0xFFF
        places = np.flatnonzero((types == 0x2) | (types == 0x4) | (types == 0x5))
        times, is_known = self._times(types, values, places)
        rows, has_row = _latest(types == 0x0, values[types == 0x0] & 0x7FF, self._row, places)
        self._row = _last_of(values[types == 0x0] & 0x7FF, self._row)
        columns, polarity, has_column, bits = self._columns(types, values, places)
        kept = np.flatnonzero(is_known & has_row & has_column)
        of, bit = _expanded(kept, bits[kept])
        return {
            "x": (columns[of] + bit).astype(np.uint16),
            "y": rows[of].astype(np.uint16),
            "t": times[of],
            "p": polarity[of].astype(np.uint8),
        }

    def _times(self, types: Words, values: Words, places: Words) -> tuple[Words, Words]:
        """Of the words at `places`, and whether it is known. A higher part that is another one begins at its first microsecond."""
        is_high = types == 0x8
        highs = _unwrapped(values[is_high], self._high, 12)
        is_new = np.zeros(len(types), bool)
        is_new[is_high] = np.diff(highs, prepend=-1 if self._high is None else self._high) != 0
        sets_low = (types == 0x6) | is_new
        lows = np.where(is_new, 0, values)[sets_low]
        high, is_known = _latest(is_high, highs, self._high, places)
        low, _ = _latest(sets_low, lows, self._low, places)
        self._high, self._low = _last_of(highs, self._high), _last_of(lows, self._low)
        return (high << 12) + low, is_known

    def _columns(self, types: Words, values: Words, places: Words) -> tuple[Words, Words, Words, Words]:
        """Of the words at `places`: the first column, polarity, whether these are known, and which columns from the first on."""
        steps = np.where(types == 0x4, 12, np.where(types == 0x5, 8, 0))
        before = self._passed + np.cumsum(steps) - steps  # columns that vectors have gone on in front of each word
        is_base = types == 0x3
        bases, has_base = _latest(is_base, values[is_base], self._base, places)
        begun, _ = _latest(is_base, before[is_base], 0, places)
        self._base = _last_of(values[is_base], self._base)
        self._passed = int(before[-1] + steps[-1] - (before[is_base][-1] if is_base.any() else 0)) if len(types) else self._passed
        is_single = types[places] == 0x2
        first = np.where(is_single, values[places], bases)
        columns = (first & 0x7FF) + np.where(is_single, 0, before[places] - begun)
        bits = np.where(is_single, 1, np.where(types[places] == 0x5, values[places] & 0xFF, values[places]))
        return columns, first >> 11 & 1, has_base | is_single, bits


class Dat:
    """64 bits: the lower 32 of the time, then column, row and polarity, of so many bits each."""

    kind: ClassVar[str] = "<u8"
    bits: ClassVar[tuple[int, int, int]] = (14, 14, 4)

    def __init__(self) -> None:
        self._time: int | None = None

    def events(self, words: Words) -> Events:
        times = _unwrapped(words & 0xFFFFFFFF, self._time, 32)
        self._time = _last_of(times, self._time)
        across, down, rest = self.bits
        return {
            "x": (words >> 32 & (1 << across) - 1).astype(np.uint16),
            "y": (words >> 32 + across & (1 << down) - 1).astype(np.uint16),
            "t": times,
            "p": (words >> 32 + across + down & (1 << rest) - 1 != 0).astype(np.uint8),
        }


class Dat1(Dat):
    """Of the first sensors, with fewer pixels."""

    bits = (9, 8, 4)


DECODERS: dict[str, type[Decoder]] = {"evt2": Evt2, "evt3": Evt3, "dat1": Dat1, "dat2": Dat}


def _unwrapped(values: Words, before: int | None, bits: int) -> Words:
    """[n] counters of so many bits, which begin at 0 again behind the last -> int64 that go on.

    A step back by more than half of them is a new beginning. A smaller one is kept, and an error of the recording.

    Args:
        before: the value before the first, that goes on already. None if there is none.
    """
    whole, counted = 1 << bits, values.astype(np.int64)
    if not len(counted):
        return counted
    start = int(counted[0]) if before is None else before
    steps = np.diff(counted, prepend=start % whole)
    return start + np.cumsum(np.where(steps < -whole // 2, steps + whole, steps))


def _latest(where: Words, values: Words, before: int | None, places: Words) -> tuple[Words, Words]:
    """Of each of `places` the value at the last word before it that is one of `where`, and whether there is one.

    Args:
        where: [words].
        values: of the words that are one.
        before: the value before all words. None if there is none.
    """
    found = np.concatenate([np.array([before or 0], np.int64), values.astype(np.int64)])
    count = np.cumsum(where)[places]
    return found[count], (count > 0) | (before is not None)


def _expanded(places: Words, bits: Words) -> tuple[Words, Words]:
    """Each place as often as it has bits, and which these are, from the lowest: so events stay in the order of the recording."""
    counts = COUNTS[bits]
    of = np.repeat(np.arange(len(bits)), counts)
    number = np.arange(len(of)) - (np.cumsum(counts) - counts)[of]
    return places[of], SET_BITS[bits[of], number]


def _last_of(values: Words, before: int | None) -> int | None:
    return int(values[-1]) if len(values) else before


def header(file: BinaryIO) -> Header:
    """Of a recording that is read from its beginning. Raises Damaged if it tells no version that is known."""
    top, length, fields = file.read(LONGEST_HEADER), 0, dict[str, list[str]]()
    while top[length : length + 1] == b"%":
        end = top.find(b"\n", length) + 1
        line = top[length:end]
        if not line.isascii() or not line:  # the first event may begin with this letter, too
            break
        length = end
        name, *values = re.split(r"[\s;=]+", line[1:].decode("ascii").strip())
        fields.setdefault(name.lower(), []).extend(values)
        if name == "end":
            break
    version = _version(fields)
    if version not in DECODERS:
        raise Damaged(f"its header tells {version or 'no version'}, and {', '.join(DECODERS)} are read")
    offset = fields.get("t0", ["0"])[0]
    return Header(version, _sensor(fields), length, int(offset) if re.fullmatch("[0-9]{1,15}", offset) else 0)


def _version(fields: Mapping[str, Sequence[str]]) -> str:
    if fields.get("format"):
        return fields["format"][0].lower().removesuffix(".0")
    for name, kind in (("evt", "evt"), ("version", "dat")):
        if fields.get(name):
            return f"{kind}{fields[name][0].removesuffix('.0')}"
    return ""


def _sensor(fields: Mapping[str, Sequence[str]]) -> tuple[int, int] | None:
    """Height and width, from whichever line has both."""
    told = {name: fields[name][0] for name in ("width", "height") if fields.get(name)}
    if fields.get("geometry"):
        told["width"], _, told["height"] = fields["geometry"][0].partition("x")
    edges = fields.get("format", [])[1:]
    told |= {name: value for name, value in pairwise(edges) if name in ("width", "height")}
    height, width = told.get("height", ""), told.get("width", "")
    is_told = all(re.fullmatch("[0-9]{1,5}", edge) and int(edge) for edge in (height, width))
    return (int(height), int(width)) if is_told else None


def pieces(path: Path) -> Iterator[tuple[Header, Events]]:
    """The header, and the events in the order of the recording, piece by piece. Of a file that was cut off inside a word, that is left out.

    Raises:
        Damaged: it is no recording of a known version.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        found = header(file)
        file.seek(found.length)
        if found.version.startswith("dat"):
            _require_events(file.read(2))
        decoder = DECODERS[found.version]()
        size = np.dtype(decoder.kind).itemsize
        while len(content := file.read(PIECE * size)) >= size:
            events = decoder.events(np.frombuffer(content, decoder.kind, len(content) // size))
            events["t"] += found.offset
            yield found, events


def _require_events(content: bytes) -> None:
    """What a DAT holds, and bytes of each. Raises Damaged unless they are events of 8."""
    if len(content) < 2 or content[0] not in EVENT_TYPES or content[1] != 8:
        raise Damaged("it is no DAT of change detections, with 8 bytes for each")
