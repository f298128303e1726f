"""Workers for self-tests of the output checks."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from evbench.choices import Variant
from evbench.machine import cores, machine
from evbench.pipelines import weights
from evbench.pipelines.registry import gpus
from evbench.results import Machine, Plan, Workload
from evbench.session.compare import exclusive_device
from evbench.session.memory_fit import fitting
from evbench.session.mutation import Laboratory
from evbench.session.progress import ProgressListener
from evbench.session.reference_outputs import Reference
from evbench.session.reference_worker import reference_for
from evbench.worker.client import Worker
from evbench.worker.messages import BuildRequest

CORES = 2
"""That a worker has at least: one for its calls, and one for what decodes, compiles or computes."""
MOST = 6
"""Workers at the same time. With more, the thread that compares their outputs is what they wait for."""
THREADS = ("OMP_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")
"""Variables for how many cores torch and its compiler use."""


@contextmanager
def laboratory(
    variant: Variant, workload: Workload, plan: Plan, folder: Path, wait: bool, listener: ProgressListener
) -> Iterator[Laboratory]:
    """What faults are tried with that are planted into the variant. Workers log into the folder. No other evbench uses its devices."""
    here = machine.read(workload.device)
    # Of several workers on several GPUs each would wait for its turn on each of them.
    drafter = weights.drafting(variant.choices(), workload)
    at_once = workers_at_once(workload, here, drafter) if gpus(variant.choices()) == 1 else 1
    fingerprints: list[str] = []
    live = LiveWorkers()
    logs: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for number in range(at_once):
        logs.put(folder / f"worker-subject-{number}.log")

    @contextmanager
    def start(variant: Variant, mutant: str | None, sharing: int) -> Iterator[Worker]:
        log = logs.get()  # of a worker that has ended
        try:
            build, deadline = BuildRequest(variant, workload, mutant=mutant), plan.deadline_seconds
            with Worker(build, log, share_of_cores(sharing), deadline) as worker, live.holding(worker):
                fingerprints.append(worker.built().weights_fingerprint)
                yield worker
        finally:
            logs.put(log)

    def reference(losing: Mapping[str, str]) -> Reference:
        return reference_for(workload, plan, fingerprints[-1], here, folder, losing=losing)

    with exclusive_device(workload.device, wait, listener, [variant]):
        yield Laboratory(workload, start, live.end, reference, listener.step, at_once)


def workers_at_once(workload: Workload, here: Machine, drafter: Workload | None = None) -> int:
    """As many as there are cores and memory for. One at least; and no more where it is not known how much memory there is."""
    return max(1, min(MOST, here.cores // CORES, fitting(workload, here, drafter) or 1))


def share_of_cores(workers: int) -> dict[str, str]:
    """Environment of each of so many workers. One alone has all cores, as in a comparison."""
    return {} if workers == 1 else dict.fromkeys(THREADS, str(cores.usable() // workers))


class LiveWorkers:
    """Workers that several threads wait for, each for its own, and that another thread may end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: set[Worker] = set()
        self._ended = False

    @contextmanager
    def holding(self, worker: Worker) -> Iterator[None]:
        with self._lock:
            self._live.add(worker)
            if self._ended:
                worker.kill()
        try:
            yield
        finally:
            with self._lock:
                self._live.remove(worker)

    def end(self) -> None:
        """Kill them, and each that is started later."""
        with self._lock:
            self._ended = True
            for worker in self._live:
                worker.kill()
