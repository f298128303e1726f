"""A clip from a camera, not from our own encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evbench import results
from evbench.pipelines.load.video import POLICIES, decode_plain, decode_threaded, probe
from tests.checkpoints import least_model
from tests.command import evbench
from tests.materials import BIKES


@pytest.fixture(scope="module")
def bikes() -> Path:
    return BIKES.fetch()


@pytest.mark.parametrize("policy", POLICIES)
def test_decoders_agree_on_every_byte(bikes: Path, policy: str) -> None:
    assert len(probe(bikes).seconds) == 250
    plain, threaded = decode_plain(bikes, 8, policy), decode_threaded(bikes, 8, policy)
    assert plain.indices == threaded.indices == tuple(POLICIES[policy](250, 8))
    assert plain.seconds == threaded.seconds == pytest.approx([index / 25 for index in plain.indices])
    assert np.array_equal(plain.pixels, threaded.pixels)
    assert plain.pixels.shape == (8, 272, 640, 3)
    neighbours = np.abs(np.diff(np.asarray(plain.pixels, np.int16), axis=0)).mean(axis=(1, 2, 3))
    assert neighbours.min() > 2, "eight different pictures"


@pytest.mark.long
def test_a_comparison_on_it(bikes: Path, tmp_path: Path) -> None:
    options = f"--video {bikes} {least_model('video-llava')} --blocks 1 --warmup 1 --new-tokens 20 --trace-tokens 0 --out out"
    done = evbench(f"compare --baseline baseline --optimized optimized+vision=batched+generate=static {options}", tmp_path)
    assert done.returncode == 4, done.stderr
    assert "**Same work**: yes" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "identical, all 20" in " ".join(done.stdout.split())
    work = results.read(tmp_path / "out").baseline.runs[-1].work
    assert work.frame_indices == tuple(POLICIES["inclusive"](250, 8))
    assert (work.frame_height, work.frame_width) == (272, 640)
