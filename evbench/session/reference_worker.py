"""The reference: the same weights in higher precision, in a worker of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evbench.results import Machine, Plan, Workload
from evbench.session import references
from evbench.session.memory_fit import reference_dtype
from evbench.session.reference_outputs import Reference
from evbench.variants.named import REFERENCE
from evbench.worker.capture_outputs import CapturedOutputs
from evbench.worker.client import Worker
from evbench.worker.messages import BuildRequest


def reference_for(workload: Workload, plan: Plan, fingerprint: str, here: Machine, folder: Path) -> Reference:
    """What both sides are compared with. Its worker logs into the folder.

    Args:
        fingerprint: of the weights of both sides.
    """
    dtype = reference_dtype(plan.order, workload)

    @contextmanager
    def start() -> Iterator[_Building]:
        with Worker(BuildRequest(REFERENCE, workload, dtype=dtype), folder / "worker-reference.log") as worker:
            yield _Building(worker)

    return Reference(dtype, references.identity(fingerprint, dtype, workload.device, here.packages), start)


class _Building:
    """A worker that may not be built yet when it is asked for something."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._built = worker, False

    def capture_reference(self, sample: int, file: Path, baseline: CapturedOutputs) -> None:
        if not self._built:
            self._worker.built()
            self._built = True
        self._worker.capture_reference(sample, file, baseline)
