"""Samples that cannot be used, among others that can: found before a session begins, and left out on both sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

from evbench.errors import UserError
from evbench.places import short_path
from evbench.results import Build, FailedSample, Plan, Side, Workload
from evbench.session.progress import ProgressListener
from evbench.verdict.clusters import unit

Failed = Mapping[str, tuple[FailedSample, ...]]
"""Side -> samples that it could not use."""


class Trier(Protocol):
    """A worker that tries samples."""

    def built(self) -> Build: ...

    def refusal(self, sample: int) -> str: ...


def find(
    workloads: Mapping[Side, Workload],
    start: Callable[[Side], AbstractContextManager[Trier]],
    listener: ProgressListener,
    *,
    at_once: bool,
) -> Failed:
    """Have each side load every sample once, as it will in its runs. Of a single sample nothing is looked for: its first call does that.

    Args:
        start: starts the worker of a side; leaving the context ends it.
        at_once: whether all workers fit into memory at the same time, so that they start at the same time.

    Raises:
        UserError: no sample is left that both sides can use.
    """
    if any(len(workload.samples) < 2 for workload in workloads.values()):
        return {}
    found: dict[str, tuple[FailedSample, ...]] = {}
    for sides in [tuple(workloads)] if at_once else [(side,) for side in workloads]:
        with ExitStack() as live:
            workers = {}
            for side in sides:
                listener.step(f"{side}: start a worker that tries the samples", 0, len(workloads[side].samples))
                workers[side] = live.enter_context(start(side))
            for side, worker in workers.items():
                if refused := try_each(worker, workloads[side], side, listener):
                    found[side] = refused
                    samples = workloads[side].samples
                    told = f"{len(refused)} of {len(samples)} {unit(samples)} cannot be used and are left out"
                    listener.message(f"{side}: {told}; the first: {refused[0].reason}")
    if len(_numbers(found)) == max((len(workload.samples) for workload in workloads.values()), default=0) > 0:
        raise UserError(f"no sample can be used by all sides; the first: {next(iter(found.values()))[0].reason}")
    return found


def try_each(worker: Trier, workload: Workload, who: str, listener: ProgressListener) -> tuple[FailedSample, ...]:
    """Have one worker load every sample once. Returns those that it could not use.

    Args:
        who: of whom progress is told.
    """
    worker.built()
    refused = []
    for number, sample in enumerate(workload.samples):
        listener.step(f"{who}: try the samples", number, len(workload.samples))
        if reason := worker.refusal(number):
            refused.append(FailedSample(number, short_path(sample.path), reason))
    return tuple(refused)


def without(workloads: Mapping[Side, Workload], failed: Failed) -> dict[Side, Workload]:
    """The workloads without samples that a side could not use, on both sides."""
    numbers = _numbers(failed)
    return {
        side: dataclasses.replace(
            workload, samples=tuple(sample for number, sample in enumerate(workload.samples) if number not in numbers)
        )
        for side, workload in workloads.items()
    }


def plan_of(plan: Plan, before: Sequence[object], left: Sequence[object]) -> Plan:
    """With as many blocks for each sample that is left as there would have been, where they were planned for each."""
    each, rest = divmod(plan.blocks, len(before))
    return dataclasses.replace(plan, blocks=each * len(left)) if each > 0 == rest and len(before) > len(left) else plan


def _numbers(failed: Failed) -> set[int]:
    return {one.number for some in failed.values() for one in some}
