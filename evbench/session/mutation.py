"""Whether the output checks can be believed: faults that are planted have to fail, and other ways to compute the same have to pass.

After mutation testing (R. A. DeMillo, R. J. Lipton, F. G. Sayward, Computer 11/4, 1978): a test that no fault can fail tests nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from evbench.choices import STREAM, Variant
from evbench.pipelines.registry import loses_as, lossy, parts_with_effect
from evbench.results import DECODING, Activation, Check, Run, Side, Workload
from evbench.session import caches, outputs
from evbench.session.caches import CacheSource
from evbench.session.outputs import OutputSource
from evbench.session.reference_outputs import Reference, ReferenceOutputs
from evbench.variants.named import change, conflict, parse
from evbench.verdict.caches import examine
from evbench.verdict.findings import GRADES, distance, first_divergence, merge
from evbench.verdict.mutation import Case, MutantOutcome, weighed
from evbench.verdict.refusal import work_differences
from evbench.worker.measure import RunPosition
from evbench.worker.messages import TimedRunRequest


class Subject(OutputSource, CacheSource, Protocol):
    """A worker whose variant is tested."""

    def timed_run(self, request: TimedRunRequest) -> Run: ...

    def activations(self) -> tuple[Activation, ...]: ...


@dataclass(frozen=True)
class Laboratory:
    """What the cases are tried with."""

    workload: Workload
    start: Callable[[Variant, str | None, int], AbstractContextManager[Subject]]
    """A worker with a fault in it, or None, that shares the cores with so many others. May be called from several threads."""
    end: Callable[[], None]
    """End the workers of other threads at once: they and those that are still to be started raise WorkerDied there."""
    reference: Callable[[Mapping[str, str]], Reference]
    """Of the weights of the worker that was started last, with these hidden choices: part -> choice."""
    report: Callable[[str, int, int], None]
    """Called with an activity, how many cases have ended, and how many there are. By one thread at a time."""
    at_once: int
    """Workers that there is room for at the same time."""


def equal_computations(variant: Variant, model: str, kind: str, runs_here: Callable[[Variant], bool]) -> list[Case]:
    """Every single choice of the baseline changed that may change an output, and the whole variant.

    A lossy choice is as exact as any other against a reference that loses the same, which has to be computed for it: so only those that the
    variant has.
    """
    baseline = parse("baseline")
    ways = [Case("the same variant twice", baseline, None, True, 1)]
    # What only throughput runs show changes no output of a stage.
    parts = {name: part for name, part in parts_with_effect(model, kind).items() if part.stages != (STREAM,)}
    for name, part in parts.items():
        for choice, entry in part.choices.items():
            one = change(baseline, {name: choice})
            if entry.loses_as and variant[name] != choice:
                continue
            if baseline[name] != choice and conflict(one) is None and entry.takes(kind) and runs_here(one):
                ways.append(Case(f"{name} {baseline[name]} / {choice}", one, None, True, 1))
    return [*ways, Case(f"{baseline.name} / {variant.name}", variant, None, True, 1, seen_unseen=True)]


def planted(variant: Variant, workload: Workload) -> list[Case]:
    """Every fault that can be planted into the variant, after what is planted and is none."""
    from evbench.worker.mutants import MUTANTS

    found = [
        Case(name, variant, name, mutant.harmless, mutant.samples, mutant.of_time, mutant.timing if mutant.of_time else "")
        for name, mutant in MUTANTS.items()
        if mutant.obstacle(variant, workload) is None
    ]
    return sorted(found, key=lambda case: not case.harmless)


def left_out(variant: Variant, workload: Workload) -> dict[str, str]:
    """Name of a fault that is not planted into the variant -> why."""
    from evbench.worker.mutants import MUTANTS

    reasons = {name: mutant.obstacle(variant, workload) for name, mutant in MUTANTS.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def try_all(every: Sequence[Case], laboratory: Laboratory) -> Generator[tuple[int, MutantOutcome], None, None]:
    """Number and outcome of each case, as they end. Each is tried in a process of its own, several at the same time.

    Those that look at times are tried after the others: their workers are warmed up at the same time, and timed one by one.
    """
    with tempfile.TemporaryDirectory(prefix="evbench-mutants-") as name, ExitStack() as stack:
        folder, samples = Path(name), range(max(case.samples for case in every))
        workers = _Baseline(laboratory, stack)
        workers.worker("baseline")
        with ReferenceOutputs(laboratory.reference({}), workers) as exact:
            # All cases with lossy choices have those of the one variant that is tried.
            losing = next((found for case in every if (found := loses_as(case.variant.choices(), laboratory.workload.model))), None)
            references: dict[Side, Reference] = {} if losing is None else {"optimized": laboratory.reference(losing)}
            expected = outputs.expect(workers, exact, samples, folder, lossy=references)
        trial = _Trial(laboratory, expected, folder, len(every))
        workers.free()
        numbered = dict(enumerate(every))
        yield from trial.run({number: case for number, case in numbered.items() if not case.seen_unseen}, laboratory.at_once)
        # In order: the whole variant without a fault is the first.
        honest: MutantOutcome | None = None
        for number, outcome in trial.run_timed({number: case for number, case in numbered.items() if case.seen_unseen}):
            if (timing := every[number].timing) and honest is not None:
                yield number, weighed(outcome, timing, honest)
            else:
                honest = outcome
                yield number, outcome


class _Trial:
    """Tries cases against what is expected, some at the same time, and reports each as it begins."""

    def __init__(self, laboratory: Laboratory, expected: dict[int, outputs.Expected], folder: Path, total: int) -> None:
        self._laboratory, self._expected, self._folder = laboratory, expected, folder
        self._lock, self._ended, self._total = threading.Lock(), 0, total

    def run(self, cases: Mapping[int, Case], at_once: int) -> Iterator[tuple[int, MutantOutcome]]:
        with self._threads(at_once) as pool:
            numbers = {pool.submit(self._one, case, at_once): number for number, case in cases.items()}
            for done in as_completed(numbers):
                yield numbers[done], done.result()

    def run_timed(self, cases: Mapping[int, Case]) -> Iterator[tuple[int, MutantOutcome]]:
        """As many workers as there is room for are judged at the same time. Then all wait but one, whose times are looked at."""
        at_once, waiting = self._laboratory.at_once, list(cases)
        while waiting:
            several, waiting = waiting[:at_once], waiting[at_once:]
            with self._threads(at_once) as pool, ExitStack() as live:
                judged = {pool.submit(self._judged, cases[number], 1, live): number for number in several}
                found = {judged[done]: done.result() for done in as_completed(judged)}
                for number in several:
                    yield number, self._ended_with(cases[number], *found[number])

    @contextmanager
    def _threads(self, at_once: int) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(at_once) as pool, ExitStack() as unfinished:
            # After an error or an interruption: the threads wait for their workers, and the pool for its threads.
            unfinished.callback(self._laboratory.end)
            unfinished.callback(pool.shutdown, wait=False, cancel_futures=True)
            yield pool
            unfinished.pop_all()

    def _one(self, case: Case, at_once: int) -> MutantOutcome:
        with ExitStack() as live:
            return self._ended_with(case, *self._judged(case, at_once, live))

    def _judged(self, case: Case, sharing: int, live: ExitStack) -> tuple[Subject, _Judged]:
        """A worker that lives as long as the stack, and what its outputs showed."""
        with self._lock:
            self._laboratory.report(case.name, self._ended, self._total)
        subject = live.enter_context(self._laboratory.start(case.variant, case.mutant, sharing))
        with tempfile.TemporaryDirectory(dir=self._folder) as own:
            return subject, _judge(case, subject, self._expected, Path(own), self._laboratory.workload)

    def _ended_with(self, case: Case, subject: Subject, judged: _Judged) -> MutantOutcome:
        outcome = _outcome(case, subject, judged)
        with self._lock:
            self._ended += 1
        return outcome


class _Baseline:
    """The only worker while the expected outputs are captured: the baseline, started on request."""

    room = False

    def __init__(self, laboratory: Laboratory, stack: ExitStack) -> None:
        self._laboratory, self._stack = laboratory, stack
        self._worker: Subject | None = None

    def worker(self, side: Side) -> Subject:
        if self._worker is None:
            self._worker = self._stack.enter_context(self._laboratory.start(parse("baseline"), None, 1))
        return self._worker

    def free(self) -> None:
        self._stack.close()

    def report(self, activity: str) -> None:
        self._laboratory.report(activity, 0, 1)


@dataclass(frozen=True)
class _Judged:
    """What the outputs of a case showed."""

    checks: tuple[Check, ...]
    caught: tuple[str, ...]
    """By what."""
    blamed: Check | None


def _judge(case: Case, subject: Subject, expected: Mapping[int, outputs.Expected], folder: Path, workload: Workload) -> _Judged:
    found, caught = {}, list[str]()
    for sample in range(case.samples):
        # As in a block: what timed runs leave is judged too.
        asked = [TimedRunRequest(RunPosition("timed", turn, sample, None), bool(turn), cold_file=False) for turn in range(2)]
        answers = [subject.timed_run(request).tokens for request in asked]
        captured = subject.capture_outputs(sample, folder / "subject", expected[sample].baseline, isolated=True)
        known = expected[sample] if lossy(case.variant.choices(), workload.model) else replace(expected[sample], lossy={})
        found[sample] = outputs.compare_with(known, captured, workload.dtype, answers)
        if different := work_differences(known.baseline.work, captured.work):
            caught.append(f"same work: {'; '.join(different)}")
    checks = merge(found)
    blamed = first_divergence(checks)
    if blamed is not None:
        caught.append(f"{blamed.stage}, {blamed.mode}: {blamed.rule}")
    return _Judged(tuple(checks), tuple(caught), blamed)


def _outcome(case: Case, subject: Subject, judged: _Judged) -> MutantOutcome:
    """With what times, and the evidence of choices, showed."""
    caught, seen = list(judged.caught), dict[str, float]()
    if case.seen_unseen:
        pairs = caches.check(subject, 0)
        seen = {timing: statistics.median(pair.seen[timing] for pair in pairs.pairs) for timing in pairs.pairs[0].seen}
        remembered = [one for one in examine(pairs) if one.cached]
        caught += [f"CACHED: {one.timing}, unseen {one.ratio:.2f}x as long" for one in remembered]
    if not caught:
        # A planted fault may hide the evidence of a choice, which would catch anything; evidence of greedy decoding is not hidden.
        parts = [activation for activation in subject.activations() if case.mutant is None or activation.part == DECODING]
        caught += [f"{one.part} {one.choice} not active: {one.evidence}" for one in parts if not one.active]
    others = [check for check in judged.checks if check.mode != "baseline-repeat"]
    closest = max(others, key=lambda check: (GRADES.index(check.grade), distance(check.value, check.threshold)))
    shown = judged.blamed or (None if caught else closest)
    away = distance(shown.value, shown.threshold) if shown is not None and shown.threshold else None
    beyond = tuple(check for check in judged.checks if check.grade != "pass")
    return MutantOutcome(case.name, case.variant.name, case.harmless, tuple(dict.fromkeys(caught)), shown, away, beyond, seen)
