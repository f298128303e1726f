"""What a choice may need of this machine, and how to get what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

from evbench.machine.machine import version


def _no_gpu(device: str) -> str | None:
    return None if device == "cuda" else "needs an NVIDIA GPU, and the run is on the CPU"


def _no_dali(device: str) -> str | None:
    found = importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None
    return None if found else "needs NVIDIA DALI, which is not installed (pip install nvidia-dali-cuda130; Linux x86-64 only)"


def _no_triton(device: str) -> str | None:
    found = importlib.util.find_spec("triton") is not None
    return None if found else "needs Triton, which is not installed (pip install triton; Linux only)"


def _no_compiler(device: str) -> str | None:
    if device == "cuda" and (missing := _no_triton(device)):
        return missing
    compiler = os.environ.get("CXX") or ("clang++" if platform.system() == "Darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"needs a C++ compiler for torch.compile, and {compiler} is not there (Debian: apt install g++; or set CXX)"
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        return f"needs Python's headers for torch.compile, and {header} is not there (Debian: apt install python3-dev)"
    return None


def _no_flash2(device: str) -> str | None:
    return None if version("flash-attn") else "needs flash-attn, which is not installed (pip install flash-attn; built from source)"


def _no_flash3(device: str) -> str | None:
    found = importlib.util.find_spec("flash_attn_interface") is not None
    missing = "needs FlashAttention 3, whose module flash_attn_interface is not installed (Dao-AILab/flash-attention, folder hopper)"
    return None if found else missing


def _no_flash4(device: str) -> str | None:
    return None if version("flash-attn-4") else "needs flash-attn-4, which is not installed (pip install flash-attn-4)"


NEEDS: dict[str, Callable[[str], str | None]] = {
    "NVIDIA GPU": _no_gpu,
    "NVIDIA DALI": _no_dali,
    "C++ compiler": _no_compiler,
    "Triton": _no_triton,
    "flash-attn": _no_flash2,
    "FlashAttention 3": _no_flash3,
    "flash-attn-4": _no_flash4,
}
"""Name of a need -> function of the device that says what is missing and how to get it, or None."""
