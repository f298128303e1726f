"""Rows of what timed runs computed, drawn by lot: part of the outputs that are judged.

A run that is judged could be recognised and treated better than a timed one. So each timed run leaves some rows behind: the logits of
the first token and of one more, and a row of the output of each other stage. The clock does not see it: these logits are copied on the
device, outputs of the other stages are referred to until the run has ended.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from evbench.pipelines.load import png
from evbench.stages import Generation, Mark, Passes, Sampler, unmarked

MOST_IN_ROW = 32 * 2**20
"""Bytes: a frame, the features of a frame. Where one has more, a part of it."""
MOST_KEPT = 64 * 2**20
"""Bytes of the rows that are kept of the logits, and as many of the other stages: those of the last runs. They are part of the process."""
Input = tuple[str, int, int]
"""Path, time of the last change in nanoseconds, and size: an input that was written anew is another."""
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Row:
    """A part of what a stage returned."""

    shape: tuple[int, ...]
    """Of the whole output."""
    index: tuple[int, ...]
    """Of the row, along the first axes."""
    values: Any
    """A tensor on the host."""


@dataclass(frozen=True)
class LogitsRow:
    """The logits from which one token was chosen."""

    before: tuple[int, ...]
    """The new tokens in front of it."""
    values: Any
    """A tensor [vocabulary] on the host."""


class KeptRows:
    """The rows of the last timed runs."""

    def __init__(self, draw: random.Random | None = None, batch: int = 1) -> None:
        """`batch`: samples of a run."""
        self._draw, self._batch = draw or random.SystemRandom(), batch
        self._rows = _Last[tuple[str, Row]]()
        self._logits = _Last[LogitsRow]()

    def rows(self, path: Path, stage: str) -> list[Row]:
        """Of a stage's outputs for the input that is there now. Of generate, and of throughput runs, there are none."""
        return [row for of, row in self._rows.of(_input(path)) if of == stage]

    def logits(self, path: Path) -> list[LogitsRow]:
        """Of the answers to the input that is there now."""
        return self._logits.of(_input(path))

    def watch(self, path: Path, new_tokens: int, mark: Mark = unmarked, passes: Passes | None = None) -> WatchedRun:
        """For a run that is about to start."""
        # The first token's, of the prefill, can always be compared; those of a step only if the tokens in front of it are equal.
        keep = {0, self._draw.randrange(new_tokens * self._batch)}
        return WatchedRun(self, path, Sampler(keep=keep, mark=mark, passes=passes))

    def add(self, run: WatchedRun, answer: Generation) -> None:
        """Keep what a run left that has ended and was timed."""
        read = _input(run.path)
        for stage, output in run.outputs.items():
            if (values := output.values()) is None:
                continue  # of a pipeline that cannot show it
            row = self._row(values)
            self._rows.add(read, (stage, row), row.values.nbytes)
        for position, logits in run.sampler.kept.items():
            if position < len(answer.tokens):  # a loop may run further than its answer
                on_host = logits[0].cpu()
                self._logits.add(read, LogitsRow(answer.tokens[:position], on_host), on_host.nbytes)

    def _row(self, values: Any) -> Row:
        import torch

        shape, index = tuple(values.shape), list[int]()
        while values.ndim > 1 and (not index or values.nbytes > MOST_IN_ROW):
            index.append(self._draw.randrange(len(values)))
            values = values[index[-1]]
        return Row(shape, tuple(index), torch.as_tensor(values).detach().to("cpu", copy=True))


class _Last(Generic[Kept]):
    """What inputs left last, in MOST_KEPT bytes."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Input, Kept, int]] = deque()
        self._bytes = 0

    def add(self, of: Input, one: Kept, size: int) -> None:
        self._kept.append((of, one, size))
        self._bytes += size
        while self._bytes > MOST_KEPT and len(self._kept) > 1:
            self._bytes -= self._kept.popleft()[2]

    def of(self, asked: Input) -> list[Kept]:
        return [one for of, one, _ in self._kept if of == asked]


@dataclass
class WatchedRun:
    """A run that leaves rows."""

    kept: KeptRows
    path: Path
    sampler: Sampler
    outputs: dict[str, Any] = field(default_factory=dict)
    """Stage -> what it returned. It lives as long as in any run: until the answer is there."""

    def observe(self, stage: str, output: Any) -> None:
        self.outputs[stage] = output

    def ended(self, answer: Generation) -> None:
        """To be called when the clock has stopped."""
        self.kept.add(self, answer)


def with_rows(values: Any, rows: Iterable[Row]) -> Any:
    """What a judged run returned, a tensor on the host, with the rows of timed runs in their places.

    If the output of a timed run had another shape, zeros of that shape: none of its rows has a place.
    """
    import torch

    whole = torch.as_tensor(values).detach().to("cpu", copy=True)
    for row in rows:
        if row.shape != tuple(whole.shape):
            return torch.zeros(row.shape, dtype=whole.dtype)
        whole[row.index] = row.values
    return whole


def with_logits(logits: Any, followed: Sequence[int], rows: Iterable[LogitsRow]) -> Any:
    """Logits [tokens, vocabulary] after each of `followed`, with those that other runs computed behind the same tokens in their places."""
    whole = logits.detach().to("cpu", copy=True)
    for row in rows:
        if len(row.before) < len(whole) and row.before == tuple(followed[: len(row.before)]):
            whole[len(row.before)] = row.values
    return whole


def _input(path: Path) -> Input:
    found = png.stat(path)
    return str(path), found.st_mtime_ns, found.st_size
