"""Where a head that drafts is looked for, and what is said where there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evbench.errors import UserError
from evbench.pipelines.build import build
from evbench.pipelines.generate.draft_head import FILE
from evbench.variants.named import parse
from tests.checkpoints import least, tiny_video_llava, with_head

CURE = "use --preset small or 7b, or draft by something else"
VARIANT = parse("baseline+generate=static+draft=head-4")


def refusal(**changes: object) -> str:
    with pytest.raises(UserError) as refused:
        build(VARIANT, tiny_video_llava(**changes))
    (line,) = str(refused.value).splitlines()
    return line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy: Path = shutil.copytree(with_head("video-llava"), tmp_path / "copy")
    return copy


def test_weights_without_a_head_are_refused() -> None:
    assert refusal() == "the random weights of --preset tiny have no head that drafts for them; " + CURE
    bare = str(least("video-llava"))
    assert refusal(preset=None, weights=bare) == (f"--weights {bare} has no head that drafts for it, which would be {FILE} in it; {CURE}")


def test_a_head_beside_the_weights_is_taken_in_the_type_that_they_are_computed_in(folder: Path) -> None:
    asked = tiny_video_llava(preset=None, weights=str(folder), dtype="bfloat16")
    head = build(VARIANT, asked).draft_head  # type: ignore[attr-defined]
    stored = load_file(folder / FILE)
    assert {name: weight.shape for name, weight in head.state_dict().items()} == {name: weight.shape for name, weight in stored.items()}
    assert all(torch.equal(weight, stored[name].bfloat16()) for name, weight in head.state_dict().items())


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda stored: stored.pop("from_token.weight"), "the weights lack from_token.weight"),
        (lambda stored: stored.update(more=torch.ones(2)), "the weights hold more, which this network does not have"),
        (lambda stored: stored.update({"token_norm.weight": torch.ones(7)}), "token_norm.weight has shape [7]"),
        (lambda stored: stored["from_hidden.weight"].fill_(torch.nan), "numbers of from_hidden.weight that are NaN or infinite"),
    ],
)
def test_a_head_of_another_model_is_refused(damage: object, told: str, folder: Path) -> None:
    stored = load_file(folder / FILE)
    damage(stored)  # type: ignore[operator]
    save_file(stored, folder / FILE)
    line = refusal(preset=None, weights=str(folder))
    assert told in line and str(folder / FILE.parent) in line


def test_a_head_that_is_cut_off_is_refused(folder: Path) -> None:
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:100])
    assert f"{folder / FILE} is damaged or no safetensors" in refusal(preset=None, weights=str(folder))
