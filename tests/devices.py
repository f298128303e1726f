"""Where kernels run in tests: on the GPU if there is one, else in Triton's interpreter, which conftest.py turns on."""

from __future__ import annotations

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
