"""What a rank uses of what it shares with others, or has for itself: cores of the host, its GPU's video decoder, PCIe."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pynvml

from evbench.machine import gpu
from evbench.machine.conditions import process_ticks
from evbench.traces.counters import Curve, Reading, read_meanwhile
from evbench.verdict.ranks import Usage
from evbench.worker.client import Worker
from evbench.worker.messages import ThroughputRequest

PAUSE = 0.05
"""Seconds between two readings. One of PCIe is over 20 ms."""
DECODER: Curve = ("video decoder", "share")
PCIE_IN, PCIE_OUT = ("PCIe to the GPU", "bytes/s"), ("PCIe from the GPU", "bytes/s")
KIBIBYTE, PERCENT = 1024, 100


def read_usage(worker: Worker, request: ThroughputRequest, device: str) -> Usage:
    """What a worker uses, on average, while it runs samples back to back.

    Raises:
        UserError: the worker gave up.
        WorkerDied: it crashed.
    """
    handle = gpu.first_visible() if device == "cuda" else None
    before = _cpu_seconds(worker.pid)
    with read_meanwhile({} if handle is None else gauges(handle), PAUSE) as readings:
        seconds = worker.throughput_run(request).seconds
    after = _cpu_seconds(worker.pid)
    cores = None if before is None or after is None else (after - before) / seconds
    return Usage(cores, *(_mean(readings, curve) for curve in (DECODER, PCIE_IN, PCIE_OUT)))


def gauges(handle: Any) -> dict[Curve, Callable[[], float | None]]:
    """Of a GPU, as its driver reports them. A reading that it does not have is None."""

    def decoder() -> float | None:
        found = gpu.query(pynvml.nvmlDeviceGetDecoderUtilization, handle)  # percent, and over how many microseconds
        return None if found is None else found[0] / PERCENT

    def pcie(counter: int) -> Callable[[], float | None]:
        def read() -> float | None:
            found = gpu.query(pynvml.nvmlDeviceGetPcieThroughput, handle, counter)
            return None if found is None else float(found) * KIBIBYTE

        return read

    return {DECODER: decoder, PCIE_IN: pcie(pynvml.NVML_PCIE_UTIL_RX_BYTES), PCIE_OUT: pcie(pynvml.NVML_PCIE_UTIL_TX_BYTES)}


def _mean(readings: Sequence[Reading], curve: Curve) -> float | None:
    found = [value for _, read, value in readings if read == curve]
    return statistics.fmean(found) if found else None


def _cpu_seconds(process: int) -> float | None:
    """That a process has used. None where the system does not tell."""
    with suppress(OSError):
        return process_ticks(process) / os.sysconf("SC_CLK_TCK")
    return None
