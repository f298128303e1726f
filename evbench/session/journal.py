"""A session on disk while it runs: its request, and each event, written as soon as it has happened.

`session.json` holds the request, `runs.jsonl` the events: one line for each build, run, throughput run, block, and warm-up that was
abandoned.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from evbench.encoding import from_json, to_json, write_whole
from evbench.errors import UserError
from evbench.results import FORMAT, Block, Build, Machine, Plan, Run, Side, ThroughputRun, Workload

HEADER, RUNS = "session.json", "runs.jsonl"
MODELS = "comparison of models"
PROTECTED = {"result.json": "session", "report.md": "session", "ladder.json": "ladder", "models.json": MODELS, "models.md": MODELS}
"""Name of a file -> what a folder that has it holds, and no other session may overwrite."""
Stored = TypeVar("Stored")


@dataclass(frozen=True)
class JournalHeader:
    """What a session is to measure, and where."""

    format: int
    started: str
    """UTC, ISO 8601. Names the session."""
    machine: Machine
    plan: Plan
    seed: int
    """Of the order of the blocks."""
    workloads: dict[str, Workload]
    """Side -> its workload: equal for both, or the same scenes for two models."""
    choices: dict[str, dict[str, str]]
    """Side -> the choices of its variant."""
    remarks: tuple[str, ...]
    """What was noticed of the machine before the first run."""


@dataclass
class JournalState:
    """All events so far."""

    builds: dict[Side, list[Build]] = field(default_factory=dict)
    runs: dict[Side, list[Run]] = field(default_factory=dict)
    throughput_runs: dict[Side, list[ThroughputRun]] = field(default_factory=dict)
    unsteady: dict[Side, list[str]] = field(default_factory=dict)
    """Reasons why a warm-up was abandoned before the side was steady."""
    blocks: list[Block] = field(default_factory=list)

    def next_turn(self) -> int:
        """Of all runs together: the number that the next one has."""
        every = (run for by_side in (self.runs, self.throughput_runs) for runs in by_side.values() for run in runs)
        return 1 + max((run.turn for run in every), default=-1)

    def timed_seconds(self) -> float:
        """Spent in the runs of blocks so far."""
        seconds = sum(run.seconds for runs in self.runs.values() for run in runs if run.kind == "timed")
        return seconds + sum(run.seconds for runs in self.throughput_runs.values() for run in runs if run.block is not None)


class Journal:
    """Appends events to `runs.jsonl`, and holds them in memory too."""

    def __init__(self, folder: Path, header: JournalHeader, state: JournalState) -> None:
        self.header, self.state = header, state
        self._path = folder / RUNS
        self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()

    def add_build(self, side: Side, build: Build) -> None:
        self._write({"side": side, "build": build})
        self.state.builds.setdefault(side, []).append(build)

    def add_run(self, side: Side, run: Run) -> None:
        self._write({"side": side, "run": run})
        self.state.runs.setdefault(side, []).append(run)

    def add_throughput_run(self, side: Side, run: ThroughputRun) -> None:
        self._write({"side": side, "throughput_run": run})
        self.state.throughput_runs.setdefault(side, []).append(run)

    def add_unsteady(self, side: Side, reasons: list[str]) -> None:
        self._write({"side": side, "unsteady": reasons})
        self.state.unsteady.setdefault(side, []).extend(reasons)

    def add_block(self, block: Block) -> None:
        self._write({"block": block})
        self.state.blocks.append(block)

    def mark_resumed(self) -> None:
        """Runs of a block that has not ended by now do not count."""
        self._write({"resumed": True})

    def _write(self, line: dict[str, Any]) -> None:
        end = self._file.tell()
        data = (json.dumps(line, ensure_ascii=False, allow_nan=False, default=dataclasses.asdict) + "\n").encode()
        try:
            if self._file.write(data) != len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            os.truncate(self._path, end)  # a full disk takes half of a line
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
        UserError: it holds a session, a ladder or a comparison of models.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = [content for name, content in PROTECTED.items() if name not in replaced and (folder / name).exists()]
    if has_runs(folder):
        found.append("session")
    if found:
        raise UserError(f"{folder} holds an earlier {found[0]}; go on with it by --resume, give another --out, or remove it")


def has_runs(folder: Path) -> bool:
    """Whether anything ran. A session that was refused before its first run has left nothing worth protecting."""
    runs = folder / RUNS
    return runs.exists() and runs.stat().st_size > 0


@contextmanager
def create(folder: Path, header: JournalHeader) -> Iterator[Journal]:
    """The journal of a new session. Raises UserError if the folder holds one."""
    make_folder(folder)
    write_whole(folder / HEADER, to_json(header) + "\n")
    journal = Journal(folder, header, JournalState())
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def resume(folder: Path, header: JournalHeader) -> Iterator[Journal]:
    """The journal of an interrupted session, which had the same request on the same machine.

    Raises:
        UserError: there is none, its request was another, or it is damaged.
    """
    file = folder / HEADER
    before = decode_stored(JournalHeader, read_content(file, "session"), FORMAT, file, "session")
    require_same(before, header)
    journal = Journal(folder, before, read(folder))
    try:
        journal.mark_resumed()
        yield journal
    finally:
        journal.close()


def require_same(before: JournalHeader, now: JournalHeader) -> None:
    """Raises UserError, naming what differs and both values."""
    one, other = (_flat("", json.loads(to_json(header))) for header in (before, now))
    ignored = ("started", "seed", "remarks")
    names = [name for name in {**one, **other} if name.split(".")[0] not in ignored and one.get(name) != other.get(name)]
    if names:
        differences = "; ".join(f"{name} {one.get(name)!r} and {other.get(name)!r}" for name in names[:4])
        raise UserError(f"--resume: the session was begun with something else: {differences}. Give the same options, on the same machine")


def _flat(place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {place: value}
    return {name: leaf for key, inner in value.items() for name, leaf in _flat(f"{place}.{key}" if place else key, inner).items()}


def read_content(file: Path, what: str) -> dict[str, Any]:
    """The JSON object in the file of an interrupted session, ladder or comparison of models.

    Args:
        what: a name of what was interrupted, for messages.

    Raises:
        UserError: it cannot be read, is damaged, or no JSON object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--resume: cannot read {file} ({error.strerror}); give the --out of a {what} that was interrupted") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}); begin anew with another --out") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is of another version of evbench; begin anew with another --out")
    return content


