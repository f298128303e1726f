"""Rows that timed runs leave: drawn by lot, put into what is judged, and of no cost that a clock sees."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evbench.stages import Generation, Sampler
from evbench.worker import kept_rows
from evbench.worker.kept_rows import KeptRows, LogitsRow, Row, with_logits, with_rows


@dataclass
class Output:
    array: Any

    def values(self) -> Any:
        return self.array


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(b"frames")
    return tmp_path / "clip.mp4"


def run(kept: KeptRows, path: Path, outputs: dict[str, Any], tokens: tuple[int, ...] = (7, 8, 9), new_tokens: int = 3) -> None:
    """A timed run whose logits at each position are that position in all places."""
    watched = kept.watch(path, new_tokens)
    for stage, array in outputs.items():
        watched.observe(stage, Output(array))
    for position in range(len(tokens)):
        assert watched.sampler(torch.full((1, 1, 4), float(position))) is None, "a timed run decodes greedily"
    watched.ended(Generation(tokens, ""))


def test_rows_and_logits_of_each_place_are_drawn_sooner_or_later(clip: Path) -> None:
    kept = KeptRows(random.Random(0))
    vision = np.arange(4 * 2 * 3, dtype=np.float32).reshape(4, 2, 3)
    for _ in range(30):
        run(kept, clip, {"vision": vision})
    assert {row.index for row in kept.rows(clip, "vision")} == {(0,), (1,), (2,), (3,)}
    assert all(torch.equal(row.values, torch.as_tensor(vision[row.index])) for row in kept.rows(clip, "vision"))
    assert kept.rows(clip, "load") == []
    assert {row.before for row in kept.logits(clip)} == {(), (7,), (7, 8)}
    assert all(torch.equal(row.values, torch.full((4,), float(len(row.before)))) for row in kept.logits(clip))


def test_an_answer_that_ended_before_the_drawn_token_leaves_no_logits(clip: Path) -> None:
    kept = KeptRows(random.Random(0))
    for _ in range(30):
        run(kept, clip, {}, tokens=(7,), new_tokens=3)
    assert len(kept.logits(clip)) == 30
    assert {row.before for row in kept.logits(clip)} == {()}


def test_an_input_that_is_written_anew_is_another(clip: Path) -> None:
    kept = KeptRows()
    run(kept, clip, {"load": np.zeros((2, 4))})
    assert len(kept.rows(clip, "load")) == 1
    assert () in [row.before for row in kept.logits(clip)]
    os.utime(clip, ns=(0, 0))
    assert kept.rows(clip, "load") == []
    assert kept.logits(clip) == []


def test_of_what_is_large_parts_are_kept_and_of_many_runs_the_last(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rows, "MOST_IN_ROW", 128)
    monkeypatch.setattr(kept_rows, "MOST_KEPT", 200)
    kept = KeptRows()
    for number in range(9):
        run(kept, clip, {"load": np.full((2, 5, 4, 3), number, np.uint8)})
    rows = kept.rows(clip, "load")
    assert [int(row.values.max()) for row in rows] == [6, 7, 8], "60 bytes each"
    assert {len(row.index) for row in rows} == {1}
    run(kept, clip, {"load": np.zeros((2, 5, 40, 3), np.uint8)})
    assert kept.rows(clip, "load")[-1].values.shape == (40, 3)


def test_a_row_of_a_timed_run_stands_in_its_place() -> None:
    whole = with_rows(np.zeros((3, 2)), [Row((3, 2), (1,), torch.ones(2, dtype=torch.float64))])
    assert whole.tolist() == [[0, 0], [1, 1], [0, 0]]
    other = with_rows(np.ones((3, 2)), [Row((4, 2), (1,), torch.ones(2))])
    assert (other.shape, float(other.sum())) == ((4, 2), 0), "of another shape, which a check of shapes tells"


def test_logits_stand_behind_the_same_tokens_only() -> None:
    ones = torch.ones(4)
    rows = [LogitsRow((), ones), LogitsRow((7,), 2 * ones), LogitsRow((8,), 9 * ones), LogitsRow((7, 8, 9), 9 * ones)]
    judged = torch.zeros(3, 4)
    assert with_logits(judged, (7, 8, 9), rows).tolist() == [[1] * 4, [2] * 4, [0] * 4]
    assert float(judged.sum()) == 0, "what is judged is not changed"


def test_a_sampler_forces_tokens_keeps_logits_and_marks_each_token() -> None:
    marks: list[int] = []
    sampler = Sampler([5, 6], keep=(1,), mark=lambda: marks.append(0))
    logits = torch.zeros(1, 1, 4)
    assert [sampler(logits + step) for step in range(3)] == [5, 6, None], "behind its tokens it is greedy"
    assert len(marks) == 3
    assert list(sampler.kept) == [1]
    kept = sampler.kept[1]
    logits += 9
    assert kept.tolist() == [[1, 1, 1, 1]], "a copy: the next step may write over the logits"
    assert [Sampler()(logits) for _ in range(2)] == [None, None]
