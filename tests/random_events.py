"""Events anywhere on a sensor, in the order of time."""

from __future__ import annotations

import numpy as np
import torch

from tests.devices import DEVICE

SHAPES = [(1, 1, 1, 1), (7, 5, 3, 5), (5000, 33, 47, 5), (2048, 64, 64, 2), (3333, 1, 300, 3), (12301, 260, 346, 5), (20000, 17, 31, 3)]
"""Events, rows, columns, slices: one event; few of them; no multiple of what a program takes; one; a single row. In one round to three."""


def events(count: int, rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, y and polarity. More than one event falls on most pixels."""
    random = np.random.default_rng(seed + count)
    x, y = random.integers(0, columns, count).astype(np.uint16), random.integers(0, rows, count).astype(np.uint16)
    polarity = random.integers(0, 2, count).astype(np.uint8)
    made = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(polarity)
    return made[0].to(DEVICE), made[1].to(DEVICE), made[2].to(DEVICE)
