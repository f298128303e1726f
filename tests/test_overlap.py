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

LOAD, PRODUCT, COUNT = 20_000_000, 1_500_000, 100


class Gpu:
    """Nanoseconds. Its decoder waits for all products that have been launched before it decodes."""

    def __init__(self) -> None:
        self.now = self.busy_until = 0

    def wait(self) -> None:
        self.now = max(self.now, self.busy_until)

    def load(self) -> None:
        self.now += LOAD

    def launch(self) -> None:
        self.busy_until = self.now + COUNT * PRODUCT

    def together(self, ahead: int | None) -> float:
        self.launch()
        took = LOAD + PRODUCT * (COUNT if ahead is None else ahead)
        self.now += took
        return took / 1e9


def test_a_load_that_waits_for_what_is_queued_is_hidden_if_little_is() -> None:
    gpu = Gpu()
    found = tuple(overlap.measure("dali", gpu.load, gpu.launch, gpu.together, Watch(gpu.wait, lambda: gpu.now, lambda: None)))
    assert [one.ahead for one in found] == [2, 8, 32, None]
    for one in found:
        assert (one.load_seconds.value, one.products_seconds.value) == (0.02, 0.15)
    assert [one.meanwhile_seconds.value for one in found] == [0.023, 0.032, 0.068, 0.17]
    assert [one.together_seconds.value for one in found] == [0.15, 0.15, 0.15, 0.17]
    assert [one.hidden() for one in found] == pytest.approx([1, 1, 1, 0])
    told = overlap.lines(Overlaps(MACHINE, "clip.mp4", 8, "inclusive", (found[0], found[-1])))
    assert told == [
        "clip.mp4: 8 frames, by inclusive",
        "dali: load 20.0 ms, products 150 ms; launched 2 ahead, together 150 ms: 100% of the shorter one is hidden, and the load took "
        "23.0 ms",
        "dali: load 20.0 ms, products 150 ms; launched all at once, together 170 ms: 0% of the shorter one is hidden, and the load took "
        "170 ms",
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
def test_on_a_gpu_products_are_launched_ahead_and_all_at_once(
    decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert DEVICE == "cuda"
    out = tmp_path / "found.json"
    assert script(monkeypatch, "--decoder", decoder, "--milliseconds", 20, "--out", out) in (0, None)
    assert capsys.readouterr().out.count("of the shorter one is hidden") == 4
    assert out.exists()
