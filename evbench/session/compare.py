"""A comparison: measure what has to be measured, judge once, and write the folder."""

from __future__ import annotations

import dataclasses
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evbench import __version__, results
from evbench.choices import Variant
from evbench.machine import conditions, gpu, machine
from evbench.machine.lock import exclusive
from evbench.pipelines import weights
from evbench.pipelines.registry import gpus
from evbench.report import files as report_files
from evbench.results import FORMAT, Machine, Outputs, Plan, Result, Session, Side, SideResult
from evbench.session import failed_samples, journal
from evbench.session.config import SessionConfig, SessionWorker
from evbench.session.journal_state import JournalHeader
from evbench.session.memory_fit import parameters_of_drafter
from evbench.session.progress import ProgressListener
from evbench.session.reference_worker import lossy_references, reference_for
from evbench.session.request import ComparisonRequest, request_header
from evbench.session.session import References, run_session
from evbench.session.session_folder import GO_ON, TRY_AGAIN, make_folder, require_unused, writing
from evbench.session.side_results import Untimed, session_of, side_results
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Judgement
from evbench.worker.client import Worker
from evbench.worker.compile_counts import cache_in
from evbench.worker.messages import BuildRequest


@dataclass(frozen=True)
class JudgedResult:
    """What was measured, and what may be claimed of it."""

    result: Result
    judgement: Judgement


def carry_out(request: ComparisonRequest, listener: ProgressListener) -> JudgedResult:
    """Measure, judge, and write `result.json`, `verdict.json`, `report.md` and `report.html`.

    Raises:
        UserError: the input, the weights or the folder turn out to be unusable, or another evbench holds the device.
        WorkerDied: a worker crashed. What ran before is in the folder.
    """

    def checkpoint(result: Result) -> None:
        results.write(result, request.folder / results.RESULT)

    with writing(request.folder, _advice(request)):
        result = measure(request, listener, checkpoint)
        judgement = judge(result)
        report_files.write(result, judgement, request.folder)
    return JudgedResult(result, judgement)


def measure(request: ComparisonRequest, listener: ProgressListener, checkpoint: Callable[[Result], None]) -> Result:
    """Run the session of a request. `checkpoint` is given what there is so far, and at last all of it. Raises as `carry_out`."""
    with writing(request.folder, _advice(request)):
        if not request.variants:
            make_folder(request.folder, resumable=False)
            result = _result(request, request.earlier.sides, request.earlier.sessions, request.earlier.outputs)
        else:
            # Before waiting for another evbench, which may take hours.
            if request.resume:
                journal.read_header(request.folder)
            else:
                require_unused(request.folder)
            here = machine.read(request.device())
            for session in request.earlier.sessions:
                machine.require_same(session.machine, here, request.rules.allowed)
            with exclusive_device(request.device(), request.wait, listener, request.variants.values()):
                result = measure_held(request, here, listener, checkpoint)
        checkpoint(result)
        return result


def _advice(request: ComparisonRequest) -> str:
    """What to do where the folder cannot be written. Without a variant nothing is run that could go on."""
    return GO_ON if request.variants else TRY_AGAIN


@contextmanager
def exclusive_device(device: str, wait: bool, listener: ProgressListener, variants: Iterable[Variant] = ()) -> Iterator[None]:
    """Keeps other evbench processes off the device (`cpu` or `cuda`), and off all GPUs that some of these variants work on.

    Raises UserError if one holds it and this one is not to wait.
    """
    count = max((gpus(variant.choices()) for variant in variants), default=1)
    # In one order everywhere: else two that want the same two could wait for each other.
    names = sorted(gpu.visible()[:count]) if device == "cuda" else ["cpu"]
    with ExitStack() as held:
        for name in names:
            held.enter_context(exclusive(name, wait, listener.message))
        yield


