"""Workers for self-tests of the output checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evbench.choices import Variant
from evbench.machine import machine
from evbench.results import Plan, Workload
from evbench.session.compare import exclusive_device
from evbench.session.mutation import Laboratory
from evbench.session.progress import ProgressListener
from evbench.session.reference_worker import reference_for
from evbench.worker.client import Worker
from evbench.worker.messages import BuildRequest


@contextmanager
def laboratory(workload: Workload, plan: Plan, folder: Path, wait: bool, listener: ProgressListener) -> Iterator[Laboratory]:
    """What planted faults are tried with. Workers log into the folder. No other evbench uses the device meanwhile."""
    here = machine.read(workload.device)
    fingerprints: list[str] = []

    @contextmanager
    def start(variant: Variant, mutant: str | None) -> Iterator[Worker]:
        with Worker(BuildRequest(variant, workload, mutant=mutant), folder / "worker-subject.log") as worker:
            fingerprints.append(worker.built().weights_fingerprint)
            yield worker

    with exclusive_device(workload.device, wait, listener):
        yield Laboratory(workload, start, lambda: reference_for(workload, plan, fingerprints[-1], here, folder), listener.step)
