"""Workers that are warm: started, called once, and run until they are steady."""

from __future__ import annotations

from evbench.results import STAGES, Run, Side, Workload
from evbench.session.config import SessionConfig, SessionWorker
from evbench.session.recorder import RunRecorder
from evbench.session.worker_pool import WorkerPool
from evbench.verdict import blocks as verdict_blocks
from evbench.verdict.statistics import minimum_detectable_effect, unsteady_times

STEADY_RUNS = 5
"""The last runs of a warm-up, which must be steady."""
QUIET_RUNS = 3
"""The last runs of a warm-up that is abandoned, in which nothing may be compiled or captured: in timed runs it would spoil blocks."""
MOST_COMPILING = 60
"""Runs of a warm-up that goes on because something is still compiled or captured."""
COMPILING = "something was still compiled or captured"
MOST_TOLD = 10.0
"""Difference beyond which none is told, as a share."""


class WarmWorkers:
    """Warm workers on request. Where only one fits into memory, starting one ends the other."""

    def __init__(self, config: SessionConfig, pool: WorkerPool, recorder: RunRecorder) -> None:
        self._config, self._pool, self._recorder = config, pool, recorder
        self._predicted = self._raised = False

    def worker(self, side: Side) -> SessionWorker:
        """The live worker of a side, warm."""
        if side not in self._pool:
            sides = self._config.sides if self._config.plan.order == "interleaved" else (side,)
            self._pool.end_all()
            self._pool.start(sides)
            for starting in sides:
                self._config.report(f"{starting}: first call")
                self._recorder.timed_run(starting, "first", 0, None, stage_sync=True)
            self._warm_up(sides)
            self._predict()
        return self._pool[side]

    @property
    def room(self) -> bool:
        """Whether one more worker fits into memory beside those of the session."""
        return self._config.plan.order != "reload"

    def free(self) -> None:
        """Make room in memory for one more worker: no worker of the session is left."""
        self._pool.end_all()

    def report(self, activity: str) -> None:
        self._config.report(activity)

    def _warm_up(self, sides: tuple[Side, ...]) -> None:
        """Until steady, for each shape of input: what is compiled for one is not for another. Every other run is without stage
        synchronization, as in blocks.
        """
        self._say_raised()
        for sample in first_of_each_shape(*(self._config.workload(side) for side in sides)):
            runs: dict[Side, list[Run]] = {side: [] for side in sides}
            waiting = list(sides)
            while waiting:
                waiting = [side for side in waiting if not self._is_done(side, runs[side])]
                for side in waiting:
                    self._config.report(f"{side}: warm-up, run {len(runs[side]) + 1}")
                    stage_sync = len(runs[side]) % 2 == 0
                    runs[side].append(self._recorder.timed_run(side, "warmup", sample, None, stage_sync=stage_sync))
                    self._config.watch.warmed()
        for side in sides if self._config.plan.throughput else ():
            self._config.report(f"{side}: warm-up of throughput runs")
            self._recorder.throughput_run(side, None)
            self._config.watch.warmed()

    def _is_done(self, side: Side, runs: list[Run]) -> bool:
        """Whether a warm-up is steady, or abandoned because it takes too long."""
        reasons, plan = unsteady_reasons(runs), self._config.plan
        if not reasons:
            return True
        quiet = len(runs) >= MOST_COMPILING or not any(run.compile_counts for run in runs[-QUIET_RUNS:])
        enough = quiet and len(runs) >= max(plan.warmup_runs, STEADY_RUNS)
        abandoned = enough or sum(run.seconds for run in runs) >= plan.warmup_seconds
        if abandoned:
            self._config.journal.add_unsteady(side, reasons)
        return abandoned

    def _say_raised(self) -> None:
        """Say once that fewer runs were asked for than can be steady."""
        if self._config.plan.warmup_runs < STEADY_RUNS and not self._raised:
            self._raised = True
            asked = f"--warmup {self._config.plan.warmup_runs} is raised to {STEADY_RUNS}"
            self._config.listener.message(f"{asked}: a warm-up is steady if its last {STEADY_RUNS} runs are")

    def _predict(self) -> None:
        """Report once which difference the planned blocks can detect."""
        config = self._config
        if self._predicted:
            return
        self._predicted = True
        scatter = [verdict_blocks.scatter(config.journal.state.runs.get(side, [])) for side in config.sides]
        known = [value for value in scatter if value is not None]
        if len(config.sides) == 1 or not known:
            return
        cv, blocks = max(known), config.planned_blocks
        invocations = blocks if config.plan.order == "reload" else min(config.plan.invocations, blocks)
        whole, stage = (minimum_detectable_effect(cv, blocks, config.clusters, invocations, family) for family in (1, len(STAGES)))
        message = f"warm-up runs vary by {cv:.1%}"
        if whole is not None and stage is not None:
            alike = ", if samples are alike" if config.samples > 1 else ""
            message += f"; {blocks} blocks detect a difference of {_difference(whole)} end-to-end in 80 of 100 comparisons{alike}"
            message += f", and of {_difference(stage)} in a stage that varies as much"
        config.listener.message(message)


def _difference(share: float) -> str:
    """On a machine that does much else, warm-up runs vary so that a figure would mean nothing."""
    return f"{share:.1%}" if share < MOST_TOLD else f"more than {MOST_TOLD:,.0%}"


def first_of_each_shape(*workloads: Workload) -> list[int]:
    """The first sample of each shape of input, of workloads of the same scenes."""
    shapes: dict[tuple[tuple[int, int], ...], int] = {}
    for index, inputs in enumerate(zip(*(workload.samples for workload in workloads), strict=True)):
        shapes.setdefault(tuple((sample.height, sample.width) for sample in inputs), index)
    return list(shapes.values())


def unsteady_reasons(runs: list[Run]) -> list[str]:
    """What keeps a warm-up from being done. Empty if it is done."""
    if len(runs) < STEADY_RUNS:
        return [f"{len(runs)} warm-up runs are too few, {STEADY_RUNS} must be steady"]
    last = runs[-STEADY_RUNS:]
    found = unsteady_times([run.seconds for run in last])
    if any(run.compile_counts for run in last):
        found.append(COMPILING)
    if len({run.reserved for run in last}) > 1:
        found.append("the memory pool still grew")
    return found
