"""The folder that a session is written into: whether it may be, and that no other session does so at the same time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from evbench.errors import UserError, not_made
from evbench.results import RESULT, SESSION

HEADER, RUNS = SESSION, "runs.jsonl"
RANKS = "ranks.json"
"""Of a session whose samples are spread over ranks, each with a session of its own in a folder of this one."""
MODELS = "comparison of models"
PROTECTED = {
    RANKS: "session", RESULT: "session", "report.md": "session", "report.html": "session", "ladder.json": "ladder",
    "sweep.json": "sweep", "scaling.json": "scaling",
    "models.json": MODELS, "models.md": MODELS,
}  # fmt: skip
"""Name of a file -> what a folder that has it holds, and no other session may overwrite."""
LEFT_BEHIND = (HEADER, RUNS, "worker.log", "worker-*.log", "*.part")
"""What a session leaves that was refused before its first run. Nothing of it is worth protecting."""
SHOWN = 3
"""How many of somebody's files are named."""


TRY_AGAIN = "make room or give another --out"
GO_ON = f"{TRY_AGAIN}. What is written stays, --resume goes on from it"
"""What to do where a folder cannot be written."""


@contextmanager
def writing(folder: Path, advice: str = GO_ON) -> Iterator[None]:
    """Turns what the file system refuses into a UserError, which ends with the advice."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and str(error.filename).startswith(f"{folder}{os.sep}") and not folder.exists():
            raise UserError(f"{folder} was removed meanwhile, and what was measured into it is lost; begin anew") from error
        raise UserError(f"cannot write to {folder} ({error.strerror}); {advice}") from error


def has_runs(folder: Path) -> bool:
    """Whether anything ran. A session that was refused before its first run has left nothing worth protecting."""
    runs = folder / RUNS
    return runs.is_file() and runs.stat().st_size > 0


def require_unused(folder: Path, replaced: Sequence[str] = (), *, resumable: bool = True) -> None:
    """Look whether a session may be written into a folder, which need not exist.

    Args:
        replaced: names that may be there: of files that are written anew, and of folders of sessions within this one.
        resumable: whether the command that asks could go on with what it finds.

    Raises:
        UserError: it holds a session, a ladder, a comparison of models or files of somebody else; or it is no folder.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; give a folder by --out")
    found = [content for name, content in PROTECTED.items() if name not in replaced and (folder / name).exists()]
    if has_runs(folder):
        found.append("session")
    if found:
        advice = "go on with it by --resume, give another --out, or remove it" if resumable else "give another --out, or remove it"
        raise UserError(f"{folder} holds an earlier {found[0]}; {advice}")
    others = sorted(path.name for path in folder.iterdir() if not any(fnmatch(path.name, name) for name in (*replaced, *LEFT_BEHIND)))
    if others:
        named = ", ".join(others[:SHOWN]) + (f" and {len(others) - SHOWN} more" if len(others) > SHOWN else "")
        raise UserError(f"{folder} is not empty ({named}), and its files would be mixed with a session; give a new folder by --out")


def make_folder(folder: Path, replaced: Sequence[str] = (), *, resumable: bool = True) -> None:
    """Make it, if need be. Arguments are those of `require_unused`.

    Raises:
        UserError: as `require_unused`, or it cannot be made.
    """
    require_unused(folder, replaced, resumable=resumable)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{not_made(folder, error)}; give another --out") from error


def lock_runs(folder: Path) -> int:
    """Open `runs.jsonl` for appending, and lock it: one process at a time writes into the folder, whatever device it measures on.

    Returns:
        Its file descriptor. The lock ends with it, and with the process.

    Raises:
        UserError: another process holds it.
        OSError: it cannot be opened, or the file system knows no locks.
    """
    file = os.open(folder / RUNS, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise UserError(f"another evbench is writing into {folder}; wait for it to end, or give another --out") from None
    except OSError:
        os.close(file)
        raise
    return file
