"""Between two stages of a side there may be more than the frames of 8 bits that another side is given: its own stage is judged on these."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evbench.errors import UserError
from evbench.pipelines.build import build
from evbench.results import Work
from evbench.session.outputs import Expected, compare_with
from evbench.variants.named import parse
from evbench.worker.capture_outputs import capture_outputs, capture_reference
from evbench.worker.kept_rows import KeptRows
from tests.test_own_pipeline import asked

OFFSET = 0.4
"""8-bit levels that the decoder leaves to preprocessing to add, which rounding to 8 bits takes away."""


def repairing(monkeypatch: pytest.MonkeyPatch, pipeline: Any, levels: float = OFFSET) -> Any:
    """Its decoder gives colours that are to be repaired, as decode=dali does, and its preprocessing repairs them without rounding."""
    load, preprocess = pipeline.load, pipeline.preprocess
    repair = np.concatenate([np.eye(3), [[levels], [0.0], [0.0]]], axis=1)

    def loaded(path: Path) -> tuple[Any, Work]:
        frames, work = load(path)
        return dataclasses.replace(frames, repair=repair), work

    def preprocessed(frames: Any) -> tuple[Any, Work]:
        inputs, work = preprocess(dataclasses.replace(frames, repair=None))
        values = inputs.values().clone()
        if frames.repair is not None:
            values[:, 0] += float(frames.repair[0, 3]) * pipeline.quantum
        return inputs.holding(values), work

    monkeypatch.setattr(pipeline, "load", loaded)
    monkeypatch.setattr(pipeline, "preprocess", preprocessed)
    return pipeline


def test_frames_that_are_handed_over_in_8_bits_are_no_fault_of_the_other_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload, kept = asked("video-llava", preset="tiny"), KeptRows()
    path = Path(workload.samples[0].path)
    baseline, optimized = (repairing(monkeypatch, build(parse("baseline"), workload)) for _ in range(2))
    ours = capture_outputs(baseline, path, 4, tmp_path / "ours", None, False, kept)
    again = capture_outputs(baseline, path, 4, tmp_path / "again", ours, False, kept)
    capture_reference(build(parse("baseline"), workload, "float64"), path, tmp_path / "exact", ours, "float64")
    expected = Expected(ours, again, tmp_path / "exact")

    theirs = capture_outputs(optimized, path, 4, tmp_path / "theirs", ours, True, kept)
    found = [one for one in compare_with(expected, theirs, "float32") if one.stage == "preprocess" and one.mode == "stage-isolated"]
    assert len(found) > 4 and {one.grade for one in found} == {"pass"}

    shifted = repairing(monkeypatch, build(parse("baseline"), workload), 0.0)
    preprocess = shifted.preprocess

    def wrong(frames: Any) -> tuple[Any, Work]:
        inputs, work = preprocess(frames)
        return inputs.holding(inputs.values() + OFFSET * shifted.quantum), work

    monkeypatch.setattr(shifted, "preprocess", wrong)
    theirs = capture_outputs(shifted, path, 4, tmp_path / "shifted", ours, True, kept)
    found = [one for one in compare_with(expected, theirs, "float32") if one.mode == "stage-isolated" and one.grade == "fail"]
    assert "mean shift (8-bit levels)" in {one.rule for one in found}


def test_a_loop_that_passes_over_a_token_whose_logits_are_compared_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload = asked("video-llava", preset="tiny")
    pipeline = build(parse("baseline"), workload)
    generate = pipeline.generate

    def passing(features: Any, new_tokens: int, sampler: Any) -> tuple[Any, Work]:
        found = generate(features, new_tokens, sampler)
        del sampler.kept[2]  # as if it had not been called for the third
        return found

    monkeypatch.setattr(pipeline, "generate", passing)
    with pytest.raises(
        UserError, match=r"generate called sampler\.passed\(\) for token 2, whose logits are compared; call the sampler with"
    ):
        capture_outputs(pipeline, Path(workload.samples[0].path), 4, tmp_path / "ours", None, False, KeptRows())
