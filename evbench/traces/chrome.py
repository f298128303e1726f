"""Chrome's trace format, as torch.profiler writes it and Perfetto reads it. Times are in microseconds."""

from __future__ import annotations

import gc
import gzip
import io
import json
import shlex
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from evbench.encoding import write_whole
from evbench.errors import UserError
from evbench.machine.machine import available_memory
from evbench.places import without_places

Event = dict[str, Any]
"""`ph` is its kind (X a slice, i an instant, C a counter, s and f the ends of an arrow, M a name), `ts` and `dur` its time, `pid` and
`tid` its track, `cat` what it was recorded from."""
GPU_WORK = ("kernel", "gpu_memcpy", "gpu_memset")
"""Categories of what runs on a stream, as torch.profiler names them."""
CALLS = ("cuda_runtime", "cuda_driver")
"""Categories of the host's calls."""
MOST_BYTES = 2**30
"""Of a trace, unpacked. Reading it takes some six times as much memory."""
MOST_MEMORY = 7 * 2**30
"""Bytes, for reading a trace."""
OBJECT_BYTES, VALUE_BYTES = 200, 60
"""What Python takes at most for an object or list of JSON, and for a value in it, on average."""
RATIO, ANY_RATIO = 100, 2**24
"""How many times its size a packed trace may unpack to: recordings have 14 to 22. So many bytes are always read."""
FARTHEST = 1e17
"""Microseconds: some 3000 years. NaN is not less either."""
KNOWN_BY = ("correlation", "External id")
"""Arguments by which events know each other."""
MUCH = 200 * 2**20
"""For a viewer in a browser."""
OF_THE_HOST = ("host_name", "traceName")
"""Fields of the header that name the machine, and the file that the profiler wrote first."""
PACKED = b"\x1f\x8b"


class TooLarge(UserError):
    """A trace that no viewer would open."""


@dataclass(frozen=True)
class Trace:
    """A file of events."""

    header: dict[str, Any]
    """All other fields of the file: versions, properties of the GPU, the time that `ts` counts from."""
    events: list[Event]


def read(file: Path) -> Trace:
    """A trace, packed or not.

    Raises:
        UserError: it is empty, cut off, or no trace.
        TooLarge: there is too much of it.
        OSError: it cannot be read.
    """
    return parse(unpacked(stored(file), file), file)


def parse(text: bytes, file: Path) -> Trace:
    """What was read from `file`. Raises UserError if it is no trace, and TooLarge if it would not fit into memory."""
    _require_room(text, file)
    try:
        with _without_collection():
            parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no trace, or is cut off: no JSON ({_first_line(error)}); give one that evbench trace wrote") from None
    header = parsed if isinstance(parsed, dict) else {"traceEvents": parsed}
    events = header.pop("traceEvents", None)
    if not isinstance(events, list):
        raise UserError(f"{file} is JSON, but no trace: it has no list of traceEvents; give one that evbench trace wrote")
    for number, event in enumerate(events):
        if (wrong := _wrong(event)) is not None:
            raise UserError(f"{file} is no trace that can be read: event {number} {wrong}; record it again")
    return Trace(header, events)


@contextmanager
def _without_collection() -> Iterator[None]:
    """While many objects are made that all stay, looking for garbage among them takes longer than making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def write(trace: Trace, file: Path) -> None:
    """Raises OSError."""
    write_whole(file, packed(trace))


def packed(trace: Trace) -> bytes:
    """As a file holds it: without what torch.profiler says of the machine, its name, folders of its user, temporary ones."""
    header = {name: value for name, value in trace.header.items() if name not in OF_THE_HOST}
    text = json.dumps(header | {"traceEvents": trace.events}, allow_nan=False)
    return gzip.compress(without_places(text).encode(), compresslevel=6, mtime=0)


def slices(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event["ph"] == "X"]


def end(event: Event) -> float:
    """Of a slice."""
    return float(event["ts"]) + float(event["dur"])


def nanoseconds(event: Event) -> tuple[int, int]:
    """Start and end, the same for what has no length. Whole numbers: the sum of two rounded times must not seem to stick out."""
    start = round(float(event["ts"]) * 1e3)
    return start, start + round(float(event.get("dur", 0.0)) * 1e3)


def correlation(event: Event) -> Any:
    """The number that a call and what it started have in common. None if it has none."""
    return event.get("args", {}).get("correlation")


def stored(file: Path) -> bytes:
    """As it lies on the disk, packed or not. Raises TooLarge, and OSError if it cannot be read."""
    with file.open("rb") as raw:
        return _at_most(raw, MOST_BYTES, file)


def unpacked(content: bytes, file: Path) -> bytes:
    """The text of what is `stored` in `file`. Raises UserError if it is empty, cut off or no recording, and TooLarge."""
    if not content:
        raise UserError(f"{file} is empty; record it again")
    if not content.startswith(PACKED):
        return content
    most = _most_unpacked(len(content))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as opened:
            text = _at_most(opened, most, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file} is cut off or damaged ({_first_line(error)}); record it again") from None
    if len(text) > most:
        raise UserError(f"{file} unpacks to more than {RATIO} times its size, as no recording does; record it again")
    return text


def _at_most(opened: BinaryIO | gzip.GzipFile, most: int, file: Path) -> bytes:
    """So many bytes and one more. Raises TooLarge."""
    text = opened.read(most + 1)
    if len(text) > MOST_BYTES:
        raise TooLarge(f"{file} has more than {MOST_BYTES // 2**20} MiB unpacked; record fewer tokens, or no modules. {how_to_open(file)}")
    return text


def _most_unpacked(packed: int) -> int:
    """Bytes that a file of `packed` bytes may unpack to."""
    return min(MOST_BYTES, max(RATIO * packed, ANY_RATIO))


def _require_room(text: bytes, file: Path) -> None:
    """Before a text is read as JSON. Raises TooLarge if that would take more memory than there is."""
    objects, values = text.count(b"{") + text.count(b"["), text.count(b",")
    needed, there = len(text) + OBJECT_BYTES * objects + VALUE_BYTES * values, available_memory() // 2
    if needed > min(there, MOST_MEMORY):
        reason = f"{file} would take some {needed / 2**30:.1f} GiB of memory ({objects:,} objects and lists)"
        raise TooLarge(f"{reason}; record fewer tokens, or no modules. {how_to_open(file)}")


def how_to_open(file: Path) -> str:
    """A trace that a browser alone cannot hold."""
    return f"Perfetto shows it from its own process: trace_processor_shell server http {shlex.quote(str(file))}, then open https://ui.perfetto.dev"


def _wrong(event: Any) -> str | None:
    """What keeps it from being an event. None if nothing does."""
    if not isinstance(event, dict) or not isinstance(event.get("ph"), str):
        return "has no kind"
    if not isinstance(event.get("args", {}), dict):
        return "has arguments without names"
    if event["ph"] == "X" and not (isinstance(event.get("name"), str) and _is_time(event.get("dur")) and event["dur"] >= 0):
        return "is a slice without name or duration"
    if ("ts" in event or event["ph"] != "M") and not _is_time(event.get("ts")):
        return "has no time"
    missing = None if event["ph"] == "X" else 0
    if not all(isinstance(event.get(track, missing), int | str) for track in ("pid", "tid")):
        return "has no track"
    if not isinstance(event.get("cat", ""), str):
        return "has no category"
    known_by = event.get("id"), *(event.get("args", {}).get(name) for name in KNOWN_BY)
    if not all(isinstance(number, int | str | None) for number in known_by):
        return "has a list for a number"
    return None


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < FARTHEST


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