def decode_stored(kind: type[Stored], content: dict[str, Any], known: int, file: Path, what: str) -> Stored:
    """The dataclass in the content of a file.

    Args:
        known: the format that this evbench reads.

    Raises:
        UserError: it is damaged, or of another version.
    """
    if content.get("format") != known:
        raise UserError(f"{file} is of another version of evbench; begin anew with another --out")
    try:
        return from_json(kind, content, what)
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); begin anew with another --out") from error


def with_header(content: dict[str, Any], known: int) -> dict[str, Any]:
    """Content of a ladder or a comparison of models in which the header was called `opening`, as of format `known`."""
    return {"header" if name == "opening" else name: value for name, value in content.items()} | {"format": known}


def read(folder: Path) -> JournalState:
    """The events in `runs.jsonl`. Runs of a block that did not end are dropped: the block is run again.

    Raises:
        UserError: a line is damaged. A last one without its end, as a killed process leaves it, is cut off.
    """
    path = folder / RUNS
    state = JournalState()
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            _add(state, json.loads(line), f"{RUNS} line {number}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path}, line {number} is damaged ({error}); begin anew with another --out") from error
    _drop_unfinished(state)
    return state


def _drop_unfinished(state: JournalState) -> None:
    """Drop the runs of a block that did not end."""
    ended = {block.number for block in state.blocks}
    for side, row in state.throughput_runs.items():
        state.throughput_runs[side] = [run for run in row if run.block is None or run.block in ended]
    for side, runs in state.runs.items():
        state.runs[side] = [run for run in runs if run.block is None or run.block in ended]


def _add(state: JournalState, line: dict[str, Any], place: str) -> None:
    if "resumed" in line:
        return _drop_unfinished(state)
    if "block" in line:
        return state.blocks.append(from_json(Block, line["block"], place))
    side: Side = "baseline" if line["side"] == "baseline" else "optimized"
    if "build" in line:
        state.builds.setdefault(side, []).append(from_json(Build, line["build"], place))
    elif "run" in line:
        state.runs.setdefault(side, []).append(from_json(Run, line["run"], place))
    elif "throughput_run" in line:
        state.throughput_runs.setdefault(side, []).append(from_json(ThroughputRun, line["throughput_run"], place))
    else:
        state.unsteady.setdefault(side, []).extend(line["unsteady"])
