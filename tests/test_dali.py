"""Decoding on the GPU's video decoder, against PyAV."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import VideoLlavaVideoProcessor

from evbench import sample, torture
from evbench.colours import BT601, BT709, to_rgb
from evbench.errors import UserError
from evbench.pipelines import dali
from evbench.pipelines.dali import REPAIR, DaliDecoder, obstacle
from evbench.pipelines.pixels import Recipe, exact_values, pixel_values
from evbench.pipelines.video import POLICIES, decode_plain, mixed, probe
from evbench.render import Table, to_rich
from tests.conftest import MakeClip
from tests.examples import CLIP, drawn_sample
from tests.right_frames import COLOUR_ERROR, colour_error, picked, require_right_frames


def test_the_repair_undoes_a_conversion_with_the_wrong_matrix() -> None:
    true = torch.randint(40, 216, (1000, 3), generator=torch.Generator().manual_seed(0)).double()
    coded = true @ torch.linalg.inv(torch.from_numpy(to_rgb(*BT709))).T  # Y, Cb, Cr
    wrong = (coded @ torch.from_numpy(to_rgb(*BT601)).T).round()
    inside = ((wrong >= 0) & (wrong <= 255)).all(dim=1)
    assert inside.float().mean() > 0.9
    mended = mixed(wrong.clamp(0, 255).to(torch.uint8), REPAIR).double()
    assert (wrong - true)[inside].abs().mean() > 5, "the wrong matrix is visible"
    assert (mended - true)[inside].abs().max() <= 2, "rounding twice"


def test_grey_stays_grey() -> None:
    grey = torch.arange(256, dtype=torch.uint8)[:, None].expand(-1, 3)
    assert torch.equal(mixed(grey, REPAIR), grey)


OBSTACLES = {
    "cropped-height.mp4": "is 186 pixels high, and DALI misplaces the colours where half the height is odd",
    "edit-list-start.mp4": "hides 7 frames by an edit list",
    "edit-list-middle.mp4": "hides 11 frames by an edit list",
    "edit-list-end.mp4": "hides 40 frames by an edit list",
    "open-gop-cut.mp4": "begins with 1 frames that refer to frames before its start",
    "odd-444.mp4": "is yuv444p, and DALI reads 4:2:0 only",
    "odd-vp9.webm": "is of 255x191 pixels, and NVDEC writes pictures with even edges only",
    "ten-bit-h264.mp4": "is H.264 in yuv420p10le, and NVDEC decodes H.264 in 8 bit only",
}


@pytest.mark.parametrize("name", [recipe.name for recipe in torture.recipes()])
def test_what_cannot_work_is_known_without_a_gpu(name: str, torture_clips: Path) -> None:
    found = obstacle(probe(torture_clips / name))
    if name not in OBSTACLES:
        assert found is None
        return
    assert OBSTACLES[name] in (found or "")
    with pytest.raises(UserError, match="; use decode=threaded") as caught:
        DaliDecoder()(torture_clips / name, 8, "inclusive")
    assert f"{name} {OBSTACLES[name]}" in str(caught.value)


def test_a_pipeline_that_failed_is_not_run_again_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """DALI's message, shortened; the reason stands below a traceback, and the pipeline is of no use afterwards."""
    message = 'Critical error in pipeline:\nin decode\nencountered:\n\nAssert on "caps" failed: Codec configuration not supported\n'
    built: list[FailingPipeline] = []

    class FailingPipeline:
        def run(self, encoded: object) -> object:
            assert not hasattr(self, "failed"), "run again"
            self.failed = True
            raise RuntimeError(message)

    def build(indices: tuple[int, ...]) -> FailingPipeline:
        built.append(FailingPipeline())
        return built[-1]

    monkeypatch.setattr(dali, "_build", build)
    decode = DaliDecoder()
    for _ in range(2):
        with pytest.raises(UserError, match=r"DALI cannot decode it .*Codec configuration not supported"):
            decode(sample.CLIP, 8, "inclusive")
    assert len(built) == 2


