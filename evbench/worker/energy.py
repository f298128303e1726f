"""Energy by the GPU's own counter."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pynvml

from evbench.machine import gpu
from evbench.results import Energy

READING_SECONDS = 0.02
"""Between two readings of the power. The driver renews its value every 10 to 100 ms."""


def spend(
    once: Callable[[], object], synchronize: Callable[[], None], seconds: float, idle_watts: float | None, handle: Any
) -> Energy | None:
    """Call `once` again and again for `seconds` at least. None if this GPU has no counter.

    The counter moves in steps of up to 100 ms, so that a single sample cannot be measured. The power is read, too, because a
    counter may be wrong (ml-energy/zeus:zeus/monitor/energy.py compares the two as well).
    """
    readings: list[tuple[float, float]] = []
    done = threading.Event()

    def read_power() -> None:
        while not done.wait(READING_SECONDS):
            readings.append((time.perf_counter(), pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3))

    if None in (gpu.query(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle), gpu.query(pynvml.nvmlDeviceGetPowerUsage, handle)):
        return None
    once()
    synchronize()
    reader = threading.Thread(target=read_power)
    reader.start()
    before, start, samples = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle), time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        once()
        synchronize()
        samples += 1
    spent, took = (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - before) / 1e3, time.perf_counter() - start
    done.set()
    reader.join()
    watts = [power for moment, power in readings if moment >= start]
    if not watts:
        return None
    return Energy(samples, took, spent, sum(watts) / len(watts) * took, idle_watts)
