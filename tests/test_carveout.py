"""The split of a multiprocessor's memory, as the driver is told."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from evbench.kernels import carveout
from evbench.kernels.carveout import set_carveout


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int, int]]]:
    """What the driver is told: function, attribute, per cent. It refuses more than a hundred."""
    calls: list[tuple[int, int, int]] = []

    def set_attribute(function: ctypes.c_void_p, attribute: int, percent: int) -> int:
        calls.append((function.value or 0, attribute, percent))
        return 1 if percent > 100 else 0

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(cuFuncSetAttribute=set_attribute))
    carveout._set.cache_clear()
    yield calls
    carveout._set.cache_clear()


def test_the_driver_is_told_once_for_each_kernel(told: list[tuple[int, int, int]]) -> None:
    for function in (4096, 8192, 4096):
        set_carveout(SimpleNamespace(function=function), 45)
    assert told == [(4096, 9, 45), (8192, 9, 45)]


def test_it_is_told_nothing_of_a_kernel_that_the_interpreter_ran(told: list[tuple[int, int, int]]) -> None:
    set_carveout(None, 45)
    assert told == []


@pytest.mark.usefixtures("told")
def test_what_the_driver_refuses_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="cuFuncSetAttribute returned 1"):
        set_carveout(SimpleNamespace(function=4096), 101)
