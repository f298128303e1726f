from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pynvml
import pytest

from evbench.machine import conditions, gpu
from evbench.machine.conditions import Both, CpuWatch, Findings, GpuWatch

QUIET = Findings((), ())
TICK = os.sysconf("SC_CLK_TCK")
WORKER, SECOND, CHILD, OTHER_RANK = 4242, 4244, 4250, 4343
USER, SYSTEM, IDLE, WAITING, STOLEN, GUEST = 0, 2, 3, 4, 7, 8
"""Columns of a core in /proc/stat."""


# The CPU, as a /proc of our own tells it.


@dataclass
class Kernel:
    """Writes what a real one would. Times in seconds."""

    folder: Path
    now: float = 1000.0
    cores: dict[int, list[float]] = field(default_factory=lambda: {core: [500.0] * 10 for core in range(4)})
    used: dict[int, list[float]] = field(default_factory=dict)
    """Process -> its own time as user and as system, and the same of the children that it has waited for."""
    children: dict[int, list[int]] = field(default_factory=dict)
    """Process -> those that it has started, and that have not ended."""

    def spend(self, core: int, column: int, seconds: float) -> None:
        self.cores[core][column] += seconds
        self.write()

    def use(self, process: int, *seconds: float) -> None:
        self.used[process] = [had + more for had, more in zip(self.used[process], seconds, strict=True)]
        self.write()

    def write(self) -> None:
        lines = [f"cpu{core} " + " ".join(str(round(value * TICK)) for value in values) for core, values in self.cores.items()]
        total = "cpu  " + " ".join("99" for _ in range(10))
        (self.folder / "proc").mkdir(exist_ok=True)
        (self.folder / "proc" / "stat").write_text("\n".join((total, *lines, "intr 1 2 3", "ctxt 99")) + "\n")
        for process, times in self.used.items():
            (self.folder / "proc" / str(process)).mkdir(exist_ok=True)
            ticks = " ".join(str(round(value * TICK)) for value in times)
            # A command may be called like this, so that columns cannot be counted from the left.
            line = f"{process} (odd) 7 (name) S 1 1 1 0 -1 4194304 10 20 30 40 {ticks} 20 0 8 0 100 0 0\n"
            (self.folder / "proc" / str(process) / "stat").write_text(line)
        for process, started in self.children.items():
            thread = self.folder / "proc" / str(process) / "task" / str(process)
            thread.mkdir(parents=True, exist_ok=True)
            (thread / "children").write_text(" ".join(map(str, started)))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Four cores, of which this process may use the first and the third; and one worker."""
    made = Kernel(tmp_path, used={os.getpid(): [3.0, 1.0, 2.0, 1.0], WORKER: [50.0, 2.0, 0.0, 0.0]})
    made.write()
    monkeypatch.setattr(conditions, "Path", lambda name: tmp_path / name.lstrip("/"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2}, raising=False)
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def begun(disturbs: bool = True) -> CpuWatch:
    watch = CpuWatch(lambda: [WORKER], disturbs)
    watch.warmed()
    watch.begin()
    watch.look()
    return watch


@pytest.mark.parametrize("column", [USER, SYSTEM, STOLEN])
def test_work_of_other_processes_is_a_disturbance(column: int, kernel: Kernel) -> None:
    watch = begun()
    kernel.now += 10
    kernel.spend(0, column, 6)
    assert watch.end() == Findings(("other processes used 30% of the CPU",), ())


def test_work_of_the_same_command_on_other_devices_is_none(kernel: Kernel) -> None:
    watch = CpuWatch(lambda: [WORKER], True, lambda: [WORKER, OTHER_RANK])
    kernel.used[OTHER_RANK] = [0.0] * 4
    kernel.write()
    watch.begin()
    kernel.now += 10
    kernel.use(OTHER_RANK, 3, 0, 3, 0)
    kernel.spend(0, USER, 6)
    assert watch.end() == QUIET


def block(kernel: Kernel, idle: float, disturbs: bool = True) -> Findings:
    """Four runs of ten seconds of two workers in turn, each of which uses both cores for half of the time; the second one goes on."""
    kernel.used[SECOND] = [0.0] * 4
    kernel.write()
    watch = CpuWatch(lambda: [WORKER, SECOND], disturbs)
    watch.begin()
    for timed in (WORKER, SECOND, SECOND, WORKER):
        kernel.now += 10
        kernel.use(timed, 10, 0, 0, 0)
        kernel.spend(0, USER, 10)
        if timed == WORKER:
            kernel.use(SECOND, idle, 0, 0, 0)
            kernel.spend(2, USER, idle)
        watch.look()
    return watch.end()


def test_a_worker_that_goes_on_while_the_other_one_is_timed_is_a_disturbance(kernel: Kernel) -> None:
    assert block(kernel, 8) == Findings(("a worker used 20% of the CPU while the other one was timed",), ())


def test_a_worker_that_uses_more_than_the_one_that_is_timed_is_a_disturbance(kernel: Kernel) -> None:
    (told,) = block(kernel, 16).disturbances
    assert told.startswith("a worker used 25% of the CPU")


@pytest.mark.parametrize("owner", [WORKER, SECOND])
def test_what_a_worker_has_started_is_the_workers(owner: int, kernel: Kernel) -> None:
    """In the turn of its own side it is no foreign process, and in that of the other one it disturbs."""
    kernel.used |= {SECOND: [0.0] * 4, CHILD: [7.0] * 4}
    kernel.children = {owner: [CHILD]}
    kernel.write()
    watch = CpuWatch(lambda: [WORKER, SECOND], True)
    watch.begin()
    for timed in (WORKER, SECOND):
        kernel.now += 10
        kernel.use(timed, 6, 0, 0, 0)
        kernel.spend(0, USER, 6)
        if timed == WORKER:
            kernel.use(CHILD, 6, 0, 0, 0)
            kernel.spend(2, USER, 6)
        watch.look()
    told = ("a worker used 15% of the CPU while the other one was timed",)
    assert watch.end() == (QUIET if owner == WORKER else Findings(told, ()))


def test_what_a_worker_has_started_is_counted_once_where_several_ranks_measure(kernel: Kernel) -> None:
    """All that the ranks of a machine have started is beside, with what this rank's worker has."""
    kernel.used[CHILD] = [0.0] * 4
    kernel.children = {WORKER: [CHILD]}
    kernel.write()
    watch = CpuWatch(lambda: [WORKER], True, lambda: [WORKER, CHILD])
    watch.begin()
    kernel.now += 10
    kernel.use(CHILD, 6, 0, 0, 0)
    kernel.spend(0, USER, 6)
    kernel.spend(2, USER, 6)  # somebody else's
    assert watch.end() == Findings(("other processes used 30% of the CPU",), ())


