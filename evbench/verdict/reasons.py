"""Reasons of many blocks -> each once, with its range of figures."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FIGURE = re.compile(r"\d[\d,]*(?:\.\d+)?%?")


def counted(reasons: Iterable[str]) -> dict[str, int]:
    """Each reason, and how often it was given. Those that differ in figures alone are one: used 30% - 70% of the CPU."""
    alike: dict[str, list[str]] = {}
    for reason in reasons:
        alike.setdefault(_FIGURE.sub("0", reason), []).append(reason)
    return {_merged(group): len(group) for group in alike.values()}


def _merged(reasons: list[str]) -> str:
    """Of the same words."""
    figures = iter(zip(*(_FIGURE.findall(reason) for reason in reasons), strict=True))
    return _FIGURE.sub(lambda _: _range(next(figures)), reasons[0])


def _range(figures: tuple[str, ...]) -> str:
    low, high = (pick(figures, key=lambda figure: float(figure.rstrip("%").replace(",", ""))) for pick in (min, max))
    return low if low == high else f"{low} - {high}"
