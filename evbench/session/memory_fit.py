"""Whether the workers, and the reference next to them, fit into the memory of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from evbench import results_upgrade
from evbench.errors import UserError, nearest
from evbench.machine import machine
from evbench.pipelines.weights import parameter_count
from evbench.results import Machine, RunOrder, Workload

ORDERS = ("auto", "interleaved", "reload")
"""Values of `--order`."""
BYTES_PER_VALUE = {"float64": 8, "float32": 4, "bfloat16": 2}
ROOM_PER_WORKER = 3 * 2**29
"""Bytes besides the weights: libraries, activations, compiler. A worker of the small models has a peak of 1.1 GB."""


def choose_order(option: str, workloads: Sequence[Workload], drafters: Sequence[Workload | None] = ()) -> RunOrder:
    """The order of runs: `auto` is interleaved if all workers fit into memory at the same time.

    Args:
        option: auto, interleaved or reload.
        workloads: of each worker.
        drafters: of another model that drafts in each worker, None where none does. Empty: in none.

    Raises:
        UserError: the option is unknown, not even one worker fits, or they do not all fit where they have to.
    """
    if option not in ORDERS:
        now = results_upgrade.ORDERS.get(option.replace("-", " "))
        raise UserError(f"unknown --order {option!r}; {nearest(option, list(ORDERS)) if now is None else f'it is now called {now}'}")
    counts = [parameter_count(one) + parameters_of_drafter(other) for one, other in zip_longest(workloads, drafters)]
    weights = [count * BYTES_PER_VALUE[workload.dtype] for count, workload in zip(counts, workloads, strict=True)]
    most = max(range(len(weights)), key=lambda worker: weights[worker])
    present, place = require_room(counts[most], workloads[most].dtype, workloads[0].device)
    if present is None:
        return "reload" if option == "reload" else "interleaved"
    fit = sum(weights) + len(workloads) * ROOM_PER_WORKER <= present
    if option == "interleaved" and not fit:
        each = "each" if len(set(weights)) == 1 else "at most"
        size = _size(counts[most], workloads[most].dtype)
        raise UserError(f"two workers with {size} {each} do not fit into the {present / 2**30:.0f} GiB of {place}; use --order reload")
    return "reload" if option == "reload" or (not fit and len(workloads) > 1) else "interleaved"


def require_room(parameters: int, dtype: str, device: str) -> tuple[int | None, str]:
    """How many bytes of memory there are for so many weights, None if that is not known; and what has them.

    Raises:
        UserError: the weights do not fit.
    """
    here = machine.read(device)
    present, place = (here.gpu.memory_bytes, here.gpu.name) if here.gpu else (here.memory_bytes, "this machine")
    needed = parameters * BYTES_PER_VALUE[dtype]
    if present is not None and needed > present:
        size = _size(parameters, dtype)
        raise UserError(f"{size} need {needed / 2**30:.0f} GiB, {place} has {present / 2**30:.0f}; use a smaller --preset")
    return present, place


def parameters_of_drafter(drafter: Workload | None) -> int:
    """Of another model that drafts in a worker. 0 if none does."""
    return 0 if drafter is None else parameter_count(drafter)


def fitting(workload: Workload, here: Machine, drafter: Workload | None = None) -> int | None:
    """How many workers fit into the memory of this machine at the same time. None if it is not known how much it has.

    Args:
        drafter: of another model that drafts in each.
    """
    present = here.gpu.memory_bytes if here.gpu else here.memory_bytes
    each = (parameter_count(workload) + parameters_of_drafter(drafter)) * BYTES_PER_VALUE[workload.dtype] + ROOM_PER_WORKER
    return None if present is None else present // each


def _size(parameters: int, dtype: str) -> str:
    return f"{parameters / 1e9:.1f} billion {dtype} weights"


def reference_dtype(order: RunOrder, workload: Workload, drafting: int = 0) -> str | None:
    """The finest type in which the reference fits next to the workers that are live then. None if it fits in none.

    Args:
        drafting: weights of the other models that draft in these workers.
    """
    here = machine.read(workload.device)
    parameters = parameter_count(workload)
    present = here.gpu.memory_bytes if here.gpu else here.memory_bytes
    workers = 0 if order == "reload" else (2 * parameters + drafting) * BYTES_PER_VALUE[workload.dtype] + 2 * ROOM_PER_WORKER
    for dtype in ("float64", "float32"):
        # It is built in the type of the workload first, so that random weights are the same.
        needed = parameters * (BYTES_PER_VALUE[dtype] + BYTES_PER_VALUE[workload.dtype]) + ROOM_PER_WORKER
        if present is None or workers + needed <= present:
            return dtype
    return None
