"""Two sides -> a result in a folder: what has to be measured is, what was measured before is taken, and both are judged."""

from __future__ import annotations

import dataclasses
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from evbench import __version__, results
from evbench.choices import Variant
from evbench.encoding import to_json, write_whole
from evbench.errors import UserError
from evbench.machine import conditions, gpu, machine
from evbench.machine.lock import exclusive
from evbench.report import comparison
from evbench.report.render import to_markdown
from evbench.results import FORMAT, Delay, Outputs, Plan, Result, Rules, Session, Side, SideResult, Trace, Workload
from evbench.session import journal, references
from evbench.session import outputs as comparing
from evbench.session.memory_fit import reference_dtype
from evbench.session.mutation import Laboratory
from evbench.session.outputs import Answers, Reference, WorkerPool
from evbench.session.session import ProgressListener, Runner, SessionConfig, SessionRunner, require_same_weights, require_same_workload
from evbench.traces import chrome
from evbench.traces.merge import TraceSide, merge
from evbench.traces.timeline import Timeline
from evbench.variants.named import REFERENCE
from evbench.verdict.judge import judge
from evbench.worker.client import Worker
from evbench.worker.compile_counts import cache_in
from evbench.worker.messages import BuildRequest, TraceSpec

SideResults = dict[Side, SideResult]
Write = Callable[[Result, Path], None]
"""What becomes of a result, in which folder."""
AS_IT_RAN, ALIGNED = "trace-as-it-ran.json.gz", "trace-aligned.json.gz"
"""Files with the traces of both sides."""


@dataclass(frozen=True)
class EarlierResults:
    """Sides that were measured before."""

    sides: SideResults = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()
    noise_floors: dict[str, float] = field(default_factory=dict)
    """Noise floors that they were judged by, the larger of two."""
    outputs: Outputs | None = None
    """If they are the two sides of one comparison."""

    def fingerprint(self) -> str:
        """Of their weights. Empty if there is no such side."""
        return next((measured.builds[0].weights_fingerprint for measured in self.sides.values()), "")


@dataclass(frozen=True)
class ComparisonRequest:
    """One comparison, as it was asked for."""

    fresh: Mapping[Side, Variant]
    """What is to be measured."""
    earlier: EarlierResults
    workloads: Mapping[Side, Workload]
    """Of what is to be measured: the same of both sides, or the same scenes of two models."""
    plan: Plan
    rules: Rules
    folder: Path
    created: str
    """UTC, ISO 8601."""
    command: str
    resume: bool
    wait: bool
    """Whether to wait for another evbench on the same device, or to be refused."""
    delays: Mapping[Side, Delay] = field(default_factory=dict)
    energy: bool = True
    """Whether it is measured, where there is a counter."""

    def device(self) -> str:
        """That the workers use."""
        return next(iter(self.workloads.values())).device

    def is_of_one_model(self) -> bool:
        """Then both sides are to say the same."""
        return len({workload.model for workload in self.workloads.values()}) == 1


def earlier(found: Mapping[Side, tuple[Result, SideResult]], allowed: Sequence[str]) -> EarlierResults:
    """Sides out of results. Raises UserError if they cannot be compared with each other."""
    # Their traces stay where they are.
    sides = {side: dataclasses.replace(measured, trace=None) for side, (_, measured) in found.items()}
    every = [result.session(measured) for result, measured in found.values()]
    sessions = {session.started: session for session in every}
    if any(session != sessions[session.started] for session in every):
        raise UserError("the two results name the same session and tell different things of it; measure again")
    if len(sides) == 2:
        ours, theirs = sides.values()
        require_same_workload(ours.workload, theirs.workload)
        require_same_weights([measured.builds[0].weights_fingerprint for measured in sides.values()])
        machines = [session.machine for session in sessions.values()]
        machine.require_same(machines[0], machines[-1], allowed)
    known = [result.rules.noise_floors for result, _ in found.values()]
    noise_floors = {
        name: max(floors.get(name, 0.0) for floors in known) for name in dict.fromkeys(name for floors in known for name in floors)
    }
    return EarlierResults(sides, tuple(sessions.values()), noise_floors, _compared(found))


