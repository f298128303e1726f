"""The machine a result is measured on, and what it lacks for a variant. Imports no torch: the parent process stays light."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pynvml

import evbench
from evbench.errors import UserError
from evbench.machine import cores
from evbench.machine import gpu as nvml
from evbench.results import Gpu, Machine
from evbench.variants.choices import CHOICES, KINDS, Choice, Variant, change, effective, nearest

DEVICES = ("auto", "cuda", "cpu")
PACKAGES = (
    "evbench",
    "torch",
    "torchvision",
    "triton",
    "transformers",
    "tokenizers",
    "nvidia-dali-cuda130",
    "flash-attn",
    "flash-attn-4",
    "av",
    "pillow",
    "numpy",
)


def read(device: str) -> Machine:
    """Describe this machine; with its first GPU if `device` is `cuda`."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=_cpu_name(),
        cores=cores.usable(),
        memory_bytes=_memory_bytes(),
        gpu=find_gpu() if device == "cuda" else None,
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        source=_source(),
    )


def find_gpu() -> Gpu | None:
    """The GPU that the workers would use, or None."""
    handle = nvml.first_visible()
    if handle is None:
        return None
    default = nvml.told(pynvml.nvmlDeviceGetDefaultApplicationsClock, handle, pynvml.NVML_CLOCK_SM)
    applications = nvml.told(pynvml.nvmlDeviceGetApplicationsClock, handle, pynvml.NVML_CLOCK_SM)
    return Gpu(
        name=pynvml.nvmlDeviceGetName(handle),
        driver=pynvml.nvmlSystemGetDriverVersion(),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        power_limit_watts=_watts(nvml.told(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        default_power_limit_watts=_watts(nvml.told(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)),
        max_sm_mhz=nvml.told(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM),
        applications_sm_mhz=applications if applications != default else None,
    )


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1e3


def _source() -> str | None:
    """Commit of the checkout that evbench is in, and whether its files were changed since. None outside of one."""
    here = Path(evbench.__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    if shutil.which("git") is None or not (here.parent / ".git").exists():
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def require_same(ours: Machine, theirs: Machine, allowed: Sequence[str]) -> None:
    """Raises UserError if two results come from machines or versions that differ in what was not allowed by name."""
    known = [*names(ours), *names(theirs)]
    if unknown := next((name for name in allowed if name not in known), None):
        raise UserError(f"unknown --allow {unknown!r}; {nearest(unknown, list(dict.fromkeys(known)))}")
    found = machine_differences(ours, theirs)
    if refused := {name: values for name, values in found.items() if name not in allowed}:
        told = "; ".join(f"{name}: {values}" for name, values in refused.items())
        options = " ".join(f"--allow {name}" for name in refused)
        raise UserError(f"the two sides come from different machines or versions ({told}); measure both here, or say {options}")


def choose_device(asked: str) -> str:
    """`auto` -> `cuda` where a driver shows a GPU, else `cpu`.

    Raises:
        UserError: unknown, or `cuda` was asked for and there is no GPU.
    """
    if asked not in DEVICES:
        raise UserError(f"unknown --device {asked!r}; {nearest(asked, list(DEVICES))}")
    present = find_gpu() is not None
    if asked == "cuda" and not present:
        raise UserError("--device cuda: no NVIDIA driver or GPU found; install the driver, or run with --device cpu")
    return {"auto": "cuda" if present else "cpu"}.get(asked, asked)


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
    return None if _version("flash-attn") else "needs flash-attn, which is not installed (pip install flash-attn; built from source)"


def _no_flash3(device: str) -> str | None:
    found = importlib.util.find_spec("flash_attn_interface") is not None
    told = "needs FlashAttention 3, whose module flash_attn_interface is not installed (Dao-AILab/flash-attention, folder hopper)"
    return None if found else told


def _no_flash4(device: str) -> str | None:
    return None if _version("flash-attn-4") else "needs flash-attn-4, which is not installed (pip install flash-attn-4)"


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


def obstacles(variant: Variant, kind: str, device: str) -> dict[str, str]:
    """Why `variant` cannot run here with such input: part -> reason, for each choice that cannot. One without effect is none."""
    found = {}
    for part, name in effective(variant, kind).items():
        if reason := _obstacle(CHOICES[part][name], kind, device):
            found[part] = reason
    return found


def _obstacle(choice: Choice, kind: str, device: str) -> str | None:
    if kind not in choice.kinds:
        return f"is for {' and '.join(KINDS[kind] for kind in choice.kinds)} only"
    return next((reason for need in choice.needs if (reason := NEEDS[need](device))), None)


def tell(variant: Variant, found: dict[str, str]) -> str:
    """Obstacles in words, equal reasons once."""
    by_reason: dict[str, list[str]] = {}
    for part, reason in found.items():
        by_reason.setdefault(reason, []).append(f"{part}={variant.choices()[part]}")
    return "; ".join(f"{' and '.join(choices)} {reason}" for reason, choices in by_reason.items())


def require(variant: Variant, kind: str, device: str) -> None:
    """Raises UserError if `variant` cannot run here with such input, with the change that would. Nothing is replaced by something else."""
    if not (found := obstacles(variant, kind, device)):
        return
    runnable = {part: [name for name, choice in CHOICES[part].items() if _obstacle(choice, kind, device) is None] for part in found}
    cure = change(variant, {part: names[-1] for part, names in runnable.items()})
    raise UserError(f"{variant.name} cannot run here: {tell(variant, found)}. Or choose another: {cure.name}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def machine_differences(ours: Machine, theirs: Machine) -> dict[str, str]:
    """In what may change a time: name, as `--allow` takes it -> both values."""
    names = dict.fromkeys((*ours.packages, *theirs.packages))
    one, other = _comparable(ours, names), _comparable(theirs, names)
    return {name: f"{one[name]} and {other[name]}" for name in one if one[name] != other[name]}


def names(machine: Machine) -> list[str]:
    """What `--allow` takes."""
    return list(_comparable(machine, machine.packages))


def _comparable(machine: Machine, packages: Iterable[str]) -> dict[str, str]:
    gpu = machine.gpu
    return {
        "system": machine.system,
        "cpu": machine.cpu,
        "cores": str(machine.cores),
        "gpu": gpu.name if gpu else "none",
        "driver": gpu.driver if gpu else "none",
        "power-limit": str(gpu.power_limit_watts) if gpu else "none",
        "clocks": str(gpu.applications_sm_mhz) if gpu else "none",
        "python": machine.python,
        **{name: str(machine.packages.get(name)) for name in packages},
        "source": str(machine.source),
    }
