"""A decoder that hands over the frames of the plain one."""

from __future__ import annotations

from pathlib import Path

from evbench.pipelines.load.video import Frames, decode_plain


def decode_sequential(path: Path, count: int, policy: str) -> Frames:
    return decode_plain(path, count, policy)
