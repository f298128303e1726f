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
    return _handle(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip())


def visible() -> list[str]:
    """UUIDs of all GPUs that CUDA_VISIBLE_DEVICES leaves, in its order. Empty if there is no driver or no GPU."""
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    found: list[str] = []
    for name in map(str, range(count)) if named is None else named.split(","):
        if (handle := _handle(name.strip())) is None:
            break  # as CUDA has it, which does not look behind one that is not there
        found.append(str(pynvml.nvmlDeviceGetUUID(handle)))
    return found


def _handle(name: str) -> Any | None:
    """Of a GPU as CUDA_VISIBLE_DEVICES names it. None if there is no such one; "" and "-1" hide every GPU."""
    try:
        pynvml.nvmlInit()
        if name.isdecimal():
            return pynvml.nvmlDeviceGetHandleByIndex(int(name))
        if name.startswith(("GPU-", "MIG-")):
            return pynvml.nvmlDeviceGetHandleByUUID(name)
    except pynvml.NVMLError:
        return None
    return None


def query(ask: Callable[..., Any], *arguments: Any) -> Any:
    """What the driver answers, or None where it does not know: not every GPU has every reading."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None
