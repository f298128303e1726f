"""Whether a load is hidden behind what the GPU computes, on a GPU and a clock that are made up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from evbench.cli.script import run
from evbench.machine import machine as this_machine
from evbench.microbenchmarks import overlap
from evbench.microbenchmarks.loading import Watch
from evbench.microbenchmarks.overlap import Overlaps
from tests.devices import DEVICE
from tests.examples import MACHINE

LOAD, PRODUCTS = 20_000_000, 150_000_000


class Gpu:
    """Nanoseconds. Its load takes the host's time, and waits for the products first if they are on a stream that `waits_for` names."""

    def __init__(self, waits_for: str) -> None:
        self.now = self.busy_until = 0
        self.waits_for, self.computing = waits_for, ""

    def wait(self) -> None:
        self.now, self.computing = max(self.now, self.busy_until), ""

    def load(self) -> None:
        if self.computing and self.computing == self.waits_for:
            self.wait()
        self.now += LOAD

    def launch(self, stream: str) -> None:
        self.computing, self.busy_until = stream, self.now + PRODUCTS


def test_a_load_that_waits_for_a_stream_is_hidden_behind_the_other_one_only() -> None:
    gpu = Gpu(waits_for="default")
    streams = {"default": lambda: gpu.launch("default"), "own": lambda: gpu.launch("own")}
    default, own = overlap.measure("dali", gpu.load, streams, Watch(gpu.wait, lambda: gpu.now, lambda: None))
    assert (default.stream, own.stream) == ("default", "own")
    for one in (default, own):
        assert (one.load_seconds.value, one.products_seconds.value) == (0.02, 0.15)
    assert (default.returned_seconds.value, default.together_seconds.value) == (0.17, 0.17)
    assert (own.returned_seconds.value, own.together_seconds.value) == (0.02, 0.15)
    assert [one.hidden() for one in (default, own)] == pytest.approx([0, 1])
    told = overlap.lines(Overlaps(MACHINE, "clip.mp4", 8, "inclusive", (default, own)))
    assert told == [
        "clip.mp4: 8 frames, by inclusive",
        "dali: load 20.0 ms, products on the default stream 150 ms, together 170 ms: 0% of the shorter one is hidden; the load returned "
        "after 170 ms",
        "dali: load 20.0 ms, products on a stream of their own 150 ms, together 150 ms: 100% of the shorter one is hidden; the load "
        "returned after 20.0 ms",
    ]


def script(monkeypatch: pytest.MonkeyPatch, *options: object) -> int | str | None:
    """Exit code."""
    monkeypatch.setattr(sys, "argv", ["overlap", *map(str, options)])
    with pytest.raises(SystemExit) as ended:
        run(overlap.main)
    return ended.value.code


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--decoder nvdec", "unknown --decoder 'nvdec'; "),
        ("--frame-policy last", "unknown --frame-policy 'last'; "),
        ("--frames 30 --decoder plain", "scene.mp4 has 20 frames and the model is given 30; "),
        ("--out nowhere/found.json", "--out nowhere/found.json: there is no folder nowhere; "),
        ("--decoder plain", "there is no GPU here that a load could be hidden behind; run it where there is one"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    options: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(this_machine, "find_gpu", lambda: None)
    assert script(monkeypatch, *options.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and told in error


@pytest.mark.gpu
@pytest.mark.parametrize("decoder", ["plain", "dali"])
def test_on_a_gpu_products_are_launched_on_either_stream(
    decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert DEVICE == "cuda"
    out = tmp_path / "found.json"
    assert script(monkeypatch, "--decoder", decoder, "--milliseconds", 20, "--out", out) in (0, None)
    assert capsys.readouterr().out.count("of the shorter one is hidden") == 2
    assert out.exists()
