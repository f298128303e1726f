"""The trace of one variant, recorded without timed runs."""

from __future__ import annotations

from evbench.choices import Variant
from evbench.results import DEADLINE, Trace, Workload
from evbench.session.compare import exclusive_device
from evbench.session.progress import ProgressListener
from evbench.session.session_folder import TRY_AGAIN, make_folder, writing
from evbench.worker.client import Worker
from evbench.worker.messages import BuildRequest, TraceSpec


def record_trace(
    variant: Variant, workload: Workload, spec: TraceSpec, wait: bool, listener: ProgressListener, deadline: float = DEADLINE
) -> Trace:
    """Record one variant. Its worker logs into the folder of the trace.

    Args:
        deadline: seconds that it may take for one answer.

    Raises:
        UserError: the input, the weights or the folder turn out to be unusable, the trace would be too large, or another evbench holds
            the device and this one is not to wait.
        WorkerDied: the worker crashed.
    """
    folder = spec.file.parent
    with writing(folder, TRY_AGAIN), exclusive_device(workload.device, wait, listener, [variant]):
        make_folder(folder, resumable=False)
        listener.step("start the worker, build the model", 0, 1)
        with Worker(BuildRequest(variant, workload), folder / "worker.log", deadline=deadline) as worker:
            worker.built()
            listener.step(f"trace {spec.new_tokens} tokens", 0, 1)
            return worker.profile(spec)
