"""Interference with a measurement: throttling, other processes. Read between runs, never during one."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pynvml

from evbench.machine import gpu

LEAST_CLOCK = 0.75
"""Share of the clock seen in the warm-up (NVIDIA/nvbench:nvbench/detail/measure_cold.cu has 0.75 of the default clock)."""
MOST_FOREIGN_CPU = 0.25
"""Share of this process's cores that others may use."""
MOST_IDLE_CPU = 0.05
"""Share of these cores that workers may use while another one is timed. Less than of others, as it slows down one side only."""
THROTTLED = {
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "thermal slowdown by the hardware",
    pynvml.nvmlClocksThrottleReasonSwThermalSlowdown: "thermal slowdown by the driver",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "power brake",
}
CAPPED = pynvml.nvmlClocksThrottleReasonSwPowerCap
"""The normal state of a large GPU at work: remarked, no reason to repeat a block."""


@dataclass(frozen=True)
class Findings:
    """Of one block."""

    disturbances: tuple[str, ...]
    """Reasons to run it again."""
    remarks: tuple[str, ...]
    sm_mhz: int | None = None
    """Median clock of the GPU's multiprocessors."""


class Watch(Protocol):
    """Looks at the machine around the runs of a block."""

    def warmed(self) -> None:
        """After each run of the warm-up: what is normal."""

    def begin(self) -> None: ...

    def look(self) -> None:
        """After each run of the block."""

    def end(self) -> Findings: ...


@dataclass
class CpuWatch:
    """CPU time that processes other than evbench used, on the cores that evbench may use (Linux; proc(5)).

    And what workers used when it was not their turn, with the processes that they have started: what goes on behind the answer of its own
    side slows the other side down.
    """

    pids: Callable[[], Sequence[int]]
    """The workers. Their time, that of what they have started, and that of this process are not foreign."""
    disturbs: bool
    """Whether it is a reason to run a block again. Where a GPU is measured it is only remarked."""
    beside: Callable[[], Sequence[int]] = tuple
    """Processes of the same command that measure on other devices: not foreign either."""
    _start: tuple[float, float, float] | None = None
    _workers: dict[int, int] = field(default_factory=dict)
    """Worker -> its clock ticks when the run before had ended."""
    _idle: int = 0
    """Clock ticks of workers that had no run, in this block."""

    def warmed(self) -> None: ...

    def begin(self) -> None:
        self._start, self._workers, self._idle = self._read(), self._worker_ticks(), 0

    def look(self) -> None:
        # One worker has a run at a time. If another one used more, that of the run is the least that can be said of it.
        now = self._worker_ticks()
        used = sorted(max(0, ticks - self._workers[pid]) for pid, ticks in now.items() if pid in self._workers)
        self._idle += sum(used[:-1])
        self._workers = now

    def end(self) -> Findings:
        end = self._read()
        if self._start is None or end is None:
            return Findings((), ())
        wall, busy, evbench_time = (after - before for before, after in zip(self._start, end, strict=True))
        whole = wall * len(os.sched_getaffinity(0))
        share, idle = max(0.0, busy - evbench_time) / whole, self._idle / os.sysconf("SC_CLK_TCK") / whole
        found = []
        if share > MOST_FOREIGN_CPU:
            found.append(f"other processes used {share:.0%} of the CPU")
        if idle > MOST_IDLE_CPU:
            found.append(f"a worker used {idle:.0%} of the CPU while the other one was timed")
        return Findings(tuple(found), ()) if self.disturbs else Findings((), tuple(found))

    def _worker_ticks(self) -> dict[int, int]:
        """Without those that have just ended. Empty where the system does not tell."""
        found = {}
        for pid in self.pids():
            with suppress(OSError):
                found[pid] = process_ticks(pid) + ticks_left(descendants(pid))
        return found

    def _read(self) -> tuple[float, float, float] | None:
        """Seconds: of the clock, of work on these cores, of evbench's processes."""
        tick = os.sysconf("SC_CLK_TCK")
        try:
            lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
            known = {os.getpid(), *self.pids(), *self.beside()}
            started = {child for pid in self.pids() for child in descendants(pid)} - known
            evbench_time = sum(map(process_ticks, known)) + ticks_left(started)
        except OSError:
            return None  # no Linux, or a worker that has just ended
        cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        counted = [[int(value) for value in line.split()[1:9]] for line in lines if line.split()[0] in cores]
        # user, nice, system, idle, iowait, irq, softirq, steal: all but idle and iowait is work, of this machine or of its host.
        busy = sum(sum(values) - values[3] - values[4] for values in counted)
        return time.monotonic(), busy / tick, evbench_time / tick


