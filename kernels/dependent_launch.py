"""Programmatic dependent launch: a kernel whose programs start while the last ones of the kernel in front of it still run.

A kernel says early that the next one may start (`gdc_launch_dependents`), loads what no launch in front of it writes, such as weights,
and only then waits until the kernel in front of it has ended and all that it wrote is visible (`gdc_wait`). So memory is read without a
pause between two kernels. Every program of a chain has to wait, so that the end of one kernel is the end of all in front of it.

Source: CUDA C++ Programming Guide, "Programmatic Dependent Launch and Synchronization"; PTX ISA, `griddepcontrol`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

FIRST_CAPABILITY = (9, 0)
"""Hopper."""


def launch_options(device: torch.device) -> dict[str, Any]:
    """Arguments of a launch on this device: `DEPENDENT`, which says whether the kernel may wait, and what Triton takes.

    A kernel is launched without it in Triton's interpreter and on GPUs before Hopper.
    """
    return {"DEPENDENT": True, "launch_pdl": True} if device.type == "cuda" and _is_capable(device.index) else {"DEPENDENT": False}


@cache
def _is_capable(index: int | None) -> bool:
    return torch.cuda.get_device_capability(index) >= FIRST_CAPABILITY
