"""One session, from the first worker to the last trace: a plain sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evbench.results import Activation, Energy, Side, Trace
from evbench.session import caches, outputs
from evbench.session.block_schedule import too_few_blocks
from evbench.session.blocks import BlockRunner
from evbench.session.config import SessionConfig
from evbench.session.outputs import LossyReference
from evbench.session.recorder import RunRecorder
from evbench.session.reference_outputs import Reference
from evbench.session.side_results import Untimed, side_results
from evbench.session.warm_up import WarmWorkers
from evbench.session.worker_pool import WorkerPool
from evbench.traces import chrome
from evbench.worker.messages import TraceSpec


@dataclass(frozen=True)
class References:
    """What outputs are compared with."""

    exact: Reference
    lossy: Mapping[Side, LossyReference]
    """Of sides with lossy choices, beside it."""


ENERGY_SECONDS = 4.0
"""For which samples are repeated while the GPU's energy counter runs."""


def run_session(
    config: SessionConfig, folder: Path, references: Callable[[str], References] | None, checkpoint: Callable[[Untimed], None]
) -> Untimed:
    """Run blocks, then all that is untimed. The timed runs are in the journal.

    Args:
        folder: for the traces.
        references: fingerprint of the weights -> what outputs are compared with. None if outputs are not compared: one side alone,
            or two models.
        checkpoint: called before outputs are compared and before traces are recorded, because what fails there must not cost what
            was measured.
    """
    if len(config.sides) == 2 and (few := too_few_blocks(config.plan.blocks, config.clusters, config.plan.precision)):
        config.listener.message(few)
    if (planned := config.planned_blocks) != config.plan.blocks:
        config.listener.message(f"{config.plan.blocks} blocks are raised to {planned}: each of {config.samples} samples has as many")
    with WorkerPool(config) as pool:
        recorder = RunRecorder(config, pool)
        workers = WarmWorkers(config, pool, recorder)
        blocks = BlockRunner(config, pool, recorder, workers)
        blocks.run_all()
        blocks.confirm_order()
        checkpoint(Untimed())
        limits, cache_checks, activations = None, {}, _Activations(config, workers)
        for side in config.sides:
            if limits is None and config.is_of_one_model:
                config.report("rates of this machine")
                limits = workers.worker(side).limits()
            if config.compares_variants:
                worker = workers.worker(side)
                config.report(f"{side}: seen against unseen input")
                (other,) = (one for one in config.sides if one != side)
                ahead = caches.most_ahead(config.journal.state.runs[side], config.journal.state.runs[other])
                cache_checks[side] = caches.check(worker, config.journal.header.seed, ahead)
            if not workers.room:  # else there is time while the reference is built
                activations.gather(side)
        untimed = Untimed(limits, cache_checks)
        if references is not None and len(config.sides) == 2:
            answers = {side: measured.tokens_by_sample() for side, measured in side_results(config, untimed).items()}
            target = references(_fingerprint(config))
            workload = config.workload("baseline")
            compared = outputs.compare(workers, target.exact, answers, workload, activations.gather_all, target.lossy)
            untimed = dataclasses.replace(untimed, activations=activations.found, outputs=compared)
            checkpoint(untimed)
        activations.gather_all()
        untimed = dataclasses.replace(untimed, activations=activations.found)
        for side in config.sides:
            energy, trace = _energy(config, workers, side), _trace(config, workers, side, folder)
            untimed = dataclasses.replace(
                untimed,
                energies=untimed.energies | {side: energy},
                traces=untimed.traces | ({} if trace is None else {side: trace}),
            )
    return untimed


class _Activations:
    """Evidence of the choices of each side, gathered once."""

    def __init__(self, config: SessionConfig, workers: WarmWorkers) -> None:
        self._config, self._workers = config, workers
        self.found: dict[Side, tuple[Activation, ...]] = {}

    def gather(self, *sides: Side) -> None:
        """Of several sides at the same time: both workers have to be alive."""
        waiting = {}
        for side in sides:
            worker = self._workers.worker(side)
            self._config.report(f"{side}: check that its choices are active")
            waiting[side] = worker.gather_activations()
        self.found |= {side: gathered() for side, gathered in waiting.items()}

    def gather_all(self) -> None:
        """Of the sides that are left. At once on a GPU, where most of it is the host's work; on a CPU they would share its cores."""
        left = [side for side in self._config.sides if side not in self.found]
        if self._workers.room and all(self._config.workload(side).device == "cuda" for side in left):
            self.gather(*left)
        else:
            for side in left:
                self.gather(side)


def _fingerprint(config: SessionConfig) -> str:
    return next(build.weights_fingerprint for builds in config.journal.state.builds.values() for build in builds)


def _energy(config: SessionConfig, workers: WarmWorkers, side: Side) -> Energy | None:
    """None where it is not to be measured, or there is no counter."""
    if not config.energy or config.workload(side).device != "cuda":
        return None
    config.report(f"{side}: energy")
    return workers.worker(side).energy(ENERGY_SECONDS, config.idle_watts)


def _trace(config: SessionConfig, workers: WarmWorkers, side: Side, folder: Path) -> Trace | None:
    """None if none is to be recorded, or it is too large: the times are worth more than their trace."""
    plan, of_tokens = config.plan, config.workload(side).new_tokens
    if not plan.trace_tokens:
        return None
    tokens = min(plan.trace_tokens, of_tokens)
    config.report(f"{side}: trace {tokens} tokens")
    spec = TraceSpec(folder / f"trace-{side}.json.gz", config.variants[side].name, tokens, of_tokens, plan.trace_modules)
    try:
        return workers.worker(side).profile(spec)
    except chrome.TooLarge as error:
        config.listener.message(str(error))
        return None
