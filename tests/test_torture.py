"""Clips that decoders get wrong: each decoder returns the right frames of each, or refuses it by name."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image

from evbench.colours import BT601, BT709, conversion
from evbench.errors import UserError
from evbench.inputs import sample, torture
from evbench.inputs.torture import TortureClip, bar_code, draw, encode, read_bar_code, recipes, require_encoders
from evbench.pipelines.load.rewritten import coded_picture
from evbench.pipelines.load.video import POLICIES, Decoder, Frames, decode_plain, decode_threaded, mixed, opened, probe, shown_frames
from tests.right_frames import COLOUR_ERROR, colour_error, picked, require_right_frames

NAMES = [recipe.name for recipe in recipes()]
DECODERS = [decode_plain, decode_threaded]
REFUSED = {"open-gop-cut.mp4": "frame 0 at 0.000 s does not come out of the decoder", "two-sizes.webm": "frame 40 is of 255x191 pixels"}


def entry(folder: Path, name: str) -> TortureClip:
    (found,) = (clip for clip in torture.read_index(folder) if clip.file == name)
    return found


def decoded(decode: Decoder, folder: Path, clip: TortureClip, policy: str) -> tuple[Frames, torture.Picture]:
    frames = decode(folder / clip.file, len(picked(clip, policy)), policy)
    assert isinstance(frames.pixels, np.ndarray)
    return frames, frames.pixels


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("name", NAMES)
def test_each_decoder_returns_the_right_frames_or_refuses_by_name(name: str, decode: Decoder, policy: str, torture_clips: Path) -> None:
    clip = entry(torture_clips, name)
    if name in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name]) as caught:
            decoded(decode, torture_clips, clip, policy)
        assert name in str(caught.value)
        assert "; encode it again: " in str(caught.value), "says what to do"
        return
    frames, pixels = decoded(decode, torture_clips, clip, policy)
    require_right_frames(frames, pixels, clip, policy)
    assert colour_error(pixels) <= COLOUR_ERROR


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("decode", DECODERS)
def test_ten_minutes(long_clip: Path, decode: Decoder, policy: str) -> None:
    (clip,) = torture.read_index(long_clip)
    assert len(clip.seconds) == 6000
    frames, pixels = decoded(decode, long_clip, clip, policy)
    require_right_frames(frames, pixels, clip, policy)


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    torture.make(folder, [torture.long_recipe()])
    return folder


def one_later(frames: Frames, every: torture.Picture) -> Frames:
    return replace(frames, pixels=np.stack([every[min(index + 1, len(every) - 1)] for index in frames.indices]))


def reversed_order(frames: Frames, every: torture.Picture) -> Frames:
    return replace(frames, pixels=np.stack([every[index] for index in frames.indices[::-1]]))


def one_repeated(frames: Frames, every: torture.Picture) -> Frames:
    return replace(frames, pixels=np.stack([every[index] for index in (frames.indices[0], *frames.indices[:-1])]))


def one_missing(frames: Frames, every: torture.Picture) -> Frames:
    return replace(frames, pixels=np.stack([every[index] for index in frames.indices[:-1]]))


def other_times(frames: Frames, every: torture.Picture) -> Frames:
    return replace(frames, seconds=tuple(second + 0.01 for second in frames.seconds))


def other_indices(frames: Frames, every: torture.Picture) -> Frames:
    return replace(frames, indices=tuple(index + 1 for index in frames.indices))


@pytest.mark.parametrize("spoil", [one_later, reversed_order, one_repeated, one_missing, other_times, other_indices])
def test_a_decoder_that_returns_wrong_frames_is_caught(spoil: Callable[[Frames, torture.Picture], Frames], torture_clips: Path) -> None:
    clip = entry(torture_clips, "b-frames.mp4")
    right, pixels = decoded(decode_plain, torture_clips, clip, "inclusive")
    require_right_frames(right, pixels, clip, "inclusive")
    every = decode_plain(torture_clips / clip.file, len(clip.seconds), "inclusive").pixels
    assert isinstance(every, np.ndarray)
    wrong = spoil(right, every)
    with pytest.raises(AssertionError):
        require_right_frames(wrong, np.asarray(wrong.pixels), clip, "inclusive")


def test_the_wrong_matrix_or_range_is_caught(torture_clips: Path) -> None:
    _, pixels = decoded(decode_plain, torture_clips, entry(torture_clips, "bt601-limited.mp4"), "inclusive")
    assert colour_error(mixed(pixels, np.column_stack([conversion(BT709, BT601), np.zeros(3)])).numpy()) > 2 * COLOUR_ERROR
    stretched = (pixels.astype(float) * 219 / 255 + 16).astype(np.uint8)
    assert colour_error(stretched) > 2 * COLOUR_ERROR


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(("name", "held"), [("one-frame.mp4", 1), ("three-frames.mp4", 3)])
def test_fewer_frames_than_asked_for_are_refused(name: str, held: int, decode: Decoder, torture_clips: Path) -> None:
    with pytest.raises(UserError, match=f"{name} has {held} frames and the model is given {held + 1}"):
        decode(torture_clips / name, held + 1, "inclusive")


def test_the_clips_are_what_they_are_called(torture_clips: Path) -> None:
    clips = {name: probe(torture_clips / name) for name in NAMES}
    assert {name: clip.hidden for name, clip in clips.items() if clip.hidden} == {
        "edit-list-start.mp4": 7, "edit-list-end.mp4": 40, "edit-list-middle.mp4": 11,
    }  # fmt: skip
    assert {name for name, clip in clips.items() if clip.leading} == {"open-gop-cut.mp4"}
    assert {name for name, clip in clips.items() if not clip.keys[0]} == {"edit-list-start.mp4", "open-gop-cut.mp4"}
    assert [index for index, key in enumerate(clips["one-key-frame.mp4"].keys) if key] == [0]
    coded = {}
    for name in NAMES:
        with opened(torture_clips / name) as container:
            coded[name] = coded_picture(torture_clips / name, container.streams.video[0])
    assert {name: picture.pixel_format for name, picture in coded.items() if picture.pixel_format != "yuv420p"} == {
        "odd-444.mp4": "yuv444p", "ten-bit-h264.mp4": "yuv420p10le", "ten-bit-hevc.mp4": "yuv420p10le",
        "bt601-full.mp4": "yuvj420p", "bt709-full.mp4": "yuvj420p",
    }  # fmt: skip
    sizes = {name: (clip.height, clip.width) for name, clip in clips.items()}
    assert {name: sizes[name] for name, picture in coded.items() if (picture.height, picture.width) != sizes[name]} == {
        "cropped.mp4": (188, 252), "cropped-height.mp4": (186, 252), "cropped-width.mp4": (188, 250), "odd-444.mp4": (191, 255),
    }  # fmt: skip
    assert {name for name, clip in clips.items() if clip.codec == "hevc"} == {"hevc.mp4", "ten-bit-hevc.mp4"}
    assert {name for name, clip in clips.items() if clip.codec.endswith("vp9")} == {
        "vp9.webm", "vp9.mp4", "odd-vp9.webm", "two-sizes.webm",
    }  # fmt: skip
    assert {name for name, clip in clips.items() if clip.colorspace == 1} == {"bt709-limited.mp4", "bt709-full.mp4"}
    assert clips["untagged.mp4"].colorspace == 2
    assert len({round(gap, 3) for gap in np.diff(clips["variable.mp4"].seconds)}) > 4
    assert clips["edit-list-delay.mp4"].seconds[0] == pytest.approx(0.5)
    kinds, rotations = {}, {}
    for name in set(NAMES) - REFUSED.keys():
        with opened(torture_clips / name) as container:
            shown = [frame for _, frame in shown_frames(torture_clips / name, clips[name], container)]
        kinds[name] = {PictureType(frame.pict_type).name for frame in shown}
        rotations[name] = shown[0].rotation
    assert {name for name, rotation in rotations.items() if rotation} == {"rotated.mp4"}
    assert "B" not in kinds["constant.mp4"]
    assert all("B" in kinds[name] for name in ("variable.mp4", "b-frames.mp4", "open-gop.mp4", "edit-list-start.mp4", "hevc.mp4"))
    content = (torture_clips / "open-gop.mp4").read_bytes()
    assert torture.inside(content, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stss"])[:8] == bytes(7) + b"\x04", "four key frames"


def test_open_groups_of_pictures_are_open(torture_clips: Path) -> None:
    """Some B-frame is shown before a key frame that is coded before it."""
    for name in ("open-gop.mp4", "hevc.mp4"):
        with av.open(torture_clips / name) as container:
            packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        times = [packet.pts or 0 for packet in packets]
        keys = [place for place, packet in enumerate(packets) if packet.is_keyframe]
        assert any(min(times[key:]) < times[key] for key in keys[1:]), name


def test_no_two_numbers_have_codes_that_are_nearly_the_same() -> None:
    """A code that is read wrong in up to three cells is no code: all pairs differ in four cells at least."""
    codes = np.stack([bar_code(number).ravel() for number in [*range(6000), *range(60_000, 60_050)]]).astype(np.int32)
    for start in range(0, len(codes), 1000):
        block = codes[start : start + 1000]
        apart = block.sum(1)[:, None] + codes.sum(1)[None, :] - 2 * block @ codes.T
        assert apart[apart > 0].min() >= 4


@pytest.mark.parametrize("wrong", [1, 2])
def test_wrong_bits_are_detected(wrong: int) -> None:
    picture = draw(1234, 192, 256)
    assert read_bar_code(picture) == 1234
    cells = [(slice(48 + 24 * row, 72 + 24 * row), slice(32 * column, 32 * column + 32)) for row in range(4) for column in range(8)]
    for chosen in combinations(cells, wrong):
        spoilt = picture.copy()
        for cell in chosen:
            spoilt[cell] = 255 - spoilt[cell]
        assert read_bar_code(spoilt) is None


def test_pictures_without_a_bar_code_carry_none() -> None:
    noise = np.random.default_rng(0)
    shapes = [(192, 256, 3), (10, 10, 3), (1080, 1440, 3)]
    pictures = [np.full(shape, level, np.uint8) for shape in shapes for level in (0, 20, 128, 235, 255)]
    pictures += [noise.integers(0, 256, shape, np.uint8) for shape in shapes]
    pictures += list(np.asarray(decode_plain(sample.CLIP, 8, "inclusive").pixels))
    pictures += [np.rot90(draw(number, 192, 256)) for number in range(40)]
    pictures += [draw(number, 192, 256) // 2 + draw(number + 1, 192, 256) // 2 for number in range(40)]
    assert {read_bar_code(picture) for picture in pictures} == {None}


@pytest.mark.parametrize("name", sorted(set(NAMES) - REFUSED.keys()))
def test_the_bar_code_survives_a_resize_and_noise(name: str, torture_clips: Path) -> None:
    clip = entry(torture_clips, name)
    noise = np.random.default_rng(0)
    frames, pixels = decoded(decode_plain, torture_clips, clip, "inclusive")
    for index, picture in zip(frames.indices, pixels, strict=True):
        scale = 224 / min(picture.shape[:2])
        size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
        resized = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
        assert read_bar_code(np.asarray(resized)) == index
        jpeg = io.BytesIO()
        resized.save(jpeg, "JPEG", quality=10)
        assert read_bar_code(np.asarray(Image.open(jpeg))) == index
        noisy = np.clip(picture + noise.normal(0, 40, picture.shape), 0, 255).astype(np.uint8)
        assert read_bar_code(noisy) == index


@pytest.mark.parametrize("name", ["b-frames.mp4", "hevc.mp4", "vp9.webm", "edit-list-middle.mp4", "open-gop-cut.mp4"])
def test_the_same_bytes_are_written_again(name: str, torture_clips: Path) -> None:
    (recipe,) = (recipe for recipe in recipes() if recipe.name == name)
    assert encode(recipe) == (torture_clips / name).read_bytes()


def test_an_encoder_that_is_missing_is_named() -> None:
    with pytest.raises(UserError, match="is built without libmissing, libother; install"):
        require_encoders({"libx264", "libother", "libmissing"})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "usage:"), (["--help"], "usage:"), (["a", "b"], "usage:"), (["file/inside"], "file/inside: Not a directory")],
)
def test_the_command_refuses_what_is_no_folder(arguments: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "evbench.inputs.torture", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    (line,) = done.stderr.splitlines()
    assert told in line
    assert done.returncode == 2


@pytest.mark.slow
def test_the_command_writes_all(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evbench.inputs.torture", "all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300)
    clips = torture.read_index(tmp_path / "all")
    assert [clip.file for clip in clips] == [*NAMES, "ten-minutes.mp4"]
    assert {path.name for path in (tmp_path / "all").iterdir()} == {clip.file for clip in clips} | {torture.INDEX}
    assert done.stdout == f"Written to all: torture.json and {len(clips)} clips\n"
