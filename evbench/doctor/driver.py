"""What the GPU's driver (NVML) tells of the moment, and why there is no GPU. Makes no CUDA context."""

from __future__ import annotations

import os
from pathlib import Path

import pynvml

from evbench.doctor.facts import Driver
from evbench.machine import gpu
from evbench.machine.conditions import THROTTLED

PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"
"""Of PCI: the vendor, and the first digits of the class of a display controller, which GPUs without a display also have."""

NO_DRIVER = "ask the administrator for the NVIDIA driver, of which nvidia-smi tells; start a container with --gpus all"


def look() -> Driver | None:
    """The first visible GPU. None if there is none."""
    handle = gpu.first_visible()
    if handle is None:
        return None
    version = gpu.query(pynvml.nvmlSystemGetCudaDriverVersion)
    capability = gpu.query(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    rates = gpu.query(pynvml.nvmlDeviceGetUtilizationRates, handle)
    reasons = int(gpu.query(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0)
    uuid = gpu.query(pynvml.nvmlDeviceGetUUID, handle)
    return Driver(
        uuid=None if uuid is None else str(uuid),
        cuda=None if version is None else (version // 1000, version % 1000 // 10),
        capability=None if capability is None else (int(capability[0]), int(capability[1])),
        sm_mhz=gpu.query(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
        processes=len(gpu.query(pynvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()),
        busy=None if rates is None else int(rates.gpu),
        throttled=tuple(reason for bit, reason in THROTTLED.items() if reasons & bit),
    )


def why_no_gpu() -> tuple[str, str]:
    """As far as the driver, the environment and the PCI bus tell; and what to do, if anything can be done."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        pynvml.nvmlInit()
        count = int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as error:
        if _on_the_bus():
            return f"an NVIDIA GPU is there, and no driver that answers ({error})", NO_DRIVER
        return "no NVIDIA GPU found", ""
    if not count:
        return "the NVIDIA driver shows no GPU", NO_DRIVER
    if visible is None:
        return "the NVIDIA driver does not open the first GPU", "ask the administrator; nvidia-smi tells more"
    return f"CUDA_VISIBLE_DEVICES={visible} leaves none of {count}", "unset CUDA_VISIBLE_DEVICES"


def _on_the_bus() -> bool:
    return any(_line(device / "vendor") == NVIDIA and _line(device / "class").startswith(DISPLAY) for device in PCI.glob("*"))


def _line(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
