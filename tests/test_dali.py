"""Decoding on the GPU's video decoder, against PyAV."""

from __future__ import annotations

import gc
import io
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pynvml
import pytest
import torch
from rich.console import Console
from transformers import VideoLlavaVideoProcessor

from evbench.colours import BT601, BT709, to_rgb
from evbench.errors import UserError
from evbench.inputs import sample, torture
from evbench.machine import gpu
from evbench.pipelines.build import build
from evbench.pipelines.load import dali
from evbench.pipelines.load.dali import DEPARTS, DaliDecoder, copied, obstacle, repair
from evbench.pipelines.load.rewritten import Coded, coded_picture
from evbench.pipelines.load.rounding import rounding
from evbench.pipelines.load.video import POLICIES, decode_plain, mixed, opened, probe
from evbench.pipelines.preprocess.pixels import Recipe, exact_values, pixel_values
from evbench.report.render import Table, to_rich
from evbench.variants.named import parse
from evbench.worker.memory import CudaMemory
from tests.checkpoints import tiny_video_llava
from tests.conftest import MakeClip
from tests.examples import CLIP, drawn_sample
from tests.right_frames import COLOUR_ERROR, colour_error, picked, require_right_frames

LIMITED = Coded(192, 256, "yuv420p", full=False)


def test_the_repair_undoes_a_conversion_with_the_wrong_matrix() -> None:
    true = torch.randint(40, 216, (1000, 3), generator=torch.Generator().manual_seed(0)).double()
    coded = true @ torch.linalg.inv(torch.from_numpy(to_rgb(*BT709))).T  # Y, Cb, Cr
    wrong = (coded @ torch.from_numpy(to_rgb(*BT601)).T + torch.tensor(DEPARTS[False])).round()
    inside = ((wrong >= 0) & (wrong <= 255)).all(dim=1)
    assert inside.float().mean() > 0.9
    usual = true + torch.from_numpy(rounding("yuv420p", BT709, 1, full=False))
    mended = mixed(wrong.clamp(0, 255).to(torch.uint8), repair(1, LIMITED)).double()
    assert (wrong - usual)[inside].abs().mean() > 5, "the wrong matrix is visible"
    assert (mended - usual)[inside].abs().max() <= 2, "rounding twice"


def test_the_right_matrix_is_left_as_it_is() -> None:
    for colorspace in (2, 5, 6):
        assert np.allclose(repair(colorspace, LIMITED)[:, :3], np.eye(3))
    assert np.allclose(repair(1, LIMITED)[:, :3].sum(axis=1), 1), "grey stays grey"
    assert not np.allclose(repair(6, replace(LIMITED, full=True)), repair(6, LIMITED))


def test_half_a_height_that_is_odd_is_right_where_cropping_can_be_left_out() -> None:
    clip = replace(probe(sample.CLIP), height=186)
    assert obstacle(clip, LIMITED) is None
    assert "half the height is odd" in (obstacle(replace(clip, codec="vp9"), LIMITED) or "")


