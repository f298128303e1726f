"""The instruments of a worker process: clock, synchronizer, memory gauge, compute stream, counters of compilation."""

from __future__ import annotations

import time
from collections.abc import Callable

from evbench.worker.compile_counts import Counter
from evbench.worker.measure import CudaStream, HostStream, Instruments
from evbench.worker.memory import CudaMemory, HostMemory


def instruments(device: str) -> Instruments:
    """Those of this process, for `cpu` or `cuda`. Call it once: the counter hooks into torch and Triton."""
    clock, counter = time.perf_counter_ns, Counter(device)
    if device == "cpu":
        return Instruments(clock, synchronizer(device), HostMemory(), HostStream(clock), counter.count, lambda: None)
    import torch

    return Instruments(clock, synchronizer(device), CudaMemory(), CudaStream(), counter.count, torch.cuda.memory_reserved)


def synchronizer(device: str) -> Callable[[], None]:
    """A function that waits until the device is idle."""
    if device == "cuda":
        import torch

        return torch.cuda.synchronize
    return lambda: None
