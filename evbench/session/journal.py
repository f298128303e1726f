"""A session on disk while it runs: what was asked, and each thing that happened, written the moment it did.

`session.json` holds the first, `runs.jsonl` the second: one line for each build, run, stream, block, and warm-up that was given up.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from evbench.encoding import from_json, to_json, write_whole
from evbench.errors import UserError
from evbench.results import FORMAT, Block, Build, Machine, Plan, Run, Side, ThroughputRun, Workload

OPENING, RUNS = "session.json", "runs.jsonl"
MODELS = "comparison of models"
KEPT = {"result.json": "session", "report.md": "session", "ladder.json": "ladder", "models.json": MODELS, "models.md": MODELS}
"""Name of a file -> what a folder that has it holds."""
Begun = TypeVar("Begun")


@dataclass(frozen=True)
class JournalHeader:
    """What a session was asked to do, and where."""

    format: int
    started: str
    machine: Machine
    plan: Plan
    seed: int
    workloads: dict[str, Workload]
    """Side -> what it is asked to do: the same of both, or the same scenes of two models."""
    choices: dict[str, dict[str, str]]
    """Side -> the choices of its variant."""
    remarks: tuple[str, ...]


@dataclass
class JournalState:
    """Everything so far."""

    builds: dict[Side, list[Build]] = field(default_factory=dict)
    runs: dict[Side, list[Run]] = field(default_factory=dict)
    streams: dict[Side, list[ThroughputRun]] = field(default_factory=dict)
    unsteady: dict[Side, list[str]] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def turns(self) -> int:
        happened = (run for by_side in (self.runs, self.streams) for runs in by_side.values() for run in runs)
        return 1 + max((run.turn for run in happened), default=-1)


class Journal:
    """Appends to `runs.jsonl`, and keeps the same in memory."""

    def __init__(self, folder: Path, opening: JournalHeader, happened: JournalState) -> None:
        self.opening, self.happened = opening, happened
        self._path = folder / RUNS
        self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()

    def built(self, side: Side, build: Build) -> None:
        self._write({"role": side, "build": build})
        self.happened.builds.setdefault(side, []).append(build)

    def ran(self, side: Side, run: Run) -> None:
        self._write({"role": side, "run": run})
        self.happened.runs.setdefault(side, []).append(run)

    def streamed(self, side: Side, stream: ThroughputRun) -> None:
        self._write({"role": side, "stream": stream})
        self.happened.streams.setdefault(side, []).append(stream)

    def gave_up(self, side: Side, reasons: list[str]) -> None:
        self._write({"role": side, "unsteady": reasons})
        self.happened.unsteady.setdefault(side, []).extend(reasons)

    def ended(self, block: Block) -> None:
        self._write({"block": block})
        self.happened.blocks.append(block)

    def resumed(self) -> None:
        """What belongs to no block that ended has been left behind."""
        self._write({"resumed": True})

    def _write(self, line: dict[str, Any]) -> None:
        whole = self._file.tell()
        data = (json.dumps(line, ensure_ascii=False, allow_nan=False, default=dataclasses.asdict) + "\n").encode()
        try:
            if self._file.write(data) != len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            os.truncate(self._path, whole)  # a full disk takes half of a line
            raise


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns what the file system refuses into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to {folder} ({error.strerror}); make room or give another --out. What is written stays, --resume goes on from it"
        ) from error


def make_folder(folder: Path, replaced: Sequence[str] = ()) -> None:
    """Make it, if need be.

    Args:
        replaced: names of files that may be there, and are written anew.

    Raises:
        UserError: there is a session in it, a ladder or a comparison of models.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = [held for name, held in KEPT.items() if name not in replaced and (folder / name).exists()]
    if has_runs(folder):
        found.append("session")
    if found:
        raise UserError(f"{folder} holds an earlier {found[0]}; go on with it by --resume, give another --out, or remove it")


def has_runs(folder: Path) -> bool:
    """Whether anything ran. A session that was refused before its first run has left nothing to keep."""
    raw = folder / RUNS
    return raw.exists() and raw.stat().st_size > 0


