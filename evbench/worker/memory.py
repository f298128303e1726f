"""Peak memory of this process, on the host and on the GPU."""

from __future__ import annotations

import os
from pathlib import Path

import pynvml

from evbench.machine import gpu
from evbench.results import Memory


class HostMemory:
    """Peak resident size, from the kernel's own high-water mark (Linux; proc(5), clear_refs and VmHWM)."""

    def reset(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            self._resettable = False
        else:
            self._resettable = True

    def read(self) -> Memory:
        return Memory(process=self._peak() if self._resettable else None, allocator=None, reserved=None, device=None, non_torch=None)

    @staticmethod
    def _peak() -> int | None:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None


class CudaMemory:
    """Host memory, and the GPU's: torch's allocator, its pool, and the driver's count for this process."""

    def __init__(self) -> None:
        self._handle = gpu.first_visible()
        self._host = HostMemory()

    def reset(self) -> None:
        import torch

        self._host.reset()
        torch.cuda.reset_peak_memory_stats()

    def read(self) -> Memory:
        import torch

        device = self._device()
        return Memory(
            process=self._host.read().process,
            allocator=torch.cuda.max_memory_allocated(),
            reserved=torch.cuda.max_memory_reserved(),
            device=device,
            non_torch=None if device is None else device - torch.cuda.memory_reserved(),
        )

    def _device(self) -> int | None:
        if self._handle is None:
            return None
        # Inside a container the driver may list processes under ids of the host: ours is then not among them.
        for process in gpu.query(pynvml.nvmlDeviceGetComputeRunningProcesses, self._handle) or ():
            if process.pid == os.getpid() and process.usedGpuMemory is not None:
                return int(process.usedGpuMemory)
        return None