OBSTACLES = {
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
    with opened(torture_clips / name) as container:
        found = obstacle(probe(torture_clips / name), coded_picture(torture_clips / name, container.streams.video[0]))
    if name not in OBSTACLES:
        assert found is None
        return
    assert OBSTACLES[name] in (found or "")
    with pytest.raises(UserError, match="; use decode=threaded") as caught:
        DaliDecoder()(torture_clips / name, 8, "inclusive")
    assert f"{name} {OBSTACLES[name]}" in str(caught.value)


class HostCopies:
    """Without a GPU there are no streams to wait for."""

    def wait(self) -> None: ...

    def take(self, output: Any, sizes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
        return copied(output, sizes)


class FakePipelines:
    """In place of DALI: FFmpeg decodes what a pipeline is given. As with DALI, the next run writes where the one before did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.built: list[int] = []
        """The largest batch of each."""
        self.runs: list[tuple[int, list[int]]] = []
        """The largest batch; of each clip, how many frames it was given with."""
        self.returned: list[torch.Tensor] = []
        self.refuse: Callable[[list[bytes], int], bool] = lambda encoded, batch: False
        """Whether a run of such clips fails."""
        monkeypatch.setattr(dali, "_build", self.build)
        monkeypatch.setattr(dali, "Copies", HostCopies)

    def build(self, batch: int) -> Any:
        self.built.append(batch)
        return FakePipeline(self, batch)


class FakePipeline:
    def __init__(self, owner: FakePipelines, batch: int) -> None:
        self.owner, self.batch, self.failed = owner, batch, False

    def run(self, encoded: Sequence[Any], frames: Sequence[Any]) -> tuple[list[torch.Tensor]]:
        assert 0 < len(encoded) == len(frames) <= self.batch
        assert not self.failed, "run again"
        files = [bytes(data) for data in encoded]
        if self.owner.refuse(files, self.batch):
            self.failed = True
            raise RuntimeError("Error in decode\nencountered:\n\nCodec configuration not supported\n")
        every = [pictures(file) for file in files]
        self.owner.runs.append((self.batch, [len(shown) for shown in every]))
        for before in self.owner.returned:
            before.zero_()
        self.owner.returned = [torch.stack([shown[place] for place in places]) for shown, places in zip(every, frames, strict=True)]
        return (self.owner.returned,)


def pictures(file: bytes) -> list[torch.Tensor]:
    """Each frame of a video: [height, width, 3] uint8."""
    with av.open(io.BytesIO(file), "r") as container:
        return [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.fixture
def clips(make_clip: MakeClip) -> list[Path]:
    """Twelve of two sizes, each of another length."""
    return [make_clip(f"{place}.mp4", frames=20 + place, width=64 + 16 * (place % 2)) for place in range(12)]


def test_clips_are_decoded_together_and_come_back_in_order(clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    fake, decode = FakePipelines(monkeypatch), DaliDecoder()
    several = decode.many(clips, 8, "inclusive")
    assert [(batch, len(given)) for batch, given in fake.runs] == [(8, 8), (8, 4)]
    assert fake.built == [8], "a pipeline is built once"
    for path, frames in zip(clips, several, strict=True):
        expected = decode_plain(path, 8, "inclusive")
        assert (frames.indices, frames.seconds) == (expected.indices, expected.seconds)
        assert np.array_equal(frames.pixels, expected.pixels), "its own, kept from the next run"
    assert decode(clips[0], 8, "inclusive").decoder == several[0].decoder
    assert fake.built == [8, 1], "one clip by itself has a pipeline of its own"


@pytest.mark.parametrize("policy", POLICIES)
def test_frames_that_are_neither_wanted_nor_referred_to_are_not_decoded(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakePipelines(monkeypatch)
    frames, expected = DaliDecoder()(sample.CLIP, 8, policy), decode_plain(sample.CLIP, 8, policy)
    (_, (given,)) = fake.runs[0]
    assert 8 <= given < 15, "of 20"
    assert (frames.indices, frames.seconds) == (expected.indices, expected.seconds)
    assert (torch.as_tensor(frames.pixels).int() - torch.as_tensor(expected.pixels).int()).abs().float().mean() < 0.5, "rows and all"


def test_the_clip_of_a_batch_that_cannot_be_decoded_is_named(clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    fake, decode = FakePipelines(monkeypatch), DaliDecoder()
    fake.refuse = lambda encoded, batch: any(pictures(file)[0].shape[1] == 80 for file in encoded)
    narrow, wide = clips[::2], clips[1]
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            decode.many([*narrow[:2], wide, narrow[2]], 8, "inclusive")
        assert str(caught.value) == f"{wide}: DALI cannot decode it (Codec configuration not supported); use decode=threaded"
    assert fake.built == [8, 1, 8, 1], "those that failed are built anew"


def test_a_batch_that_fails_though_each_of_it_does_not_is_told(clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    fake, decode = FakePipelines(monkeypatch), DaliDecoder()
    fake.refuse = lambda encoded, batch: batch > 1
    with pytest.raises(UserError) as caught:
        decode.many(clips[:3], 8, "inclusive")
    assert str(caught.value) == (
        f"{clips[0]}, {clips[1]}, {clips[2]}: DALI cannot decode them in one call (Codec configuration not supported), though one by one; "
        "use prefetch=on"
    )


def test_a_clip_of_a_batch_that_dali_would_get_wrong_is_named(
    clips: list[Path], torture_clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakePipelines(monkeypatch)
    with pytest.raises(UserError, match=r"odd-444\.mp4 is yuv444p, .*; use decode=threaded"):
        DaliDecoder().many([clips[0], torture_clips / "odd-444.mp4"], 8, "inclusive")
    with pytest.raises(UserError, match=r"gone\.mp4: no such file"):
        DaliDecoder().many([clips[0], Path("gone.mp4")], 8, "inclusive")
    assert fake.runs == []


def test_memory_that_runs_out_is_not_taken_for_a_clip_that_cannot_be_decoded(clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    FakePipelines(monkeypatch)

    def full(output: Any, sizes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(HostCopies, "take", staticmethod(full))
    for decode in (lambda: DaliDecoder()(clips[0], 8, "inclusive"), lambda: DaliDecoder().many(clips, 8, "inclusive")):
        with pytest.raises(torch.OutOfMemoryError):
            decode()


def test_video_llava_loads_several_with_dali_and_with_nothing_else(clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    FakePipelines(monkeypatch)
    asked = replace(tiny_video_llava(), device="cpu")
    pipeline = build(parse("baseline+decode=dali+prefetch=batched"), asked)
    assert pipeline.load_many is not None
    several = pipeline.load_many(clips[:3])
    alone = [pipeline.load(clip) for clip in clips[:3]]
    assert [work for _, work in several] == [work for _, work in alone]
    assert all(torch.equal(frames.pixels, other.pixels) for (frames, _), (other, _) in zip(several, alone, strict=True))
    assert build(parse("optimized"), asked).load_many is None


def test_a_pipeline_that_failed_is_not_run_again_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """DALI's message, shortened; the reason stands below a traceback, and the pipeline is of no use afterwards."""
    message = 'Critical error in pipeline:\nin decode\nencountered:\n\nAssert on "caps" failed: Codec configuration not supported\n'
    built: list[FailingPipeline] = []

    class FailingPipeline:
        def run(self, encoded: object, frames: object) -> object:
            assert not hasattr(self, "failed"), "run again"
            self.failed = True
            raise RuntimeError(message)

    def build(batch: int) -> FailingPipeline:
        built.append(FailingPipeline())
        return built[-1]

    monkeypatch.setattr(dali, "_build", build)
    monkeypatch.setattr(dali, "Copies", HostCopies)
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
                pixels = np.asarray(torch.as_tensor(frames.values()).cpu())
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
    made, expected, true = (pixel_values(pixels, recipe, "cuda", torch.float32) for pixels in (frames.values(), usual.values(), source))
    level = 1 / 255 / min(recipe.std)
    assert (made - true).abs().mean() < 2 * level
    assert (expected - true).abs().mean() < 2 * level, "PyAV rounds down"
    assert (made - expected).abs().mean() < 0.7 * level
    assert (made - expected).mean(dim=(0, 2, 3)).abs().max() < 0.3 * level, "and DALI's frames are mended to be as dark"


@pytest.mark.gpu
def test_a_decoder_is_kept_and_gives_the_same_frames_again(make_clip: MakeClip) -> None:
    decode = DaliDecoder()
    first = decode(sample.CLIP, 8, "inclusive").pixels
    other = decode(make_clip(width=256, height=192), 8, "inclusive").pixels
    again = decode(sample.CLIP, 8, "inclusive").pixels
    assert torch.equal(torch.as_tensor(first), torch.as_tensor(again))
    assert other.shape == (8, 192, 256, 3)


@pytest.mark.gpu
def test_clips_decoded_together_in_another_thread_are_those_decoded_alone(make_clip: MakeClip) -> None:
    """Of two sizes and two lengths, one BT.709; while the main thread keeps the model's stream busy."""
    some = [make_clip(f"{place}.mp4", frames=20 + place % 3, width=256 + 64 * (place % 2), height=192) for place in range(10)]
    paths = [sample.CLIP, *some]
    decode = DaliDecoder()
    alone = [torch.as_tensor(decode(path, 8, "inclusive").pixels).cpu() for path in paths]
    busy = torch.randn(2048, 2048, device="cuda")
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(lambda: [decode.many(paths, 8, "inclusive") for _ in range(5)])
        while not made.done():
            busy = (busy @ busy).clamp(-1, 1)
    for several in made.result():
        for frames, expected in zip(several, alone, strict=True):
            assert torch.equal(torch.as_tensor(frames.pixels).cpu(), expected)


@pytest.mark.gpu
def test_a_broken_clip_is_refused(broken_clip: tuple[Path, str]) -> None:
    path, told = broken_clip
    with pytest.raises(UserError, match=re.escape(told)):
        DaliDecoder()(path, 8, "inclusive")


@pytest.mark.gpu
@pytest.mark.parametrize("variant", ["optimized", "optimized-gpu"])
def test_on_the_gpu_in_float32_the_tokens_are_the_same(variant: str) -> None:
    from evbench.pipelines.video_llava import VideoLlava
    from evbench.results import Workload
    from evbench.stages import run_stages

    asked = Workload("video-llava", "tiny", None, (CLIP,), 8, "inclusive", "What is it?", 24, False, "cuda", "float32", 0, kind="video")

    def run(name: str) -> Any:
        return run_stages(VideoLlava(parse(name), asked), sample.CLIP, 24)

    # The same pixels on both sides: decoders, and the resize on CPU and GPU, differ by a level here and there, and random
    # weights make other tokens out of that.
    expected, expected_work = run(f"baseline+decode={parse(variant)['decode']}+preprocess={parse(variant)['preprocess']}")
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


def held() -> int:
    """Bytes of the GPU's memory that this process holds.

    What of the whole GPU is free says nothing of it where another process comes and goes. The test is skipped where that cannot be told:
    inside a container, whose process numbers the driver may not know, beside others.
    """
    torch.cuda.empty_cache()
    torch.cuda.synchronize()
    gauge = CudaMemory()
    gauge.reset()
    if (ours := gauge.read().device) is not None:
        return ours
    processes = gpu.query(pynvml.nvmlDeviceGetComputeRunningProcesses, gpu.first_visible()) or ()
    if len(processes) != 1:
        pytest.skip(f"the driver does not tell what this process holds, and names {len(processes)} processes on this GPU")
    free, whole = torch.cuda.mem_get_info()
    return whole - free


@pytest.mark.gpu
def test_decoders_are_kept_and_released() -> None:
    """Of a clip with cropping: NVDEC's decoder is found again, and neither it nor pipelines pile up."""
    pytest.importorskip("nvidia.dali")

    def held_after(decoders: int, calls: int) -> int:
        for _ in range(decoders):
            decode = DaliDecoder()
            for _ in range(calls):
                decode(sample.CLIP, 8, "inclusive")
            del decode
            gc.collect()
        return held()

    before = held_after(2, 2)
    assert held_after(1, 12) - before < 32 * 2**20, "a decoder for this size takes more"
    assert held_after(6, 1) - before < 32 * 2**20
