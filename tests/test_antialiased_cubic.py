"""The filter against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evbench.kernels.antialiased_cubic import taps
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
