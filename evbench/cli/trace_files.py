"""Which trace is meant by a folder."""

from __future__ import annotations

from pathlib import Path

from evbench.errors import UserError
from evbench.session.merged_traces import ALIGNED, AS_IT_RAN


def traces_in(folder: Path) -> list[Path]:
    """Those that were recorded, without merged ones. Raises UserError if there is none."""
    found = sorted(file for file in folder.glob("trace*.json.gz") if file.name not in (ALIGNED, AS_IT_RAN))
    if not found:
        raise UserError(f"{folder} holds no trace; record one with evbench trace, or compare with --trace-tokens above 0")
    return found


def single_trace(path: Path) -> Path:
    """A trace, or that of a folder. Raises UserError if a folder holds none, or several."""
    if not path.is_dir():
        return path
    found = traces_in(path)
    if len(found) > 1:
        raise UserError(f"{path} holds {len(found)} traces; give one of them: {', '.join(str(file) for file in found)}")
    return found[0]
