"""The machine a result is measured on. Imports no torch: the parent process stays light."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pynvml

import evbench
from evbench.errors import UserError, nearest
from evbench.machine import cores
from evbench.machine import gpu as nvml
from evbench.results import ALLOWED_CLAIMS, Gpu, Machine

DEVICES = ("auto", "cuda", "cpu")
NOT_KNOWN = 2**40
"""Bytes of memory, where the system does not tell: no limit then."""
MEANT = {"gpu": "cuda", "nvidia": "cuda", "host": "cpu", "none": "cpu"}
"""Other names of a device, which are not spelled like it."""
HARDWARE = ("cpu", "cores", "gpu", "power-limit", "clocks")
"""Of the properties that `machine_differences` names, those of the machine itself. The others are of what is installed on it."""
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
        packages={name: version(name) for name in PACKAGES},
        source=_source(),
    )


def find_gpu() -> Gpu | None:
    """The GPU that the workers would use. None if there is none, or its driver does not even tell its name."""
    handle = nvml.first_visible()
    if handle is None:
        return None
    try:
        name, driver = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlSystemGetDriverVersion()
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    except pynvml.NVMLError:
        return None
    default = nvml.query(pynvml.nvmlDeviceGetDefaultApplicationsClock, handle, pynvml.NVML_CLOCK_SM)
    applications = nvml.query(pynvml.nvmlDeviceGetApplicationsClock, handle, pynvml.NVML_CLOCK_SM)
    return Gpu(
        name=name,
        driver=driver,
        memory_bytes=memory,
        power_limit_watts=_watts(nvml.query(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        default_power_limit_watts=_watts(nvml.query(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)),
        max_sm_mhz=nvml.query(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM),
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
    known = [*names(ours), *names(theirs), *ALLOWED_CLAIMS]
    if (unknown := next((name for name in allowed if name not in known), None)) is not None:
        raise UserError(f"unknown --allow {unknown!r}; {nearest(unknown, list(dict.fromkeys(known)))}")
    found = machine_differences(ours, theirs)
    if refused := {name: values for name, values in found.items() if name not in allowed}:
        listed = "; ".join(f"{name}: {values}" for name, values in refused.items())
        options = " ".join(f"--allow {name}" for name in refused)
        raise UserError(f"the two sides come from different machines or versions ({listed}); measure both here, or say {options}")


def choose_device(asked: str) -> str:
    """`auto` -> `cuda` where a driver shows a GPU, else `cpu`.

    Raises:
        UserError: unknown, or `cuda` was asked for and there is no GPU.
    """
    if asked not in DEVICES:
        number = re.fullmatch(r"(?:cuda|gpu):?(\d+)", asked.lower())
        if number is not None:
            raise UserError(f"unknown --device {asked!r}; give cuda, and the GPU by CUDA_VISIBLE_DEVICES={number[1]}")
        advice = f"did you mean {MEANT[asked.lower()]!r}?" if asked.lower() in MEANT else nearest(asked, list(DEVICES))
        raise UserError(f"unknown --device {asked!r}; {advice}")
    present = find_gpu() is not None
    if asked == "cuda" and not present:
        raise UserError("--device cuda: no NVIDIA driver or GPU found; install the driver, or run with --device cpu")
    return {"auto": "cuda" if present else "cpu"}.get(asked, asked)


def version(package: str) -> str | None:
    """Of an installed package; None if it is not installed."""
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


def available_memory() -> int:
    """Bytes that programs may still take, without what others would lose for it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    return free if free is not None else _memory_bytes() or NOT_KNOWN


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