def test_what_a_worker_has_started_and_waited_for_is_counted_once(kernel: Kernel) -> None:
    kernel.used[CHILD] = [7.0] * 4
    kernel.children = {WORKER: [CHILD]}
    kernel.write()
    watch = begun()
    kernel.now += 10
    kernel.use(CHILD, 6, 0, 0, 0)
    kernel.spend(0, USER, 6)
    kernel.children[WORKER] = []
    kernel.use(WORKER, 0, 0, 34, 0)  # all that the child has used
    watch.look()
    assert watch.end() == QUIET


def test_what_a_worker_does_in_its_own_turn_disturbs_nobody(kernel: Kernel) -> None:
    assert block(kernel, 2) == QUIET, "5 %, as of threads that wait a moment for more work"
    assert block(kernel, 8, disturbs=False) == Findings((), ("a worker used 20% of the CPU while the other one was timed",))


def test_a_worker_that_is_started_anew_within_a_block_is_no_idle_one(kernel: Kernel) -> None:
    alive = [WORKER]
    watch = CpuWatch(lambda: alive, disturbs=True)
    watch.begin()
    kernel.used[SECOND] = [30.0, 0.0, 0.0, 0.0]
    kernel.write()
    alive[:] = [SECOND]
    kernel.now += 10
    watch.look()
    assert watch._idle == 0


def test_beside_a_gpu_it_is_only_remarked(kernel: Kernel) -> None:
    watch = begun(disturbs=False)
    kernel.now += 10
    kernel.spend(0, USER, 6)
    assert watch.end() == Findings((), ("other processes used 30% of the CPU",))


@pytest.mark.parametrize(
    ("core", "column", "seconds"),
    [(0, USER, 5), (1, USER, 10), (0, IDLE, 10), (0, WAITING, 10), (0, GUEST, 10)],
    ids=["a quarter of both cores", "a core that is not ours", "idle", "waiting for a disk", "a guest, which is counted as user already"],
)
def test_what_cannot_disturb_is_not_told(core: int, column: int, seconds: float, kernel: Kernel) -> None:
    watch = begun()
    kernel.now += 10
    kernel.spend(core, column, seconds)
    assert watch.end() == QUIET


