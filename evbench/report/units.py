"""Seconds, bytes and ratios as text."""

from __future__ import annotations

from collections.abc import Sequence

from evbench.results import EventWindow, Sample
from evbench.verdict.clusters import clusters, one_sequence, unit

NOT_MEASURED = "n/a"


def format_seconds(seconds: float) -> str:
    """Three digits, in s, ms or µs.

    >>> format_seconds(0.0123456), format_seconds(1.5), format_seconds(187.31)
    ('12.3 ms', '1.50 s', '187 s')
    """
    unit, size = unit_of(seconds)
    return f"{_three_digits(seconds / size)} {unit}"


def format_ratio(ratio: float) -> str:
    """A speedup or another ratio: three digits, four close to 1, so that one per cent differs from two.

    >>> format_ratio(1.6612), format_ratio(1.0123), format_ratio(23.456), format_ratio(187.31), format_ratio(0.0123), format_ratio(1e-6)
    ('1.66x', '1.012x', '23.5x', '187x', '0.012x', '0x')
    """
    return "0x" if ratio < 5e-5 else f"{ratio:.{_digits(ratio)}f}x"


def format_claimed(ratio: float, claimed: bool) -> str:
    """A ratio, in brackets if no difference is claimed: it must not be read as one that is.

    >>> format_claimed(1.6612, True), format_claimed(1.0123, False)
    ('1.66x', '(1.012x)')
    """
    return format_ratio(ratio) if claimed else f"({format_ratio(ratio)})"


def format_ratios(low: float, high: float) -> str:
    """An interval, both ends with the same digits; one that says next to nothing is no longer for that.

    >>> format_ratios(1.09, 1.1234), format_ratios(9.9, 10.4), format_ratios(0.0025, 102.249)
    ('1.090x - 1.123x', '9.90x - 10.40x', '0.0025x - 102x')
    """
    if high > 100 * low:
        return f"{format_ratio(low)} - {format_ratio(high)}"
    digits = max(_digits(low), _digits(high))
    return f"{low:.{digits}f}x - {high:.{digits}f}x"


def _digits(ratio: float) -> int:
    """After the decimal point."""
    if 0.9 <= ratio < 1.1:
        return 3
    return next((digits for digits, limit in ((0, 99.95), (1, 9.995), (2, 0.0995), (3, 0.00995)) if ratio >= limit), 4)


def format_signed(seconds: float) -> str:
    """A difference of times.

    >>> format_signed(-0.0123456)
    '-12.3 ms'
    """
    return ("-" if seconds < 0 else "") + format_seconds(abs(seconds))


def format_range(low: float, high: float) -> str:
    """Both ends in the unit of the larger.

    >>> format_range(0.0832, 0.104)
    '83.2 - 104 ms'
    """
    unit, size = unit_of(high)
    return f"{_three_digits(low / size)} - {_three_digits(high / size)} {unit}"


def unit_of(seconds: float) -> tuple[str, float]:
    """In which such a time is written, and its seconds."""
    return ("s", 1.0) if seconds >= 0.9995 else ("ms", 1e-3) if seconds >= 0.9995e-3 else ("µs", 1e-6)


def format_bytes(count: int) -> str:
    """Three digits, in GiB or MiB.

    >>> format_bytes(3 * 2**30), format_bytes(5_000_000)
    ('3.00 GiB', '4.77 MiB')
    """
    unit, size = ("GiB", 2**30) if count >= 0.9995 * 2**30 else ("MiB", 2**20)
    return f"{_three_digits(count / size)} {unit}"


PREFIXES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def format_scaled(value: float, unit: str) -> str:
    """Three digits, with a decimal prefix.

    >>> format_scaled(28.02e12, "FLOP"), format_scaled(4.3e12, "B/s"), format_scaled(999.6e6, "B"), format_scaled(12, "B")
    ('28.0 TFLOP', '4.30 TB/s', '1.00 GB', '12.0 B')
    """
    prefix, size = next((one for one in PREFIXES if value >= 0.9995 * one[1]), ("", 1.0))
    return f"{_three_digits(value / size)} {prefix}{unit}"


def format_number(value: float) -> str:
    """Three digits.

    >>> format_number(3.14159), format_number(31.4159), format_number(3141.59)
    ('3.14', '31.4', '3,142')
    """
    return _three_digits(value)


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{decimals}f}"


def format_window(window: EventWindow) -> str:
    """Which events of a file are used.

    >>> format_window(EventWindow(500, 50_000, 100_000, "own"))
    'events from 0.5 ms on, for 50 ms (limit: less than 100 ms)'
    >>> format_window(EventWindow(0, None, None, "sensor"))
    'all events (no limit)'
    """
    length = "" if window.length is None else f", for {_milliseconds(window.length)}"
    which = "all events" if not window.start and not length else f"events from {_milliseconds(window.start)} on{length}"
    limit = "no limit" if window.longest is None else f"limit: less than {_milliseconds(window.longest)}"
    return f"{which} ({limit})"


def _milliseconds(microseconds: int) -> str:
    return f"{microseconds / 1000:.15g} ms"


def format_demanded(value: float, unit: str) -> str:
    """What a demand is of, but a ratio: `evbench.verdict.demands.Unit`.

    >>> format_demanded(3.5, "seconds"), format_demanded(24 * 2**30, "bytes"), format_demanded(1.0, "count")
    ('3.50 s', '24.0 GiB', '1')
    """
    return format_seconds(value) if unit == "seconds" else format_bytes(round(value)) if unit == "bytes" else f"{value:g}"


def format_samples(samples: Sequence[Sample]) -> str:
    """Several, and how many of them are independent: an interval is over these.

    >>> one, other = (Sample("a.mp4", "", 4, 6, sequence=name) for name in ("a", "b"))
    >>> format_samples([one, one, other]), format_samples([one, one])
    ('2 sequences with 3 samples', '2 samples, all of one sequence: it covers no other')
    >>> format_samples([Sample("a.mp4", "", 4, 6, others=(one,))] * 3)
    '3 batches of 2 samples'
    """
    independent, count = len(set(clusters(samples))), f"{len(samples)} {unit(samples)}"
    if one_sequence(samples):
        return f"{count}, all of one sequence: it covers no other"
    return count if independent == len(samples) else f"{independent} sequences with {count}"
