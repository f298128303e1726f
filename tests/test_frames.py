"""`evbench frames`: what it tells of a clip, and that it notices decoders that disagree."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evbench.cli.main import main
from evbench.errors import UserError
from evbench.inputs import decoders as inputs_decoders
from evbench.inputs import sample
from evbench.inputs.decoders import Comparison, Seen, choose_decoders, compare
from evbench.pipelines.load import decoders
from evbench.pipelines.load.video import Frames, decode_plain, probe
from tests.command import evbench, refused

pytestmark = pytest.mark.slow

SEEN = [Seen("P", 0, 1, "yuv420p")] * 8


def cells(comparison: Comparison) -> dict[str, str]:
    return {row[0]: row[1] for row in comparison.facts.rows}


def test_the_command_shows_facts_and_picks(torture_clips: Path) -> None:
    done = evbench("frames edit-list-start.mp4 --decoder plain --decoder threaded", torture_clips)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for told in (
        "edit-list-start.mp4",
        "Codec h264, yuv420p, 256x192",
        "Frames 40, 20.000 a second, constant",
        "Colour matrix BT.601, limited range",
        "Key frames 2: 9 25",
        "Hidden 7 frames, by an edit list; frame 0 is the first that is shown",
        "Rotation none",
        "Slot Frame Seconds Type plain threaded",
        "0 0 0.000 B bar code 0, first bar code 0, equal",
        "7 39 1.950 P bar code 39, first bar code 39, equal",
    ):
        assert told in lines


def test_a_clip_without_bar_codes(torture_clips: Path) -> None:
    done = evbench(f"frames {sample.CLIP} --frame-policy stride --count 5", torture_clips)
    assert done.returncode == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "4 16 0.800 P first equal" in lines
    assert "Colour matrix BT.709, limited range" in lines
    assert "bar code" not in done.stdout


@pytest.mark.parametrize(
    ("name", "fact", "told"),
    [
        ("rotated.mp4", "Rotation", "turn it by 90 degrees clockwise; decoders return it as coded, not turned"),
        ("variable.mp4", "Frames", "variable: 10.0 to 170.0 ms apart"),
        ("bt709-full.mp4", "Colour", "matrix BT.709, full range"),
        ("untagged.mp4", "Colour", "matrix untagged, untagged"),
        ("one-frame.mp4", "Frames", "1, no frame rate"),
        ("odd-vp9.webm", "Codec", "yuv420p, 255x191"),
        ("ten-bit-hevc.mp4", "Codec", "hevc, yuv420p10le, 256x192"),
        ("edit-list-delay.mp4", "Shown", "from 0.500 to 2.450 s"),
        ("open-gop.mp4", "Key frames", "4: 0 10 20 30"),
        ("constant.mp4", "Hidden", "none"),
    ],
)
def test_facts(name: str, fact: str, told: str, torture_clips: Path) -> None:
    count = 1 if name == "one-frame.mp4" else 8
    found = compare(torture_clips / name, count, "inclusive", ["plain", "threaded"])
    assert found.exit_code == 0
    assert told in cells(found)[fact]


def test_the_decoders_that_run_here_are_the_default() -> None:
    found = choose_decoders(())
    assert found[:2] == ["plain", "threaded"]
    assert choose_decoders(["threaded", "plain", "threaded"]) == ["threaded", "plain"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("frames missing.mp4", "missing.mp4: no such file"),
        ("frames three-frames.mp4", "three-frames.mp4 has 3 frames and the model is given 8; give a longer clip, or fewer --frames"),
        ("frames two-sizes.webm", "two-sizes.webm: frame 40 is of 255x191 pixels and the clip of 256x192; encode it again"),
        ("frames open-gop-cut.mp4", "open-gop-cut.mp4: frame 0 at 0.000 s does not come out of the decoder"),
        ("frames torture.json", "torture.json is of another format, and videos in mov, mp4, matroska, webm"),
        ("frames constant.mp4 --frame-policy strides", "unknown --frame-policy 'strides'; did you mean 'stride'?"),
        ("frames constant.mp4 --decoder plian", "unknown --decoder 'plian'; did you mean 'plain'?"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: str, told: str, torture_clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(torture_clips)
    assert told in refused(arguments, monkeypatch, capsys)


def test_a_decoder_that_cannot_run_here_is_refused(
    torture_clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(torture_clips)
    line = refused("frames constant.mp4 --decoder plain --decoder dali", monkeypatch, capsys)
    assert "--decoder dali cannot run here: decode=dali needs an NVIDIA GPU" in line
    assert line.endswith("; leave it out")


def judged(path: Path, wrong: Frames) -> Comparison:
    right = decode_plain(path, 8, "inclusive")
    return inputs_decoders.judge(path, probe(path), right.indices, SEEN, {"plain": right, "threaded": wrong}, ())


@pytest.mark.parametrize("name", ["b-frames.mp4", "scene"])
@pytest.mark.parametrize("spoil", ["later", "reversed", "repeated", "missing", "smaller", "indices", "seconds"])
def test_decoders_that_disagree_are_noticed(spoil: str, name: str, torture_clips: Path) -> None:
    path = sample.CLIP if name == "scene" else torture_clips / name
    right = decode_plain(path, 8, "inclusive")
    every = np.asarray(decode_plain(path, len(probe(path).seconds), "inclusive").pixels)
    pixels = np.asarray(right.pixels)
    wrong = {
        "later": replace(right, pixels=every[[min(index + 1, len(every) - 1) for index in right.indices]]),
        "reversed": replace(right, pixels=pixels[::-1]),
        "repeated": replace(right, pixels=pixels[[0, 0, *range(2, 8)]]),
        "missing": replace(right, pixels=pixels[:7]),
        "smaller": replace(right, pixels=pixels[:, ::2, ::2]),
        "indices": replace(right, indices=tuple(index + 1 for index in right.indices)),
        "seconds": replace(right, seconds=tuple(second + 0.01 for second in right.seconds)),
    }[spoil]
    found = judged(path, wrong)
    assert found.exit_code == 5
    assert all("threaded" in difference for difference in found.differences)
    assert len(found.picks.rows) == 8


def test_rounding_is_no_other_frame() -> None:
    right = decode_plain(sample.CLIP, 8, "inclusive")
    pixels = np.asarray(right.pixels)
    rounded = np.clip(pixels.astype(np.int16) + np.random.default_rng(0).integers(-2, 3, pixels.shape), 0, 255).astype(np.uint8)
    found = judged(sample.CLIP, replace(right, pixels=rounded))
    assert (found.exit_code, found.differences) == (0, ())
    assert "differs by 2 at most" in found.picks.rows[0][-1]
    assert judged(sample.CLIP, right).exit_code == 0


def test_the_command_exits_with_5_if_decoders_disagree(
    torture_clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reversing(path: Path, count: int, policy: str) -> Frames:
        found = decode_plain(path, count, policy)
        return replace(found, pixels=found.pixels[::-1])

    _spoil(monkeypatch, reversing)
    code, output = _run(f"frames {torture_clips / 'constant.mp4'}", monkeypatch, capsys)
    assert code == 5
    assert "DIFFERENT: slot 0: threaded returns the frame with bar code 39, plain with 0" in output


def test_a_decoder_that_refuses_is_told_and_the_others_are_compared(
    torture_clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusing(path: Path, count: int, policy: str) -> Frames:
        raise UserError(f"{path} is not to its taste; use another")

    _spoil(monkeypatch, refusing)
    code, output = _run(f"frames {torture_clips / 'constant.mp4'} --decoder plain --decoder threaded", monkeypatch, capsys)
    assert code == 0
    assert "threaded refuses: " in output
    assert "constant.mp4 is not to its taste; use another" in output


def _spoil(monkeypatch: pytest.MonkeyPatch, threaded: object) -> None:
    monkeypatch.setattr(decoders, "decoder", {"plain": decode_plain, "threaded": threaded}.__getitem__)
    monkeypatch.setattr(inputs_decoders, "choose_decoders", lambda asked: ["plain", "threaded"])


def _run(arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["evbench", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0), capsys.readouterr().out
