"""Files that a command writes where a user says: what they may be."""

from __future__ import annotations

from pathlib import Path

from evbench.errors import UserError

ENDINGS = {"--html": (".html", ".htm"), "--csv": (".csv",), "--markdown": (".md",), "--junit": (".xml",)}
"""Option -> endings of its file."""


def require_file(option: str, file: Path, mark: str) -> None:
    """Look before anything is done whether a file can be written, and is not somebody else's. Raises UserError.

    Args:
        mark: what a file begins with that evbench may replace.
    """
    if file.suffix not in ENDINGS[option]:
        raise UserError(f"{option} {file} does not end in {' or '.join(ENDINGS[option])}; other files are not replaced by a report")
    if not file.parent.is_dir():
        raise UserError(f"{option} {file}: there is no folder {file.parent}; make it, or give another file")
    if file.is_dir():
        raise UserError(f"{option} {file} is a folder; give a file in it")
    if file.exists() and not file.is_file():
        raise UserError(f"{option} {file} is a pipe or device; give a file")
    if file.exists() and not _begins_with(file, mark):
        raise UserError(f"{option} {file} was not written by this option, and is not replaced; remove it, or give another file")


def _begins_with(file: Path, mark: str) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(mark.encode())) == mark.encode()
