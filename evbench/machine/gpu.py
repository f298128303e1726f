"""The GPU that torch calls `cuda:0`, as the driver (NVML) knows it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pynvml


def first_visible() -> Any | None:
    """NVML's handle of the first GPU that CUDA_VISIBLE_DEVICES leaves, or None if there is no driver or no such GPU.

    Initialises NVML, and leaves it so for the use of the handle.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    try:
        pynvml.nvmlInit()
        if visible.isdecimal():
            return pynvml.nvmlDeviceGetHandleByIndex(int(visible))
        if visible.startswith(("GPU-", "MIG-")):
            return pynvml.nvmlDeviceGetHandleByUUID(visible)
    except pynvml.NVMLError:
        return None
    return None  # "" and "-1" hide every GPU


def query(ask: Callable[..., Any], *arguments: Any) -> Any:
    """What the driver answers, or None where it does not know: not every GPU has every reading."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None


def identity() -> str:
    """UUID of that GPU, which names it for every process of this machine. Call only where there is one."""
    return str(pynvml.nvmlDeviceGetUUID(first_visible()))