def measure_held(
    request: ComparisonRequest,
    here: Machine,
    listener: ProgressListener,
    checkpoint: Callable[[Result], None],
    beside: Callable[[], Sequence[int]] = tuple,
    *,
    tried: bool = False,
) -> Result:
    """Run the session of a request on a device that the caller holds. Raises as `carry_out`.

    Args:
        beside: process numbers of what measures beside this, as a part of the same command: it is no disturbance.
        tried: whether every sample was tried already, and the request is without those that cannot be used.
    """
    request, failed = (request, {}) if tried else _without_failed(request, listener)
    pids: dict[Side, int] = {}
    watch, remarks, idle_watts = conditions.watch(request.device(), lambda: list(pids.values()), beside)
    header = _header(request, here, remarks, failed)
    open_journal = journal.resume if request.resume else journal.create
    with open_journal(request.folder, header) as opened, _compile_cache(request.plan) as environment:

        def start(side: Side) -> AbstractContextManager[SessionWorker]:
            return _worker(side, request, environment, pids)

        def references(fingerprint: str) -> References:
            common = request.workloads["baseline"], request.plan, fingerprint, here, request.folder
            asked = (weights.drafting(variant.choices(), request.workloads[side]) for side, variant in request.variants.items())
            make = partial(reference_for, *common, drafting=sum(map(parameters_of_drafter, asked)))
            exact = make(request.variants.get("baseline"))
            return References(exact, lossy_references(request.variants, common[0].model, lambda losing: make(losing=losing)))

        def result_so_far(untimed: Untimed) -> Result:
            opened.require_kept()
            sides = request.earlier.sides | side_results(config, untimed)
            return _result(request, sides, (*request.earlier.sessions, session_of(config, untimed)), untimed.outputs)

        config = SessionConfig(
            variants=request.variants,
            journal=opened,
            start=start,
            watch=watch,
            listener=listener,
            fingerprint=request.fingerprint(),
            energy=request.energy,
            idle_watts=idle_watts,
        )
        comparing = references if request.is_of_one_model() else None
        return result_so_far(run_session(config, request.folder, comparing, lambda untimed: checkpoint(result_so_far(untimed))))


def _without_failed(request: ComparisonRequest, listener: ProgressListener) -> tuple[ComparisonRequest, failed_samples.Failed]:
    """The request without samples that a side cannot use, and what these are. A session that is resumed knows them from before."""
    if request.resume:
        found: failed_samples.Failed = journal.read_header(request.folder).failed
    elif any(len(workload.samples) > 1 for workload in request.workloads.values()):
        make_folder(request.folder)
        at_once = request.plan.order == "interleaved"
        found = failed_samples.find(request.workloads, lambda side: _worker(side, request, {}, {}), listener, at_once=at_once)
    else:
        found = {}
    left = failed_samples.without(request.workloads, found)
    before, now = (next(iter(workloads.values())).samples for workloads in (request.workloads, left))
    return dataclasses.replace(request, workloads=left, plan=failed_samples.plan_of(request.plan, before, now)), found


def _header(request: ComparisonRequest, here: Machine, remarks: tuple[str, ...], failed: failed_samples.Failed) -> JournalHeader:
    asked = request_header(request.created, here, request.plan, request.variants, request.workloads)
    seed = random.SystemRandom().randrange(2**32)  # the order of blocks is drawn by lot, and recorded
    return dataclasses.replace(asked, seed=seed, remarks=remarks, failed=dict(failed))


@contextmanager
def _worker(side: Side, request: ComparisonRequest, environment: dict[str, str], pids: dict[Side, int]) -> Iterator[Worker]:
    log = request.folder / f"worker-{side}.log"
    build = BuildRequest(request.variants[side], request.workloads[side], request.delays.get(side))
    with Worker(build, log, environment, request.plan.deadline_seconds) as worker:
        pids[side] = worker.pid
        try:
            yield worker
        finally:
            del pids[side]


@contextmanager
def _compile_cache(plan: Plan) -> Iterator[dict[str, str]]:
    """Environment of the workers: the user's own compile cache, or an empty one."""
    if not plan.cold_compile:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="evbench-compile-cache-", ignore_cleanup_errors=True) as folder:
        yield cache_in(Path(folder))


def _result(request: ComparisonRequest, sides: dict[Side, SideResult], sessions: tuple[Session, ...], outputs: Outputs | None) -> Result:
    started = {measured.session for measured in sides.values()}
    return Result(
        format=FORMAT,
        evbench=__version__,
        created=request.created,
        command=request.command,
        rules=request.rules,
        sessions=tuple(session for session in sessions if session.started in started),
        baseline=sides["baseline"],
        optimized=sides.get("optimized"),
        outputs=outputs,
    )
