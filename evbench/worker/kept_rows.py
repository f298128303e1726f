"""Rows of what timed runs computed, drawn by lot: part of the outputs that are judged.

A run that is judged could be recognised and treated better than a timed one. So each timed run leaves some rows behind: the logits of one
token, and a row of the output of each other stage. The clock does not see it: the logits of one position are copied on the device, outputs
of the other stages are referred to until the run has ended.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evbench.stages import Generation, Mark, Sampler, unmarked

MOST_VALUES = 2**16
"""In a row: it has as many of an output's axes as leave no more."""
RUNS = 64
"""The last of an input, whose rows are kept."""
INPUTS = 512
"""Inputs whose rows are kept: those that were run last."""
Input = tuple[str, int, int]
"""Path, time of the last change in nanoseconds, and size: an input that was written anew is another."""


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


@dataclass(frozen=True)
class RunRows:
    """What one run left."""

    stages: dict[str, Row]
    """Stage -> a row of its output. None of generate, and of throughput runs none at all."""
    logits: LogitsRow | None
    """None if the answer ended before the token that was drawn."""


class KeptRows:
    """The rows of the last timed runs of each input."""

    def __init__(self, draw: random.Random | None = None) -> None:
        self._draw = draw or random.SystemRandom()
        self._runs: dict[Input, deque[RunRows]] = {}

    def of(self, path: Path) -> tuple[RunRows, ...]:
        """Of the timed runs of the input that is there now."""
        return tuple(self._runs.get(_input(path), ()))

    def watch(self, path: Path, new_tokens: int, mark: Mark = unmarked) -> WatchedRun:
        """For a run that is about to start."""
        position = self._draw.randrange(new_tokens)
        return WatchedRun(self, _input(path), position, Sampler(keep=(position,), mark=mark))

    def add(self, run: WatchedRun, answer: Generation) -> None:
        """Keep what a run left that has ended and was timed."""
        stages = {stage: self._row(output.values()) for stage, output in run.outputs.items()}
        logits = None
        if run.position in run.sampler.kept and run.position < len(answer.tokens):
            logits = LogitsRow(answer.tokens[: run.position], run.sampler.kept[run.position][0].cpu())
        runs = self._runs.pop(run.input, None) or deque(maxlen=RUNS)
        runs.append(RunRows(stages, logits))
        self._runs[run.input] = runs
        if len(self._runs) > INPUTS:
            del self._runs[next(iter(self._runs))]

    def _row(self, values: Any) -> Row:
        import torch

        shape, index = tuple(values.shape), list[int]()
        while values.ndim > 1 and (values.numel() if isinstance(values, torch.Tensor) else values.size) > MOST_VALUES:
            index.append(self._draw.randrange(len(values)))
            values = values[index[-1]]
        return Row(shape, tuple(index), torch.as_tensor(values).detach().to("cpu", copy=True))


@dataclass
class WatchedRun:
    """A run that leaves rows."""

    kept: KeptRows
    input: Input
    position: int
    """Of the new token whose logits are kept."""
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
        if len(row.before) < len(followed) and row.before == tuple(followed[: len(row.before)]):
            whole[len(row.before)] = row.values
    return whole


def _input(path: Path) -> Input:
    found = path.stat()
    return str(path), found.st_mtime_ns, found.st_size
