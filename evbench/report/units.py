"""Seconds and bytes as a person reads them."""

from __future__ import annotations

from evbench.results import EventWindow

NOT_MEASURED = "n/a"


def format_seconds(seconds: float) -> str:
    """Three digits, in s, ms or µs.

    >>> format_seconds(0.0123456), format_seconds(1.5), format_seconds(187.31)
    ('12.3 ms', '1.50 s', '187 s')
    """
    unit, size = _unit(seconds)
    return f"{_three_digits(seconds / size)} {unit}"


def format_ratio(ratio: float) -> str:
    """Four digits, so that one per cent can be told from two.

    >>> format_ratio(1.6789), format_ratio(23.456), format_ratio(187.31)
    ('1.679', '23.46', '187.3')
    """
    return f"{ratio:.{3 if ratio < 9.9995 else 2 if ratio < 99.995 else 1}f}"


def format_ratios(low: float, high: float) -> str:
    return f"{format_ratio(low)} - {format_ratio(high)}"


def format_signed(seconds: float) -> str:
    """A difference of times.

    >>> format_signed(-0.0123456)
    '-12.3 ms'
    """
    return ("-" if seconds < 0 else "") + format_seconds(abs(seconds))


def format_range(least: float, most: float) -> str:
    """Both ends in the unit of the larger.

    >>> format_range(0.0832, 0.104)
    '83.2 - 104 ms'
    """
    unit, size = _unit(most)
    return f"{_three_digits(least / size)} - {_three_digits(most / size)} {unit}"


def _unit(seconds: float) -> tuple[str, float]:
    return ("s", 1.0) if seconds >= 0.9995 else ("ms", 1e-3) if seconds >= 0.9995e-3 else ("µs", 1e-6)


def format_bytes(count: int) -> str:
    """Three digits, in GiB or MiB.

    >>> format_bytes(3 * 2**30), format_bytes(5_000_000)
    ('3.00 GiB', '4.77 MiB')
    """
    unit, size = ("GiB", 2**30) if count >= 0.9995 * 2**30 else ("MiB", 2**20)
    return f"{_three_digits(count / size)} {unit}"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def told(window: EventWindow) -> str:
    """For a report.

    >>> told(EventWindow(500, 50_000, 100_000, "own"))
    'events from 0.5 ms on, for 50 ms (less than 100 ms are taken)'
    >>> told(EventWindow(0, None, None, "sensor"))
    'all events (no limit)'
    """
    length = "" if window.length is None else f", for {_milliseconds(window.length)}"
    which = "all events" if not window.start and not length else f"events from {_milliseconds(window.start)} on{length}"
    limit = "no limit" if window.longest is None else f"less than {_milliseconds(window.longest)} are taken"
    return f"{which} ({limit})"


def _milliseconds(microseconds: int) -> str:
    return f"{microseconds / 1000:.15g} ms"