def _compared(found: Mapping[Side, tuple[Result, SideResult]]) -> Outputs | None:
    """What was found of the outputs, where both sides are of the same comparison."""
    if len(found) < 2 or any(measured != result.variants().get(side) for side, (result, measured) in found.items()):
        return None
    ours, theirs = (result for result, _ in found.values())
    return ours.outputs if (ours.sessions, ours.outputs) == (theirs.sessions, theirs.outputs) else None


def write_judged(result: Result, folder: Path) -> None:
    """What was measured, what may be claimed of it, and the report."""
    results.write(result, folder / "result.json")
    write_whole(folder / "verdict.json", to_json(judge(result), indent=1) + "\n")
    write_whole(folder / "report.md", to_markdown(comparison.describe(result), result.created, result.command))


def carry_out(asked: ComparisonRequest, listener: ProgressListener, write: Write = write_judged) -> Result:
    """Measure and write the folder. `write` is given what there is so far, and at last all of it.

    Raises:
        UserError: the input, the weights or the folder turn out to be unusable, or another evbench holds the device.
        WorkerDied: a worker crashed. What ran before stands in the folder.
    """
    with journal.writing(asked.folder), ExitStack() as stack:
        if not asked.fresh:
            journal.make_folder(asked.folder)
            result = _result(asked, asked.earlier.sides, asked.earlier.sessions, asked.earlier.outputs)
            write(result, asked.folder)
            return result
        here = machine.read(asked.device())
        for session in asked.earlier.sessions:
            machine.require_same(session.machine, here, asked.rules.allowed)
        stack.enter_context(exclusive(gpu.identity() if asked.device() == "cuda" else "cpu", asked.wait, listener.say))
        return _measure(asked, here, listener, write)


def _measure(asked: ComparisonRequest, here: results.Machine, listener: ProgressListener, write: Write) -> Result:
    living: dict[Side, int] = {}
    watch, remarks, idle_watts = conditions.watch(asked.device(), lambda: list(living.values()))
    choices: dict[str, dict[str, str]] = {side: {"name": variant.name, **variant.choices()} for side, variant in asked.fresh.items()}
    # The order is drawn by lot; what was drawn is recorded.
    seed = random.SystemRandom().randrange(2**32)
    workloads: dict[str, Workload] = {side: workload for side, workload in asked.workloads.items()}
    opening = journal.JournalHeader(FORMAT, asked.created, here, asked.plan, seed, workloads, choices, remarks)
    with (journal.resume if asked.resume else journal.begin)(asked.folder, opening) as written, _compile_cache(asked.plan) as environment:

        def start(side: Side) -> AbstractContextManager[Runner]:
            return _worker(side, asked, environment, living)

        def compare_outputs(crew: WorkerPool, answers: Answers) -> Outputs:
            fingerprint = next(build.weights_fingerprint for builds in written.happened.builds.values() for build in builds)
            workload = asked.workloads["baseline"]
            return comparing.compare(crew, reference(workload, asked.plan, fingerprint, here, asked.folder), answers, workload)

        compared = compare_outputs if asked.is_of_one_model() else None
        setting = SessionConfig(start, watch, listener, asked.earlier.fingerprint(), asked.energy, idle_watts, compared)
        sitting = SessionRunner(asked.fresh, written, setting)

        def keep() -> Result:
            session, sides = sitting.results()
            result = _result(asked, asked.earlier.sides | sides, (*asked.earlier.sessions, session), sitting.outputs)
            write(result, asked.folder)
            return result

        sitting.run(keep, asked.folder)
        result = keep()
        if asked.is_of_one_model():
            sitting.tell("put the traces side by side")
            result = dataclasses.replace(result, merged_traces=_merge_traces(result, asked.folder))
            write(result, asked.folder)
        return result