@contextmanager
def begin(folder: Path, opening: JournalHeader) -> Iterator[Journal]:
    """A new session. Raises UserError if the folder holds one."""
    make_folder(folder)
    write_whole(folder / OPENING, to_json(opening) + "\n")
    journal = Journal(folder, opening, JournalState())
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def resume(folder: Path, opening: JournalHeader) -> Iterator[Journal]:
    """A session that was interrupted. It has to have been asked for the same, on the same machine.

    Raises:
        UserError: there is none, it was asked for something else, or it is damaged.
    """
    before = _read_opening(folder)
    require_same(before, opening)
    journal = Journal(folder, before, read(folder))
    try:
        journal.resumed()
        yield journal
    finally:
        journal.close()


def require_same(before: JournalHeader, now: JournalHeader) -> None:
    """Raises UserError, naming what differs and both values."""
    one, other = (_flat("", json.loads(to_json(opening))) for opening in (before, now))
    ignored = ("started", "seed", "remarks")
    names = [name for name in {**one, **other} if name.split(".")[0] not in ignored and one.get(name) != other.get(name)]
    if names:
        told = "; ".join(f"{name} {one.get(name)!r} and {other.get(name)!r}" for name in names[:4])
        raise UserError(f"--resume: the session was begun with something else: {told}. Give the same options, on the same machine")


def _flat(place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {place: value}
    return {name: leaf for key, inner in value.items() for name, leaf in _flat(f"{place}.{key}" if place else key, inner).items()}


def _read_opening(folder: Path) -> JournalHeader:
    return read_begun(folder / OPENING, JournalHeader, FORMAT, "session")


def read_begun(file: Path, kind: type[Begun], known: int, what: str, upgrade: Callable[[Any], Any] = lambda content: content) -> Begun:
    """What an interrupted session or ladder left of itself.

    Args:
        known: the format that this evbench reads.
        what: is begun, for messages.
        upgrade: the parsed JSON of an older version -> that of this one.

    Raises:
        UserError: it cannot be read, is damaged, or of another version.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--resume: cannot read {file} ({error.strerror}); give the --out of a {what} that was interrupted") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}); begin anew with another --out") from error
    if not isinstance(content, dict) or content.get("format") != known:
        raise UserError(f"{file} is of another version of evbench; begin anew with another --out")
    try:
        return from_json(kind, upgrade(content), what)
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); begin anew with another --out") from error


def read(folder: Path) -> JournalState:
    """What `runs.jsonl` tells. Runs and streams of a block that did not end are left out: the block is run again.

    Raises:
        UserError: a line is damaged. A last one without its end, as a killed process leaves it, is cut off.
    """
    path = folder / RUNS
    happened = JournalState()
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            _add(happened, json.loads(line), f"{RUNS} line {number}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path}, line {number} is damaged ({error}); begin anew with another --out") from error
    _leave_unfinished(happened)
    return happened


def _leave_unfinished(happened: JournalState) -> None:
    """Drop the runs and streams of a block that did not end."""
    ended = {block.number for block in happened.blocks}
    for side, streams in happened.streams.items():
        happened.streams[side] = [stream for stream in streams if stream.block is None or stream.block in ended]
    for side, runs in happened.runs.items():
        happened.runs[side] = [run for run in runs if run.block is None or run.block in ended]


def _add(happened: JournalState, line: dict[str, Any], place: str) -> None:
    if "resumed" in line:
        return _leave_unfinished(happened)
    if "block" in line:
        return happened.blocks.append(from_json(Block, line["block"], place))
    side: Side = "baseline" if line["role"] == "baseline" else "optimized"
    if "build" in line:
        happened.builds.setdefault(side, []).append(from_json(Build, line["build"], place))
    elif "run" in line:
        happened.runs.setdefault(side, []).append(from_json(Run, line["run"], place))
    elif "stream" in line:
        happened.streams.setdefault(side, []).append(from_json(ThroughputRun, line["stream"], place))
    else:
        happened.unsteady.setdefault(side, []).extend(line["unsteady"])
