"""Runs of pipelines whose samples are no files and whose outputs are no arrays: they leave no rows."""

from __future__ import annotations

from pathlib import Path

from evbench.stages import Drafted, Generation, Mark, Sampler, uncounted, unmarked
from evbench.worker.kept_rows import KeptRows, WatchedRun


class Unkept(KeptRows):
    def watch(self, path: Path, new_tokens: int, mark: Mark = unmarked, drafted: Drafted = uncounted) -> WatchedRun:
        return WatchedRun(self, path, Sampler(mark=mark, drafted=drafted))

    def add(self, run: WatchedRun, answer: Generation) -> None: ...
