"""What the reference made of an input, kept by content: an hour of float64 is spent once."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open

import evbench
from evbench.errors import UserError

LIMIT = 2 * 2**30
"""Bytes. What was not used for longest goes first."""


def folder() -> Path:
    """By the XDG base directory specification."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "evbench" / "references"


def code_identity(*packages: str | None) -> str:
    """Of the pipelines as they are now, and of the versions of what they use."""
    digest = hashlib.sha256(" ".join(map(str, packages)).encode())
    here = Path(evbench.__file__).parent
    for file in [*sorted((here / "pipelines").rglob("*.py")), *(here / "worker" / name for name in ("observe.py", "process.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def name(identity: str, observation: Path) -> str:
    """Of what the reference makes of these arrays."""
    digest = hashlib.sha256(identity.encode())
    with observation.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{digest.hexdigest()}.safetensors"


def find(name: str) -> Path | None:
    """None also of a file that is cut off: it is made again."""
    file = folder() / name
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="np"):
            return file
    except (SafetensorError, OSError):
        return None


def copy(name: str, target: Path) -> Path:
    """Out of the cache, where another session may remove it at any time. Raises OSError."""
    os.utime(folder() / name)
    shutil.copyfile(folder() / name, target)
    return target


def keep(name: str, file: Path) -> None:
    """As long as there is room for it. Raises UserError if the cache cannot be written."""
    place = folder()
    unfinished = place / f"{name}.{os.getpid()}.part"
    try:
        place.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(file, unfinished)
            unfinished.replace(place / name)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {place} ({error.strerror}); mend that, or set XDG_CACHE_HOME to another folder") from error
    stored = sorted(place.glob("*.safetensors"), key=lambda one: one.stat().st_mtime, reverse=True)
    room = LIMIT
    for one in stored:
        room -= one.stat().st_size
        if room < 0:
            one.unlink(missing_ok=True)