@pytest.mark.gpu
def test_dali_returns_the_right_frames_of_each_torture_clip_or_refuses_it(
    torture_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (long,) = torture.make(tmp_path, [torture.long_recipe()])
    decode, rows = DaliDecoder(), []
    for folder, clip in [*((torture_clips, clip) for clip in torture.read_index(torture_clips)), (tmp_path, long)]:
        for policy in POLICIES:
            expected = picked(clip, policy)
            read, error = "", ""
            try:
                frames = decode(folder / clip.file, len(expected), policy)
                pixels = np.asarray(torch.as_tensor(frames.pixels).cpu())
                read = " ".join(str(torture.read_bar_code(picture)) for picture in pixels)
                require_right_frames(frames, pixels, clip, policy)
                error = f"{colour_error(pixels):.1f}" if clip is not long else "too small"  # its colour fields
                outcome = "WRONG COLOURS" if clip is not long and float(error) > COLOUR_ERROR else "right"
            except UserError as refusal:
                outcome = f"refused: {refusal}"
            except AssertionError:
                outcome = f"WRONG FRAMES, asked for {' '.join(map(str, expected))}"
            rows.append((clip.file, policy, read, error, outcome))
    with capsys.disabled():
        table = Table("DALI on the torture clips", ("Clip", "Policy", "Bar codes", "Colour error", "Outcome"), tuple(rows))
        Console(width=240).print(to_rich(table, numbers=False))
    assert [row for row in rows if row[-1].startswith("WRONG")] == []
    assert any(row[-1] == "right" for row in rows), "refusing everything is no answer"


@pytest.mark.gpu
@pytest.mark.parametrize("policy", POLICIES)
def test_dali_returns_the_frames_of_the_policy(policy: str, make_clip: MakeClip) -> None:
    clip = make_clip(width=256, height=192)
    frames, expected = DaliDecoder()(clip, 8, policy), decode_plain(clip, 8, policy)
    assert (frames.indices, frames.seconds) == (expected.indices, expected.seconds)
    assert isinstance(frames.pixels, torch.Tensor)
    assert frames.pixels.is_cuda
    assert frames.pixels.shape == (8, 192, 256, 3)
    levels = frames.pixels.float().mean(dim=(1, 2, 3)).cpu()
    assert (levels - torch.as_tensor(expected.pixels).float().mean(dim=(1, 2, 3))).abs().max() < 1.5


@pytest.mark.gpu
def test_dali_shows_the_colours_of_bt709() -> None:
    """Against the pictures that were encoded, after the resize: decoders differ in how they upsample chroma."""
    recipe = Recipe.of(VideoLlavaVideoProcessor())
    frames, usual = DaliDecoder()(sample.CLIP, 8, "inclusive"), decode_plain(sample.CLIP, 8, "inclusive")
    source = drawn_sample(frames.seconds)
    made, expected, true = (pixel_values(pixels, recipe, "cuda", torch.float32) for pixels in (frames.pixels, usual.pixels, source))
    level = 1 / 255 / min(recipe.std)
    assert (made - true).abs().mean() < 1.5 * level
    assert (expected - true).abs().mean() < 2 * level, "PyAV rounds down"


@pytest.mark.gpu
def test_a_decoder_is_kept_and_gives_the_same_frames_again(make_clip: MakeClip) -> None:
    decode = DaliDecoder()
    first = decode(sample.CLIP, 8, "inclusive").pixels
    other = decode(make_clip(width=256, height=192), 8, "inclusive").pixels
    again = decode(sample.CLIP, 8, "inclusive").pixels
    assert torch.equal(torch.as_tensor(first), torch.as_tensor(again))
    assert other.shape == (8, 192, 256, 3)


@pytest.mark.gpu
def test_a_broken_clip_is_refused(broken_clip: tuple[Path, str]) -> None:
    path, told = broken_clip
    with pytest.raises(UserError, match=told):
        DaliDecoder()(path, 8, "inclusive")


@pytest.mark.gpu
@pytest.mark.parametrize("variant", ["optimized", "optimized-gpu"])
def test_on_the_gpu_in_float32_the_tokens_are_the_same(variant: str) -> None:
    from evbench.pipelines.video_llava import VideoLlava
    from evbench.results import Workload
    from evbench.stages import run_stages
    from evbench.variants import parse

    asked = Workload("video-llava", "tiny", None, (CLIP,), 8, "inclusive", "What is it?", 24, False, "cuda", "float32", 0)

    def run(name: str) -> Any:
        return run_stages(VideoLlava(parse(name), asked), sample.CLIP, 24)

    # The same pixels on both sides: decoders, and the resize on CPU and GPU, differ by a level here and there, and random
    # weights make other tokens out of that.
    expected, expected_work = run(f"baseline+decode={parse(variant).decode}+preprocess=direct")
    answer, work = run(variant)
    assert answer == expected
    assert replace(work, attention=None) == replace(expected_work, attention=None)


@pytest.mark.gpu
def test_pixels_made_on_the_gpu_are_those_of_the_cpu() -> None:
    recipe = Recipe.of(VideoLlavaVideoProcessor())
    frames = decode_plain(sample.CLIP, 8, "inclusive").pixels
    on_gpu, on_cpu = (pixel_values(frames, recipe, device, torch.float32).cpu() for device in ("cuda", "cpu"))
    quantum, exact = 1 / 255 / min(recipe.std), exact_values(frames, recipe, "cpu", torch.float32)
    difference, own = (on_gpu - on_cpu).abs(), (on_cpu - exact).abs()
    # The CPU resizes rows and columns one after the other and rounds to uint8 in between.
    assert float(difference.max()) <= max(2.001 * quantum, float(own.max()))
    assert difference.mean() < 0.1 * quantum
    assert (on_gpu - exact).abs().mean() <= own.mean()
