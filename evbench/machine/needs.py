"""What a choice may need of this machine, and how to get what is missing. Nothing is imported to find out."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import platform
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evbench.machine import gpu
from evbench.machine.machine import version


@dataclass(frozen=True)
class Lack:
    """Something that is needed and not there."""

    what: str
    """In words that "needs" may stand in front of."""
    cure: str = ""
    """How to get it. Empty if this machine cannot have it."""

    def __str__(self) -> str:
        return f"needs {self.what}" + (f" ({self.cure})" if self.cure else "")


def _no_gpu(device: str) -> Lack | None:
    return None if device == "cuda" else Lack("an NVIDIA GPU, and the run is on the CPU")


def _fewer_gpus(count: int, device: str) -> Lack | None:
    if device == "cuda" and (found := len(gpu.visible())) < count:
        return Lack(f"{count} GPUs, and this machine shows {found}")
    return _no_gpu(device)


def _no_dali(device: str) -> Lack | None:
    return None if _has_dali() else Lack("NVIDIA DALI, which is not installed", "pip install nvidia-dali-cuda130; Linux x86-64 only")


def _has_dali() -> bool:
    # find_spec("nvidia.dali") would import `nvidia`, which may be anything, and fail.
    package = importlib.util.find_spec("nvidia")
    folders = package.submodule_search_locations if package is not None else None
    return bool(folders) and importlib.machinery.PathFinder.find_spec("nvidia.dali", folders) is not None


def _no_triton(device: str) -> Lack | None:
    found = importlib.util.find_spec("triton") is not None
    return None if found else Lack("Triton, which is not installed", "pip install triton; Linux only")


def _no_compiler(device: str) -> Lack | None:
    if device == "cuda" and (missing := _no_triton(device)):
        return missing
    compiler = cxx()
    if shutil.which(compiler) is None:
        return Lack(f"a C++ compiler for torch.compile, and {compiler} is not there", "Debian: apt install g++; or set CXX")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        return Lack(f"Python's headers for torch.compile, and {header} is not there", "Debian: apt install python3-dev")
    return None


def cxx() -> str:
    """The C++ compiler that torch.compile calls."""
    return os.environ.get("CXX") or ("clang++" if platform.system() == "Darwin" else "g++")


def _no_flash2(device: str) -> Lack | None:
    missing = Lack("flash-attn, which is not installed", "pip install flash-attn; built from source")
    return None if version("flash-attn") else missing


def _no_flash3(device: str) -> Lack | None:
    found = importlib.util.find_spec("flash_attn_interface") is not None
    missing = "FlashAttention 3, whose module flash_attn_interface is not installed"
    return None if found else Lack(missing, "Dao-AILab/flash-attention, folder hopper")


def _no_flash4(device: str) -> Lack | None:
    return None if version("flash-attn-4") else Lack("flash-attn-4, which is not installed", "pip install flash-attn-4")


NEEDS: dict[str, Callable[[str], Lack | None]] = {
    "NVIDIA GPU": _no_gpu,
    **{f"{count} GPUs": partial(_fewer_gpus, count) for count in (2, 4, 8)},
    "NVIDIA DALI": _no_dali,
    "C++ compiler": _no_compiler,
    "Triton": _no_triton,
    "flash-attn": _no_flash2,
    "FlashAttention 3": _no_flash3,
    "flash-attn-4": _no_flash4,
}
"""Name of a need -> function of the device that says what is missing, or None."""
