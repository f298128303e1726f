"""Runs of pipelines whose samples are no files and whose outputs are no arrays: they leave no rows."""

from __future__ import annotations

from pathlib import Path

from evbench.stages import Generation, Mark, Sampler, unmarked
from evbench.worker.kept_rows import KeptRows, WatchedRun


class Unkept(KeptRows):
    def watch(self, path: Path, new_tokens: int, mark: Mark = unmarked) -> WatchedRun:
        return WatchedRun(self, path, Sampler(mark=mark))

    def add(self, run: WatchedRun, answer: Generation) -> None: ...