@pytest.mark.parametrize(
    ("process", "seconds"),
    [(WORKER, (14, 4, 0, 0)), (WORKER, (0, 0, 14, 4)), (os.getpid(), (14, 4, 0, 0)), (os.getpid(), (0, 0, 14, 4))],
    ids=["a worker", "what a worker started", "this process", "a worker that has ended"],
)
def test_our_own_work_is_not_told(process: int, seconds: tuple[float, ...], kernel: Kernel) -> None:
    watch = begun()
    kernel.now += 10
    kernel.use(process, *seconds)
    kernel.spend(0, USER, 10)
    kernel.spend(2, USER, 10)
    assert watch.end() == QUIET


def test_a_block_is_not_blamed_for_what_was_before_it(kernel: Kernel) -> None:
    watch = begun()
    kernel.now += 10
    kernel.spend(0, USER, 10)
    watch.begin()
    kernel.now += 10
    assert watch.end() == QUIET


@pytest.mark.parametrize("lost", ["stat", f"{WORKER}/stat"])
@pytest.mark.parametrize("meanwhile", [True, False])
def test_nothing_is_known_where_the_system_does_not_tell(lost: str, meanwhile: bool, kernel: Kernel) -> None:
    watch = CpuWatch(lambda: [WORKER], disturbs=True)
    if meanwhile:
        watch.begin()
        kernel.now += 10
        kernel.spend(0, USER, 10)
    (kernel.folder / "proc" / lost).unlink()
    if not meanwhile:
        watch.begin()
    assert watch.end() == QUIET


# The CPU, as this machine tells it.

SPIN = """
import time
input()
while time.process_time() < 0.4:
    pass
print("spun", flush=True)
input()
"""


