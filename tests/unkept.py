"""Runs of pipelines whose samples are no files and whose outputs are no arrays: they leave no rows."""

from __future__ import annotations

from pathlib import Path

from evbench.stages import Generation, Mark, Passes, Sampler, unmarked
from evbench.worker.kept_rows import KeptRows, WatchedRun


class Unkept(KeptRows):
    def watch(self, path: Path, new_tokens: int, mark: Mark = unmarked, passes: Passes | None = None) -> WatchedRun:
        return WatchedRun(self, path, Sampler(mark=mark, passes=passes))

    def add(self, run: WatchedRun, answer: Generation) -> None: ...
