"""A session on disk while it runs: its request, and each event, written as soon as it has happened.

`session.json` holds the request, `runs.jsonl` the events: one line for each build, run, throughput run, block, and warm-up that was
abandoned.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from evbench.encoding import from_json, to_json, write_whole
from evbench.errors import UserError
from evbench.results import FORMAT, LETTERS, Block, Build, Run, Side, ThroughputRun
from evbench.session.journal_replay import replay
from evbench.session.journal_state import JournalHeader, JournalState
from evbench.session.session_folder import HEADER, RANKS, RUNS, lock_runs, make_folder, require_unused

Stored = TypeVar("Stored")


class Journal:
    """Appends events to `runs.jsonl`, and holds them in memory too."""

    def __init__(self, folder: Path, header: JournalHeader, state: JournalState, file: int) -> None:
        """`file` is the descriptor of `lock_runs`, which this closes."""
        self.header, self.state = header, state
        self._path = folder / RUNS
        self._file = os.fdopen(file, "ab", buffering=0)
        opened = os.fstat(file)
        self._identity = opened.st_dev, opened.st_ino

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
        """Runs of what has not ended by now do not count."""
        self._write({"resumed": True})

    def require_kept(self) -> int:
        """Size of the file in bytes. Raises UserError if it is not the one that was opened any more."""
        try:
            found = self._path.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                return found.st_size
        except FileNotFoundError:
            pass
        runs = sum(len(rows) for by_side in (self.state.runs, self.state.throughput_runs) for rows in by_side.values())
        lost = f"its {runs} runs and {len(self.state.blocks)} blocks are lost"
        raise UserError(f"{self._path} was removed or replaced while this session wrote it: {lost}; begin anew, with another --out")

    def _write(self, line: dict[str, Any]) -> None:
        end = self.require_kept()
        line = {"session": self.header.started, **line}
        data = (json.dumps(line, ensure_ascii=False, allow_nan=False, default=dataclasses.asdict) + "\n").encode()
        try:
            if self._file.write(data) != len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            os.truncate(self._path, end)  # a full disk takes half of a line
            raise


@contextmanager
def create(folder: Path, header: JournalHeader) -> Iterator[Journal]:
    """The journal of a new session. Raises UserError if the folder holds one, or something else."""
    make_folder(folder)
    file = lock_runs(folder)
    try:
        require_unused(folder)  # again, now that nobody else writes
        write_whole(folder / HEADER, to_json(header) + "\n")
    except BaseException:
        os.close(file)
        raise
    journal = Journal(folder, header, JournalState(), file)
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def resume(folder: Path, header: JournalHeader) -> Iterator[Journal]:
    """The journal of an interrupted session, which had the same request on the same machine.

    Raises:
        UserError: there is none, its request was another, it is damaged, or another process goes on with it.
    """
    before = read_header(folder)
    require_same(before, header)
    file = lock_runs(folder)
    try:
        path = folder / RUNS
        data = path.read_bytes()
        state = replay(before, data, path)
        os.truncate(path, data.rfind(b"\n") + 1)  # a killed process leaves half of a line
    except BaseException:
        os.close(file)
        raise
    journal = Journal(folder, before, state, file)
    try:
        journal.mark_resumed()
        yield journal
    finally:
        journal.close()


def require_same(before: JournalHeader, now: JournalHeader) -> None:
    """Raises UserError, naming what differs and both values."""
    one, other = (flat(json.loads(to_json(header))) for header in (before, now))
    ignored = ("started", "seed", "remarks", "plan.deadline_seconds")
    changed = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    names = [name for name in changed if name not in ignored and name.split(".")[0] not in ignored]
    # Of another sample its path says all: its hash and its caption are other ones for that reason.
    moved = tuple(name.removesuffix("path") for name in names if ".samples." in name and name.endswith(".path"))
    names = [name for name in names if name.endswith(".path") or not name.startswith(moved)]
    if names:
        differences = "; ".join(f"{name} {one.get(name)!r} and {other.get(name)!r}" for name in names[:4])
        advice = "Give the same options, on the same machine"
        if names == ["machine.source"]:
            advice = "evbench itself has changed since: go on with that one, or begin anew with another --out"
        raise UserError(f"--resume: the session was begun with something else: {differences}. {advice}")


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """What was read from JSON as one mapping: the names on the way to each value, with dots between -> the value."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):  # such as the samples of a workload
        value = {str(number): one for number, one in enumerate(value)}
    if not isinstance(value, dict):
        return {place: value}
    return {name: leaf for key, inner in value.items() for name, leaf in flat(inner, f"{place}.{key}" if place else key).items()}


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
    if (found := content.get("format")) != known:
        version = f"{file} has format {repr(found)[:20]}, and this evbench goes on with format {known}"
        raise UserError(f"{version}: it is of another version of evbench; begin anew with another --out")
    try:
        return from_json(kind, content, what)
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); begin anew with another --out") from error


def with_header(content: dict[str, Any], known: int) -> dict[str, Any]:
    """Content of a ladder or a comparison of models in which the header was called `opening`, as of format `known`."""
    return {"header" if name == "opening" else name: value for name, value in content.items()} | {"format": known}


def read(folder: Path) -> JournalState:
    """The events of a session in a folder, which stays as it is. Runs of what did not end are left out.

    Raises:
        UserError: there is no session, or its journal is damaged.
    """
    path = folder / RUNS
    return replay(read_header(folder), path.read_bytes() if path.exists() else b"", path)


def read_header(folder: Path) -> JournalHeader:
    """The request of a session in a folder. Raises UserError if there is none, or it cannot be read."""
    file = folder / HEADER
    if not file.exists() and (folder / RANKS).exists():
        raise UserError(f"--resume: {folder} was begun with several ranks; give the same command as then, with its --gpus")
    header = decode_stored(JournalHeader, read_content(file, "session"), FORMAT, file, "session")
    if not header.workloads or header.workloads.keys() - LETTERS.keys():
        raise UserError(f"{file} is damaged (sides {', '.join(header.workloads) or 'none'}); begin anew with another --out")
    return header