def _merge_traces(result: Result, folder: Path) -> tuple[str, ...]:
    """Of both sides, if both were traced now. Returns the files' names."""
    sides: dict[Side, TraceSide] = {}
    for side, measured in result.variants().items():
        if measured.trace is not None:
            read = chrome.read(folder / measured.trace.file)
            sides[side] = TraceSide(read, Timeline(read.events, measured.trace.file), measured.variant)
    if len(sides) < 2:
        return ()
    told = comparison.of_stages(result)
    chrome.write(merge(sides, told, aligned=False), folder / AS_IT_RAN)
    chrome.write(merge(sides, told, aligned=True), folder / ALIGNED)
    return AS_IT_RAN, ALIGNED


def trace(variant: Variant, workload: Workload, order: TraceSpec, wait: bool, listener: ProgressListener) -> Trace:
    """Record one variant, untimed. Its worker logs into the folder of the trace.

    Raises:
        UserError: as `carry_out`, or the trace would be too large.
        WorkerDied: the worker crashed.
    """
    folder = order.file.parent
    with journal.writing(folder), exclusive(gpu.identity() if workload.device == "cuda" else "cpu", wait, listener.say):
        journal.make_folder(folder)
        listener.step("start, import, make the model", 0, 1)
        with Worker(BuildRequest(variant, workload), folder / "worker.log") as worker:
            worker.built()
            listener.step(f"trace {order.new_tokens} tokens", 0, 1)
            return worker.profile(order)


def reference(workload: Workload, plan: Plan, fingerprint: str, here: results.Machine, folder: Path) -> Reference:
    """What both sides are measured against. Its worker logs into the folder."""
    dtype = reference_dtype(plan.order, workload)
    versions = (here.packages.get(name) for name in ("torch", "torchvision", "transformers"))
    identity = f"{fingerprint} {dtype} {workload.device} {references.code_identity(*versions)}"

    @contextmanager
    def start() -> Iterator[Worker]:
        with Worker(BuildRequest(REFERENCE, workload, dtype=dtype), folder / "worker-reference.log") as worker:
            worker.built()
            yield worker

    return Reference(dtype, identity, start)


@contextmanager
def laboratory(workload: Workload, plan: Plan, folder: Path, wait: bool, listener: ProgressListener) -> Iterator[Laboratory]:
    """Workers for self-tests of the output checks; they log into the folder. Nobody else uses the device meanwhile."""
    here = machine.read(workload.device)
    fingerprints: list[str] = []

    @contextmanager
    def start(variant: Variant, mutant: str | None) -> Iterator[Worker]:
        with Worker(BuildRequest(variant, workload, mutant=mutant), folder / "worker-subject.log") as worker:
            fingerprints.append(worker.built().weights_fingerprint)
            yield worker

    with exclusive(gpu.identity() if workload.device == "cuda" else "cpu", wait, listener.say):
        yield Laboratory(workload, start, lambda: reference(workload, plan, fingerprints[-1], here, folder), listener.step)


@contextmanager
def _worker(side: Side, asked: ComparisonRequest, environment: dict[str, str], living: dict[Side, int]) -> Iterator[Worker]:
    log = asked.folder / f"worker-{side}.log"
    with Worker(BuildRequest(asked.fresh[side], asked.workloads[side], asked.delays.get(side)), log, environment) as worker:
        living[side] = worker.pid
        try:
            yield worker
        finally:
            del living[side]


@contextmanager
def _compile_cache(plan: Plan) -> Iterator[dict[str, str]]:
    """Environment of the workers: the user's own compile cache, or an empty one."""
    if not plan.cold_compile:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="evbench-compile-cache-", ignore_cleanup_errors=True) as folder:
        yield cache_in(Path(folder))


def _result(asked: ComparisonRequest, sides: SideResults, sessions: tuple[Session, ...], compared: Outputs | None = None) -> Result:
    """What there is so far."""
    started = {measured.session for measured in sides.values()}
    return Result(
        format=FORMAT,
        evbench=__version__,
        created=asked.created,
        command=asked.command,
        rules=asked.rules,
        sessions=tuple(session for session in sessions if session.started in started),
        baseline=sides["baseline"],
        optimized=sides.get("optimized"),
        outputs=compared,
        merged_traces=(),
    )
