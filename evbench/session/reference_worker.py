"""The reference: the same weights in higher precision, in a worker of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evbench.results import Machine, Plan, Workload
from evbench.session import references
from evbench.session.memory_fit import reference_dtype
from evbench.session.outputs import Reference
from evbench.variants.named import REFERENCE
from evbench.worker.client import Worker
from evbench.worker.messages import BuildRequest


def reference_for(workload: Workload, plan: Plan, fingerprint: str, here: Machine, folder: Path) -> Reference:
    """What both sides are compared with. Its worker logs into the folder.

    Args:
        fingerprint: of the weights of both sides.
    """
    dtype = reference_dtype(plan.order, workload)

    @contextmanager
    def start() -> Iterator[Worker]:
        with Worker(BuildRequest(REFERENCE, workload, dtype=dtype), folder / "worker-reference.log") as worker:
            worker.built()
            yield worker

    return Reference(dtype, references.identity(fingerprint, dtype, workload.device, here.packages), start)
