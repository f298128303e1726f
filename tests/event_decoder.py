"""A decoder of EVT 2 and EVT 3 that goes word by word, written from the documentation: to hold the reader against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Decoded:
    events: list[tuple[int, int, int, int]]
    """x, y, t, p of each that has a time and a place."""
    wrong: str | None
    """Why the recording is refused: "clock" or "edge", whichever comes first."""


def decode(version: int, words: Iterable[int], height: int, width: int) -> Decoded:
    every = evt2(words) if version == 2 else evt3(words)
    events: list[tuple[int, int, int, int]] = []
    for event in every:
        if events and event[2] < events[-1][2]:
            return Decoded(events, "clock")
        if event[0] >= width or event[1] >= height:
            return Decoded(events, "edge")
        events.append(event)
    return Decoded(events, None)


def evt2(words: Iterable[int]) -> Iterable[tuple[int, int, int, int]]:
    high: int | None = None
    for word in words:
        kind = word >> 28
        if kind == 8:
            high = later(high, word & 0xFFFFFFF, 1 << 28)
        elif kind in (0, 1) and high is not None:
            yield word >> 11 & 0x7FF, word & 0x7FF, high * 64 + (word >> 22 & 63), kind


def evt3(words: Iterable[int]) -> Iterable[tuple[int, int, int, int]]:
    high: int | None = None
    low, row, base = 0, None, None
    for word in words:
        kind, value = word >> 12, word & 0xFFF
        if kind == 8:
            before, high = high, later(high, value, 1 << 12)
            low = low if high == before else 0
        elif kind == 6:
            low = value
        elif kind == 0:
            row = value & 0x7FF
        elif kind == 3:
            base = [value & 0x7FF, value >> 11]
        elif kind == 2 and high is not None and row is not None:
            yield value & 0x7FF, row, high * 4096 + low, value >> 11
        elif kind in (4, 5) and base is not None:
            length = 12 if kind == 4 else 8
            for place in range(length):
                if value >> place & 1 and high is not None and row is not None:
                    yield base[0] + place, row, high * 4096 + low, base[1]
            base[0] += length


def later(before: int | None, counter: int, whole: int) -> int:
    """A counter that begins again at `whole`: it does if it falls by more than half of that."""
    if before is None:
        return counter
    fall = before % whole - counter
    return before - fall + (whole if fall > whole // 2 else 0)
