"""When a session starts, and where it is written."""

from __future__ import annotations

import datetime
from pathlib import Path

from evbench.errors import UserError


def now() -> str:
    """UTC, ISO 8601, to the microsecond: it names a session, and two may start in the same second."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def default_folder(started: str, name: str) -> Path:
    """`profiles/<time>-<name>`, in the current folder."""
    return Path("profiles", f"{started.partition('.')[0].replace(':', '-')}-{name}")


def require_folder(resume: bool, folder: Path | str | None) -> None:
    """Raises UserError if a session is to go on, and its folder is not given."""
    if resume and folder is None:
        raise UserError("--resume goes on with the session in --out, which is not given; give its folder")
