"""Runs the blocks of a session."""

from __future__ import annotations

from evbench.results import Block, Run, ThroughputRun
from evbench.session.block_schedule import BlockSchedule
from evbench.session.config import SessionConfig
from evbench.session.live_medians import LiveMedians
from evbench.session.recorder import RunRecorder
from evbench.session.schedule import BLOCKED_RUNS, block_runs, pattern
from evbench.session.warm_up import WarmWorkers
from evbench.session.worker_pool import WorkerPool


class BlockRunner:
    """Blocks over several invocations of the workers: processes of one variant are not equally fast."""

    def __init__(self, config: SessionConfig, pool: WorkerPool, recorder: RunRecorder, workers: WarmWorkers) -> None:
        self._config, self._pool, self._recorder, self._workers = config, pool, recorder, workers
        self._invocation = max((block.invocation for block in config.journal.state.blocks), default=-1)
        self._in_invocation = 0
        """Blocks of this invocation that count."""
        self._medians = LiveMedians(config.journal.state.runs)

    def run_all(self) -> None:
        schedule = BlockSchedule(self._config)
        while (sample := schedule.next_sample()) is not None:
            self._run(sample, schedule.wanted)

    def confirm_order(self) -> None:
        """Run all of one side, then all of the other. If the ratio differs from that of the blocks, the order matters."""
        config = self._config
        if config.plan.order == "reload" or len(config.sides) < 2 or config.samples > 1:
            return
        self._workers.worker("baseline")
        if all(config.journal.state.blocked_runs(side) == BLOCKED_RUNS for side in config.sides):
            return  # before an interruption
        for side in config.sides:
            config.report(f"{side}: blocked-order confirmation")
            for _ in range(BLOCKED_RUNS):
                self._recorder.timed_run(side, "blocked", 0, None, stage_sync=False)

    def _run(self, sample: int, wanted: int) -> None:
        config, plan, watch = self._config, self._config.plan, self._config.watch
        number = len(config.journal.state.blocks)
        letters = pattern(config.sides, plan.order, config.journal.header.seed, number)
        self._restart_if_due()
        if plan.order == "interleaved":
            self._workers.worker(config.sides[0])  # starting is no part of the block
        watch.begin()
        compiled = False
        for side, stage_sync in block_runs(letters, throughput=bool(plan.throughput)):
            self._workers.worker(side)
            config.report(("throughput runs" if stage_sync is None else "timed runs") + self._medians.in_words(), wanted)
            run: Run | ThroughputRun
            if stage_sync is None:
                run = self._recorder.throughput_run(side, number)
            else:
                run = self._recorder.timed_run(side, "timed", sample, number, stage_sync=stage_sync)
                self._medians.add(side, [run])
            compiled |= bool(run.compile_counts)
            watch.look()
        found = watch.end()
        disturbances = found.disturbances + (("something was compiled or captured in a timed run",) if compiled else ())
        config.journal.add_block(Block(number, sample, self._invocation, letters, disturbances, found.remarks, found.sm_mhz))
        self._in_invocation += not disturbances

    def _restart_if_due(self) -> None:
        """End the workers if they have run their share of the blocks."""
        plan, planned = self._config.plan, self._config.planned_blocks
        share = -(-planned // plan.invocations)
        if planned % plan.invocations <= self._invocation < plan.invocations:
            share = max(1, planned // plan.invocations)  # so that six blocks are of four invocations, not of three with two each
        due = plan.order == "reload" or (plan.invocations > 1 and self._in_invocation >= share)
        if due or not len(self._pool):
            self._pool.end_all()
            self._invocation += 1
            self._in_invocation = 0
