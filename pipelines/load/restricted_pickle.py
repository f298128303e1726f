"""Reading the one kind of pickle that event files come in, without pickle: a dict of numpy arrays, numbers and texts.

`pickle.load` calls whatever a file names. Here a pickle's opcodes are carried out by a small machine that can build plain values and
numpy arrays and nothing else: it imports nothing that a file names, and sets no attribute.

Source: the opcodes are those of CPython's Lib/pickletools.py, the names and states those of numpy:numpy/_core/src/multiarray/methods.c
(array_reduce) and descriptor.c (arraydescr_reduce).
"""

from __future__ import annotations

import math
import pickletools
import re
import reprlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
MOST_OPCODES = 10_000
"""A dict of a dozen arrays needs some 200."""
SHORT = 4096
"""Bytes. What is longer is not copied out of the file's content."""


class Refused(Exception):
    """The pickle is damaged, or holds something else. The message is what, without a place."""


def arrays(pickled: bytes) -> dict[str, Array]:
    """The arrays in a dict, or in a numpy array of no dimensions that holds a dict. Values of other kinds are left out.

    The arrays are views of `pickled`, and cannot be written to.

    Raises:
        Refused: anything else, or what could not be trusted.
    """
    found = _resolved(_carry_out(pickled))
    if isinstance(found, _Boxed):
        found = _resolved(found.item)
    if not isinstance(found, dict):
        raise Refused(f"it holds {_kind(found)}, not a dict of arrays")
    values = {name: _resolved(value) for name, value in found.items()}
    if boxed := [name for name, value in values.items() if isinstance(value, _Boxed)]:
        raise Refused(f"{reprlib.repr(boxed[0])} is an array of objects, not of numbers")
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


@dataclass(frozen=True)
class _Name:
    """What GLOBAL stands for. It is looked up in CALLS when it is called, and nowhere else."""

    module: str
    name: str


@dataclass
class _Type:
    """A numpy dtype: its code, and the dtype once its state is known. None for objects."""

    code: str
    dtype: np.dtype[Any] | None = None


@dataclass(frozen=True)
class _Boxed:
    """An array of no dimensions that holds one object."""

    item: Any


@dataclass
class _Unfilled:
    """An array that is created before its state is read."""

    content: Array | _Boxed | None = None


def _resolved(value: Any) -> Any:
    if isinstance(value, _Unfilled):
        if value.content is None:
            raise Refused("an array has no state")
        return value.content
    return value


def _kind(value: Any) -> str:
    return type(value).__name__.lstrip("_").lower()


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Unfilled:
    """numpy creates an array of nothing first."""
    if kind != _Name("numpy", "ndarray") or shape != (0,):
        raise Refused("an array is made in an unusual way")
    return _Unfilled()


def _type(code: Any, *flags: Any) -> _Type:
    if not (isinstance(code, str) and re.fullmatch(r"O8|b1|[iu][1248]|f[248]|[US][0-9]{1,4}", code)):
        raise Refused(f"an array is of type {reprlib.repr(code)}, not of numbers")
    return _Type(code)


def _scalar(kind: Any, content: Any) -> np.generic:
    value = _array(kind, (), content)[()]
    if not isinstance(value, np.generic):
        raise Refused("a number is made in an unusual way")
    return value


def _frombuffer(content: Any, kind: Any, shape: Any, order: Any) -> Array:
    return _array(kind, shape, content, fortran=order == "F")