def process_ticks(pid: int) -> int:
    """Clock ticks that a process and the children it has waited for have used."""
    # The command's name, in parentheses, may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15])


def ticks_left(pids: Iterable[int]) -> int:
    """Clock ticks of those of some processes that have not ended."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            ticks += process_ticks(pid)
    return ticks


def descendants(process: int) -> list[int]:
    """Numbers of the processes that it has started, and of theirs (Linux; proc(5)). Empty where the system does not tell."""
    found: list[int] = []
    waiting = [process]
    while waiting:
        for children in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            try:
                started = [int(number) for number in children.read_text(encoding="ascii").split()]
            except OSError:  # it has just ended
                continue
            found += started
            waiting += started
    return found


@dataclass
class GpuWatch:
    """Clock, throttle reasons and processes on the GPU, as its driver reports them."""

    handle: Any
    workers: Callable[[], int]
    """How many workers live."""
    _normal: list[int] = field(default_factory=list)
    _clocks: list[int] = field(default_factory=list)
    _reasons: int = 0
    _foreign: int = 0
    """Processes of others at the start. In a container the driver counts processes that cannot be named."""

    def __post_init__(self) -> None:
        self._foreign = self._processes()

    def foreign(self) -> int:
        return self._foreign

    def warmed(self) -> None:
        self._normal += self._clock()

    def begin(self) -> None:
        self._clocks, self._reasons = [], 0

    def look(self) -> None:
        self._clocks += self._clock()
        self._reasons |= int(gpu.query(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, self.handle) or 0)

    def end(self) -> Findings:
        disturbances = [reason for bit, reason in THROTTLED.items() if self._reasons & bit]
        if self._clocks and self._normal:
            clock, normal = statistics.median(self._clocks), statistics.median(self._normal)
            if clock < LEAST_CLOCK * normal:
                disturbances.append(f"the GPU's clock was {clock:,.0f} MHz, {normal:,.0f} in the warm-up")
        if self._processes() > self.workers() + self._foreign:
            disturbances.append("another process came onto the GPU")
        remarks = ("at the power limit",) if self._reasons & CAPPED else ()
        return Findings(tuple(disturbances), remarks, int(statistics.median(self._clocks)) if self._clocks else None)

    def _clock(self) -> list[int]:
        """Of the multiprocessors, in MHz. Empty if this GPU does not report it."""
        clock = gpu.query(pynvml.nvmlDeviceGetClockInfo, self.handle, pynvml.NVML_CLOCK_SM)
        return [] if clock is None else [int(clock)]

    def _processes(self) -> int:
        return len(gpu.query(pynvml.nvmlDeviceGetComputeRunningProcesses, self.handle) or ())


@dataclass(frozen=True)
class Both:
    """Two watches as one."""

    watches: tuple[Watch, ...]

    def warmed(self) -> None:
        for watch in self.watches:
            watch.warmed()

    def begin(self) -> None:
        for watch in self.watches:
            watch.begin()

    def look(self) -> None:
        for watch in self.watches:
            watch.look()

    def end(self) -> Findings:
        found = [watch.end() for watch in self.watches]
        return Findings(
            tuple(reason for findings in found for reason in findings.disturbances),
            tuple(remark for findings in found for remark in findings.remarks),
            next((findings.sm_mhz for findings in found if findings.sm_mhz is not None), None),
        )


def watch(
    device: str, pids: Callable[[], Sequence[int]], beside: Callable[[], Sequence[int]] = tuple
) -> tuple[Watch, tuple[str, ...], float | None]:
    """The watch for a device, created before the first worker; what it sees already; and the watts that an idle GPU draws.

    Args:
        pids: the workers on it.
        beside: processes of the same command that measure on other devices.
    """
    handle = gpu.first_visible() if device == "cuda" else None
    if handle is None:
        return CpuWatch(pids, True, beside), (), None
    on_gpu = GpuWatch(handle, lambda: len(pids()))
    remarks = [f"other processes that had the GPU open before the first run: {on_gpu.foreign()}"] if on_gpu.foreign() else []
    rates = gpu.query(pynvml.nvmlDeviceGetUtilizationRates, handle)
    if rates is not None and rates.gpu:
        remarks.append(f"the GPU was busy for {rates.gpu} % of the last second before the first run")
    milliwatts = gpu.query(pynvml.nvmlDeviceGetPowerUsage, handle)
    return Both((on_gpu, CpuWatch(pids, False, beside))), tuple(remarks), None if milliwatts is None else milliwatts / 1e3
