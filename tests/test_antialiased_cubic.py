"""The filter against torch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from evbench.kernels.antialiased_cubic import LARGER, best_edge, taps, tiles
from tests.resizing import SIZES, recipe


@pytest.mark.parametrize("size", SIZES)
def test_the_taps_are_those_of_torch(size: tuple[int, int]) -> None:
    height, width = size
    target = recipe().resized(height, width)
    picture = torch.rand(1, 1, height, width, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(picture, size=target, mode="bicubic", antialias=True)[0, 0]
    made = picture[0, 0]
    for axis, (source, edge) in enumerate(zip(size, target, strict=True)):
        line = taps(source, edge, 0, edge)
        weights = torch.zeros(edge, source, dtype=torch.float64)
        for row in range(edge):
            first, needed = line.first[row], min(line.weights.shape[1], source - line.first[row])
            weights[row, first : first + needed] = torch.from_numpy(line.weights[row, :needed])
        made = weights @ made if axis == 0 else made @ weights.T
    assert torch.allclose(made, expected, atol=1e-6)


def test_taps_sum_to_one_and_stay_inside() -> None:
    line = taps(1440, 298, 37, 224)
    assert line.weights.shape == (224, 20)
    assert np.allclose(line.weights.sum(axis=1), 1)
    assert (line.first >= 0).all()
    assert ((line.first[:, None] + np.arange(20))[line.weights != 0] < 1440).all()


@pytest.mark.parametrize(("source", "target"), [(1440, 298), (1080, 224), (77, 40), (40, 97), (48, 48)])
@pytest.mark.parametrize("aligned", [1, 4])
def test_tiles_hold_the_weights_of_their_outputs(source: int, target: int, aligned: int) -> None:
    line = taps(source, target, 3, target - 5)
    edge = best_edge(line, 16, 64, aligned)
    firsts, parts = tiles(line, edge, 16, aligned)
    assert math.ceil(len(line.first) / len(firsts)) == edge, "as it is told from the tables"
    assert (firsts % aligned == 0).all()
    matrix, (high, low) = line.dense(source + parts.shape[2]), parts.transpose(1, 0, 2, 3).astype(np.float64) / LARGER
    for tile, first in enumerate(firsts):
        expected = matrix[tile * edge : (tile + 1) * edge, first : first + parts.shape[2]].T
        assert np.allclose((high + low)[tile, :, : expected.shape[1]], expected, atol=2e-7)
        assert not parts[tile, :, :, expected.shape[1] :].any()


def test_no_edge_takes_far_fewer_steps_than_the_best() -> None:
    for source, target, most, step in ((1440, 298, 32, 64), (1080, 224, 16, 16), (346, 298, 32, 64), (40, 97, 16, 16)):
        line = taps(source, target, 0, target)
        made = [tiles(line, edge, most)[1] for edge in (best_edge(line, most, step), *range(1, most + 1))]
        best, *all_others = (len(parts) * math.ceil(parts.shape[2] / step) for parts in made)
        assert best <= 1.05 * min(all_others)