CALLS: dict[_Name, Callable[..., Any]] = {
    _Name("numpy", "dtype"): _type,
    **{
        _Name(f"numpy.{core}.{module}", name): call
        for core in ("core", "_core")  # numpy 1, and 2
        for module, name, call in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}
"""All that a file can have called. The names are numpy's, the functions are of this module."""


def _array(kind: Any, shape: Any, content: Any, *, fortran: bool = False) -> Array:
    """The array of `shape` with these bytes. Raises Refused."""
    if not (isinstance(kind, _Type) and kind.dtype is not None and isinstance(content, bytes | bytearray | memoryview)):
        raise Refused("an array is made in an unusual way")
    if not (isinstance(shape, tuple) and len(shape) <= 8 and all(type(edge) is int and 0 <= edge <= sys.maxsize for edge in shape)):
        raise Refused(f"an array has the shape {reprlib.repr(shape)}")
    if math.prod(shape) * kind.dtype.itemsize != len(content):
        raise Refused(f"an array of shape {shape} and type {kind.dtype} has {len(content)} bytes")
    flat = np.frombuffer(content, kind.dtype) if content else np.empty(0, kind.dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _fill(target: Any, state: Any) -> None:
    """BUILD: give a dtype or an array its state. Raises Refused."""
    if isinstance(target, _Type) and target.dtype is None and isinstance(state, tuple) and len(state) == 8:
        _, order, *parts = state
        if order not in ("<", ">", "=", "|") or any(part is not None for part in parts[:3]):
            raise Refused("an array is of a type with parts, not of numbers")
        target.dtype = None if target.code.startswith("O") else np.dtype(target.code).newbyteorder(order)
    elif isinstance(target, _Unfilled) and target.content is None and isinstance(state, tuple) and len(state) == 5:
        _, shape, kind, fortran, content = state
        if isinstance(kind, _Type) and kind.code.startswith("O"):
            if shape != () or not (isinstance(content, list) and len(content) == 1):
                raise Refused("it holds an array of objects, not of numbers")
            target.content = _Boxed(content[0])
        else:
            target.content = _array(kind, shape, content, fortran=fortran is True)
    else:
        raise Refused(f"it sets the state of {_kind(target)}")


class _Content:
    """Bytes that pickletools reads like a file. Long stretches are not copied."""

    def __init__(self, content: bytes) -> None:
        self._content, self._view, self._place = content, memoryview(content), 0

    def tell(self) -> int:
        return self._place

    def read(self, count: int) -> bytes | memoryview:
        start, self._place = self._place, min(self._place + count, len(self._content))
        return (self._content if count <= SHORT else self._view)[start : self._place]

    def readline(self) -> bytes:
        end = self._content.find(b"\n", self._place, self._place + SHORT) + 1
        start, self._place = self._place, end or len(self._content)
        return self._content[start : self._place] if end else b""


_MARK = object()
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
"""Opcodes that push their argument."""
SHORT_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Carries out opcodes. Its methods raise Refused, and IndexError or KeyError where a pickle takes what it has not put."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> Any:
        """One opcode but STOP and those that mean nothing."""
        stack, memo = self._stack, self._memo
        match opcode:
            case _ if opcode in VALUES:
                stack.append(argument)
            case _ if opcode in CONSTANTS:
                stack.append(CONSTANTS[opcode])
            case _ if opcode in SHORT_TUPLES:
                stack.append(tuple(self._take(SHORT_TUPLES[opcode])))
            case "MARK":
                stack.append(_MARK)
            case "TUPLE":
                stack.append(tuple(self._take_to_mark()))
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(self._take_to_mark())
            case "APPEND":
                self._extend(self._take(1))
            case "APPENDS":
                self._extend(self._take_to_mark())
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                items = self._take_to_mark()
                stack.append({})
                self._set(items)
            case "SETITEM":
                self._set(self._take(2))
            case "SETITEMS":
                self._set(self._take_to_mark())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                module, _, name = argument.partition(" ")
                stack.append(_Name(module, name))
            case "STACK_GLOBAL":
                module, name = self._take(2)
                stack.append(_Name(module, name) if isinstance(module, str) and isinstance(name, str) else None)
            case "REDUCE":
                called, arguments = self._take(2)
                stack.append(self._call(called, arguments))
            case "BUILD":
                (state,) = self._take(1)
                _fill(stack[-1], state)
            case _:
                raise Refused(f"it holds more than arrays, numbers and texts (opcode {opcode})")

    def result(self) -> Any:
        (only,) = self._stack
        return only

    def _take(self, count: int) -> list[Any]:
        if count > len(self._stack):
            raise IndexError(count)
        popped = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        if any(one is _MARK for one in popped):
            raise Refused("its stack is out of order")
        return popped

    def _take_to_mark(self) -> list[Any]:
        place = next(place for place in reversed(range(len(self._stack))) if self._stack[place] is _MARK)
        popped = self._stack[place + 1 :]
        del self._stack[place:]
        return popped

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise Refused("its stack is out of order")
        self._stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        names, values = items[::2], items[1::2]
        if not (isinstance(self._stack[-1], dict) and all(isinstance(name, str) for name in names)):
            raise Refused("it holds a dict whose keys are no texts")
        self._stack[-1].update(zip(names, values, strict=True))

    def _call(self, called: Any, arguments: Any) -> Any:
        if not (isinstance(called, _Name) and called in CALLS and isinstance(arguments, tuple)):
            named = f"{called.module}.{called.name}" if isinstance(called, _Name) else _kind(called)
            raise Refused(f"it would call {reprlib.repr(named)[1:-1]}, which has no place among events")
        return CALLS[called](*arguments)


def _carry_out(pickled: bytes) -> Any:
    machine = _Machine()
    opcodes = pickletools.genops(_Content(pickled))  # type: ignore[arg-type]  # all that it calls is there
    try:
        for count, (opcode, argument, _) in enumerate(opcodes):
            if count == MOST_OPCODES:
                raise Refused(f"it has more than {MOST_OPCODES:,} parts: events are stored as arrays")
            if opcode.name == "STOP":
                return machine.result()
            if opcode.name not in ("PROTO", "FRAME"):
                machine.step(opcode.name, argument)
    except (ValueError, LookupError, TypeError, StopIteration, OverflowError) as error:
        raise Refused(f"it is damaged or cut off ({type(error).__name__})") from error
    raise Refused("it is cut off")
