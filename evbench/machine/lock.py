"""One measurement at a time on one device.

Workers are given the lock, too: it is free only when the last of them is gone, also where their parent was killed.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evbench.errors import UserError

LOOK_SECONDS = 0.5
_held: list[int] = []
"""Descriptors of the locks that this process holds."""


@contextmanager
def exclusive(device: str, wait: bool, report: Callable[[str], None]) -> Iterator[None]:
    """Hold `device` (`cpu`, or a GPU's UUID) for as long as the block lasts.

    The lock ends with the process, however that ends, and with the processes that were given `held`.

    Raises:
        UserError: another evbench holds it, and this one is not to wait; or the lock cannot be created.
    """
    path = _path(device)
    try:
        file = _open(path)
    except OSError as error:
        raise UserError(f"cannot open {path} ({error.strerror}), which keeps two measurements apart; mend that, or set TMPDIR") from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise UserError(f"{path} is no plain file, and keeps two measurements apart; remove it")
        _acquire(file, device, wait, report)
        with suppress(OSError):  # another user's file can be locked, and not written
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
        _held.append(file)
        try:
            yield
        finally:
            _held.remove(file)
        with suppress(OSError):
            os.ftruncate(file, 0)
    finally:
        os.close(file)


def held() -> tuple[int, ...]:
    """Descriptors of the locks that this process holds, for a process that it starts and that uses the device."""
    return tuple(_held)


def holder(device: str) -> str | None:
    """Process number of the evbench that measures on `device`, `unknown` if it does not tell. None if none does."""
    try:
        file = os.open(_path(device), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _written(file)
    finally:
        os.close(file)
    return None


def _path(device: str) -> Path:
    return Path(tempfile.gettempdir(), f"evbench-{device}.lock")


def _written(file: int) -> str:
    """Process number in a lock's file."""
    return os.pread(file, 20, 0).decode(errors="replace") or "unknown"


def _open(path: Path) -> int:
    """No link to somewhere else is followed."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _acquire(file: int, device: str, wait: bool, report: Callable[[str], None]) -> None:
    reported = False
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            place = "this CPU" if device == "cpu" else "this GPU"
            busy = f"another evbench (process {_written(file)}) is measuring on {place}, and the two would disturb each other"
        if not wait:
            raise UserError(f"{busy}; wait for it to end, or leave out --no-wait")
        if not reported:
            report(f"{busy}; waiting for it to end")
            reported = True
        time.sleep(LOOK_SECONDS)
