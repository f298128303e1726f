"""Runs of live workers, each written into the journal as soon as it has ended."""

from __future__ import annotations

from evbench.results import Kind, Run, Side, ThroughputRun
from evbench.session.config import SessionConfig
from evbench.session.worker_pool import WorkerPool
from evbench.worker.measure import RunPosition
from evbench.worker.messages import ThroughputRequest, TimedRunRequest


class RunRecorder:
    """Numbers the runs of all sides in the order in which they are carried out."""

    def __init__(self, config: SessionConfig, pool: WorkerPool) -> None:
        self._journal, self._plan, self._pool = config.journal, config.plan, pool
        self._turn = config.journal.state.next_turn()

    def timed_run(self, side: Side, kind: Kind, sample: int, block: int | None, *, stage_sync: bool) -> Run:
        position = RunPosition(kind, self._turn, sample, block)
        run = self._pool[side].timed_run(TimedRunRequest(position, stage_sync, self._plan.cold_files))
        self._turn += 1
        self._journal.add_run(side, run)
        return run

    def throughput_run(self, side: Side, block: int | None) -> ThroughputRun:
        run = self._pool[side].throughput_run(ThroughputRequest(self._turn, block, self._plan.throughput, self._plan.cold_files))
        self._turn += 1
        self._journal.add_throughput_run(side, run)
        return run
