"""What the parts of a session share: its variants, its journal, and how workers are started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from evbench.choices import Variant
from evbench.machine.conditions import Watch
from evbench.results import Activation, Build, Energy, Limits, Plan, Run, Side, ThroughputRun, Trace, Workload
from evbench.session.caches import CacheSource
from evbench.session.journal import Journal
from evbench.session.outputs import OutputSource
from evbench.session.progress import ProgressListener
from evbench.verdict.blocks import MOST_DISTURBED
from evbench.verdict.clusters import clusters
from evbench.worker.messages import ThroughputRequest, TimedRunRequest, TraceSpec


class SessionWorker(OutputSource, CacheSource, Protocol):
    """A worker, as a session needs it."""

    def built(self) -> Build: ...

    def timed_run(self, request: TimedRunRequest) -> Run: ...

    def throughput_run(self, request: ThroughputRequest) -> ThroughputRun: ...

    def limits(self) -> Limits: ...

    def gather_activations(self) -> Callable[[], tuple[Activation, ...]]: ...

    def energy(self, seconds: float, idle_watts: float | None) -> Energy | None: ...

    def profile(self, spec: TraceSpec) -> Trace: ...


@dataclass(frozen=True)
class SessionConfig:
    """One session. Its journal has the plan and the workloads, and all events so far, also those before an interruption."""

    variants: Mapping[Side, Variant]
    journal: Journal
    start: Callable[[Side], AbstractContextManager[SessionWorker]]
    """Starts the worker of a side; leaving the context ends it."""
    watch: Watch
    listener: ProgressListener
    fingerprint: str = ""
    """Of the weights of an earlier result: of the other side, or of the same comparison that is measured again. Empty if there is none."""
    energy: bool = True
    """Whether energy is measured, where there is a counter."""
    idle_watts: float | None = None
    """Power of the idle GPU."""

    @property
    def plan(self) -> Plan:
        return self.journal.header.plan

    @property
    def sides(self) -> tuple[Side, ...]:
        return tuple(self.variants)

    @property
    def samples(self) -> int:
        """How many each workload has."""
        (count,) = {len(self.workload(side).samples) for side in self.variants}
        return count

    @property
    def clusters(self) -> int:
        """How many of the samples are independent of each other."""
        return len(set(clusters(self.workload(self.sides[0]).samples)))

    @property
    def planned_blocks(self) -> int:
        """The fewest blocks that are run: the same number for each sample."""
        return -(-self.plan.blocks // self.samples) * self.samples

    @property
    def compares_variants(self) -> bool:
        """Whether this session measures two variants of one model, of which something may be claimed."""
        return len(self.sides) == 2 and self.is_of_one_model

    @property
    def is_of_one_model(self) -> bool:
        """Whether there is one network, whose physical floors are those of each side."""
        return len({self.workload(side).model for side in self.sides}) == 1

    def workload(self, side: Side) -> Workload:
        return self.journal.header.workloads[side]

    @property
    def redone(self) -> int:
        """Disturbed blocks that others are run for.

        0 on a machine that disturbs so many that it is not fit to measure on: the result is then INVALID, and nothing is run again.
        """
        blocks = self.journal.state.blocks
        disturbed = sum(bool(block.disturbances) for block in blocks)
        return disturbed if disturbed <= max(1, MOST_DISTURBED * max(self.planned_blocks, len(blocks))) else 0

    def report(self, activity: str, wanted: int = 0) -> None:
        """Report what is done now, how many blocks have ended, and how many there will be.

        Args:
            wanted: blocks that have to count, if more than planned.
        """
        blocks = len(self.journal.state.blocks)
        self.listener.step(activity, blocks, max(blocks, max(self.planned_blocks, wanted) + self.redone))