@pytest.fixture
def one_core() -> Iterator[None]:
    """One process keeps all of it busy."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


linux = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells what other processes use")


@linux
@pytest.mark.usefixtures("one_core")
def test_a_busy_process_is_really_noticed_and_a_worker_is_really_counted_as_our_own() -> None:
    with subprocess.Popen([sys.executable, "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdin is not None
        assert busy.stdout is not None
        known, unknown = CpuWatch(lambda: [busy.pid], disturbs=True), CpuWatch(list, disturbs=True)
        unknown.begin()
        before = own_seconds(known), own_seconds(unknown)
        busy.stdin.write("\n")
        busy.stdin.flush()
        assert busy.stdout.readline() == "spun\n"
        after = own_seconds(known), own_seconds(unknown)
        found = unknown.end()
        busy.kill()
    (told,) = found.disturbances
    assert told.startswith("other processes used ")
    # What else this machine does meanwhile is not known here, so that the watch that knows the worker may find something too.
    assert after[0] - before[0] > 0.2
    assert after[1] - before[1] < 0.1


def own_seconds(watch: CpuWatch) -> float:
    read = watch._read()
    assert read is not None
    return read[2]


# The GPU, as a driver of our own tells it.


@dataclass
class Driver:
    clock: int = 1980
    reasons: int = 0
    processes: int = 0
    busy: int = 0
    milliwatts: int | None = 75_500
    workers: int = 0

    def draw(self, handle: object) -> int:
        if self.milliwatts is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return self.milliwatts

    def utilization(self, handle: object) -> Any:
        return type("Utilization", (), {"gpu": self.busy, "memory": 0})


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", lambda handle, domain: {pynvml.NVML_CLOCK_SM: made.clock}[domain])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCurrentClocksThrottleReasons", lambda handle: made.reasons)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda handle: [object()] * made.processes)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", made.utilization)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", made.draw)
    return made


def watched_block(driver: Driver, *clocks: int, warm: tuple[int, ...] = (1980, 1980, 1980)) -> GpuWatch:
    """Warmed up, and after the last run of a block."""
    watch = GpuWatch("handle", lambda: driver.workers)
    for driver.clock in warm:
        watch.warmed()
    watch.begin()
    for driver.clock in clocks:
        watch.look()
    return watch


def told_of(watch: GpuWatch) -> Findings:
    """Beside the clock."""
    return dataclasses.replace(watch.end(), sm_mhz=None)


def test_a_gpu_left_in_peace_is_quiet_and_its_clock_is_known(driver: Driver) -> None:
    assert watched_block(driver, 1980, 1965, 1980).end() == Findings((), (), 1980)


def test_a_clock_far_below_that_of_the_warm_up_is_a_disturbance(driver: Driver) -> None:
    assert told_of(watched_block(driver, 1400, 1980, 1401)) == Findings(("the GPU's clock was 1,401 MHz, 1,980 in the warm-up",), ())


@pytest.mark.parametrize(
    ("clocks", "warm"),
    [((1485, 1485), (1980, 1980)), ((1980, 300, 1980), (1980, 1980)), ((1980, 1980), (300, 1980, 1980)), ((900,), (300, 900, 1000))],
    ids=["three quarters", "low once", "low once in the warm-up", "low, as in the warm-up"],
)
def test_other_clocks_are_not_told(clocks: tuple[int, ...], warm: tuple[int, ...], driver: Driver) -> None:
    assert told_of(watched_block(driver, *clocks, warm=warm)) == QUIET


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (pynvml.nvmlClocksThrottleReasonHwThermalSlowdown, "thermal slowdown by the hardware"),
        (pynvml.nvmlClocksThrottleReasonSwThermalSlowdown, "thermal slowdown by the driver"),
        (pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown, "power brake"),
    ],
)
def test_each_reason_to_throttle_is_a_disturbance_though_seen_once(reason: int, told: str, driver: Driver) -> None:
    watch = watched_block(driver, 1980)
    driver.reasons = reason
    watch.look()
    driver.reasons = 0
    watch.look()
    assert told_of(watch) == Findings((told,), ())
    watch.begin()
    watch.look()
    assert told_of(watch) == QUIET, "it was of the block before"


def test_several_reasons_are_all_told(driver: Driver) -> None:
    driver.reasons = pynvml.nvmlClocksThrottleReasonSwThermalSlowdown | pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown
    assert watched_block(driver, 990).end().disturbances == (
        "thermal slowdown by the driver",
        "power brake",
        "the GPU's clock was 990 MHz, 1,980 in the warm-up",
    )


def test_the_power_limit_is_only_remarked(driver: Driver) -> None:
    driver.reasons = pynvml.nvmlClocksThrottleReasonSwPowerCap
    assert told_of(watched_block(driver, 1980)) == Findings((), ("at the power limit",))


def test_an_idle_gpu_and_a_clock_set_by_somebody_are_not_told(driver: Driver) -> None:
    driver.reasons = pynvml.nvmlClocksThrottleReasonGpuIdle | pynvml.nvmlClocksThrottleReasonApplicationsClocksSetting
    assert told_of(watched_block(driver, 1980)) == QUIET


@pytest.mark.parametrize(
    ("before", "workers", "after", "told"),
    [
        (0, 2, 2, ()),
        (3, 2, 5, ()),
        (0, 2, 3, ("another process came onto the GPU",)),
        (3, 1, 6, ("another process came onto the GPU",)),
        (3, 2, 4, ()),
    ],
    ids=["only workers", "those that were there", "a new one", "two beside those that were there", "one has left"],
)
def test_a_process_that_comes_onto_the_gpu_is_a_disturbance(
    before: int, workers: int, after: int, told: tuple[str, ...], driver: Driver
) -> None:
    driver.processes = before
    watch = watched_block(driver, 1980)
    driver.workers, driver.processes = workers, after
    assert watch.foreign() == before
    assert told_of(watch) == Findings(told, ())


# Both, and which of them watches.


@dataclass
class Recorder:
    findings: Findings
    calls: list[str] = field(default_factory=list)

    def warmed(self) -> None:
        self.calls.append("warmed")

    def begin(self) -> None:
        self.calls.append("begin")

    def look(self) -> None:
        self.calls.append("look")

    def end(self) -> Findings:
        self.calls.append("end")
        return self.findings


def test_two_watches_are_one() -> None:
    first, second = Recorder(Findings(("hot",), ("capped",))), Recorder(Findings(("slow", "shared"), ("busy",)))
    both = Both((first, second))
    both.warmed()
    both.begin()
    both.look()
    both.look()
    assert both.end() == Findings(("hot", "slow", "shared"), ("capped", "busy"))
    assert first.calls == second.calls == ["warmed", "begin", "look", "look", "end"]


def test_on_a_cpu_other_processes_disturb() -> None:
    watch, remarks, watts = conditions.watch("cpu", list)
    assert isinstance(watch, CpuWatch)
    assert watch.disturbs
    assert (remarks, watts) == ((), None)


def test_on_a_gpu_both_are_watched(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "first_visible", lambda: "handle")
    watch, remarks, watts = conditions.watch("cuda", list)
    assert isinstance(watch, Both)
    on_gpu, on_cpu = watch.watches
    assert isinstance(on_gpu, GpuWatch)
    assert isinstance(on_cpu, CpuWatch)
    assert not on_cpu.disturbs
    assert (remarks, watts) == ((), 75.5)


def test_a_gpu_that_others_use_already_is_remarked(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "first_visible", lambda: "handle")
    driver.processes, driver.busy, driver.milliwatts = 2, 37, None
    _, remarks, watts = conditions.watch("cuda", list)
    assert remarks == (
        "other processes that had the GPU open before the first run: 2",
        "the GPU was busy for 37 % of the last second before the first run",
    )
    assert watts is None, "a driver that does not tell the power is no reason to stop"
