from __future__ import annotations

import errno
from pathlib import Path

import pytest

from evbench import compare, machine
from evbench.errors import UserError
from evbench.pipelines.folder import parameter_count
from evbench.pipelines.presets import PRESETS
from evbench.variants import parse
from tests.checkpoints import save_tiny_video_llava, tiny_video_llava
from tests.examples import make_side


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write to .*No space left on device.*What is written stays"), compare.writing(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_two_results_of_different_work_are_refused_with_both_values() -> None:
    ours, theirs = make_side().workload, make_side(new_tokens=3, dtype="bfloat16", input="elsewhere.mp4").workload
    with pytest.raises(UserError) as caught:
        compare.require_same_workload(ours, theirs)
    assert "new_tokens 2 and 3; dtype 'float32' and 'bfloat16'" in str(caught.value)
    assert "elsewhere" not in str(caught.value), "the same file may lie elsewhere"
    compare.require_same_workload(ours, ours)


def test_a_checkpoint_is_counted_by_its_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_video_llava(tmp_path / "weights")
    expected = PRESETS["video-llava"]["tiny"]["parameters"]
    assert parameter_count(folder) == expected
    asked = tiny_video_llava(preset=None, weights=str(folder))
    monkeypatch.setattr(machine, "_memory_bytes", lambda: 2 * 4 * expected - 1)
    compare.require_runnable({"baseline": parse("baseline")}, asked)
    with pytest.raises(UserError, match="use a smaller"):
        compare.require_runnable({"baseline": parse("baseline"), "optimized": parse("baseline")}, asked)
