"""A session: workers are started, warmed, run in turn and traced; every run is written the moment it ends."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from evbench import machine
from evbench.errors import UserError
from evbench.pipelines.presets import parameter_count
from evbench.results import Build, Kind, Machine, Role, Run, Trace, VariantResult, Workload, to_json
from evbench.schedule import turns
from evbench.variants import Variant
from evbench.worker import Worker

Progress = Callable[[str, int, int], None]
"""(what is being done, steps done, steps in all)."""

BYTES_PER_VALUE = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Plan:
    """How much is run."""

    session: str
    """When it begins: UTC, ISO 8601."""
    samples: int
    """Timed runs of each variant."""
    warmup: int
    """Runs of each variant between the first call and the timed ones."""
    trace_tokens: int
    """Decode steps in the profiled run: a whole answer makes a trace that few viewers open. 0 for no trace."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns what the file system refuses into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}); make room or give another --out. What is written stays") from error


def open_folder(folder: Path) -> TextIO:
    """Make the folder of a session and open its raw runs. Raises UserError if it holds runs already."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / "runs.jsonl"
    # A session that was refused before its first run has left nothing to keep.
    if (raw.exists() and raw.stat().st_size) or any((folder / name).exists() for name in ("result.json", "report.md")):
        raise UserError(f"{folder} holds an earlier session; give another --out, or remove it")
    return raw.open("w", encoding="utf-8")


def run_session(
    variants: dict[Role, Variant],
    workload: Workload,
    plan: Plan,
    folder: Path,
    raw: TextIO,
    *,
    weights_fingerprint: str | None,
    progress: Progress,
    keep: Callable[[dict[Role, VariantResult]], None],
) -> None:
    """Measure `variants` on `workload`. Two workers live at the same time, and one of them is busy.

    `keep` is given what there is after the timed runs, and again after the traces: a trace that fails must not cost the rest.

    Args:
        weights_fingerprint: of the earlier result that will be the other side, if there is one.

    Raises:
        UserError: the input or the weights turn out to be unusable, or not those of the other side.
        WorkerDied: a worker crashed; what ran before stands in `raw`.
    """
    here = machine.read(workload.device)
    session = _Session(variants, raw, progress, len(variants) * (2 + plan.warmup + plan.samples + (plan.trace_tokens > 0)))
    with ExitStack() as stack:
        for role, variant in variants.items():
            session.step(f"{role}: start, import, make the model")
            session.workers[role] = stack.enter_context(Worker(variant, workload, folder / f"worker-{role}.log"))
            session.builds[role] = session.workers[role].built()
            require_same_weights([build.weights_fingerprint for build in session.builds.values()] + [weights_fingerprint or ""])
        for role in variants:
            session.run(role, "first")
        for role in turns(list(variants), plan.warmup):
            session.run(role, "warmup")
        for role in turns(list(variants), plan.samples):
            session.run(role, "timed")
        keep(session.results(workload, here, plan))
        for role in variants if plan.trace_tokens else ():
            tokens = min(plan.trace_tokens, workload.new_tokens)
            session.step(f"{role}: trace {tokens} tokens")
            file = session.workers[role].profile(folder / f"trace-{role}.json.gz", tokens)
            session.traces[role] = Trace(file.name, tokens)
    if session.traces:
        keep(session.results(workload, here, plan))


class _Session:
    """What has happened so far."""

    def __init__(self, variants: dict[Role, Variant], raw: TextIO, progress: Progress, steps: int) -> None:
        self._variants, self._raw, self._progress, self._steps = variants, raw, progress, steps
        self._done = 0
        self._turn = 0
        self.workers: dict[Role, Worker] = {}
        self.builds: dict[Role, Build] = {}
        self.runs: dict[Role, list[Run]] = {role: [] for role in variants}
        self.traces: dict[Role, Trace] = {}

    def results(self, workload: Workload, here: Machine, plan: Plan) -> dict[Role, VariantResult]:
        return {
            role: VariantResult(
                variant=variant.name,
                choices=variant.choices(),
                workload=workload,
                machine=here,
                build=self.builds[role],
                runs=tuple(self.runs[role]),
                trace=self.traces.get(role),
                session=plan.session,
            )
            for role, variant in self._variants.items()
        }

    def step(self, doing: str) -> None:
        self._progress(doing, self._done, self._steps)
        self._done += 1

    def run(self, role: Role, kind: Kind) -> None:
        told = {"first": "first call", "warmup": "warm-up", "timed": "timed"}[kind]
        number = sum(run.kind == kind for run in self.runs[role]) + 1
        self.step(f"{role}: {told}" + (f" {number}" if kind != "first" else ""))
        run = self.workers[role].measure(kind, self._turn)
        self._turn += 1
        self.runs[role].append(run)
        # Written at once: a later failure must not lose it.
        line = {"role": role, "variant": self._variants[role].name} | json.loads(to_json(run))
        self._raw.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._raw.flush()


def require_runnable(variants: dict[Role, Variant], workload: Workload) -> None:
    """Raises UserError if a variant lacks something here, or the weights of all workers cannot fit.

    The workers need more than their weights, so the check of memory only catches the hopeless.
    """
    for variant in variants.values():
        machine.require(variant, workload.model, workload.device)
    here = machine.read(workload.device)
    workers = len(variants)
    parameters = parameter_count(workload)
    needed = workers * parameters * BYTES_PER_VALUE[workload.dtype]
    present, place = (here.gpu.memory_bytes, here.gpu.name) if here.gpu else (here.memory_bytes, "this machine")
    if present is not None and needed > present:
        raise UserError(
            f"{workers} workers with {parameters / 1e9:.1f} billion {workload.dtype} weights need {needed / 2**30:.0f} GiB, "
            f"{place} has {present / 2**30:.0f}; use a smaller --preset"
        )


def require_same_workload(ours: Workload, theirs: Workload) -> None:
    """Raises UserError, naming the fields and both values, if the two ask for different work."""
    one, other = dataclasses.asdict(ours), dataclasses.asdict(theirs)
    if different := [
        f"{name} {one[name]!r} and {other[name]!r}" for name in one if name not in Workload.PATHS and one[name] != other[name]
    ]:
        raise UserError(f"not the same work: {'; '.join(different)}. Measure with the options of the earlier result")


def require_same_weights(fingerprints: list[str]) -> None:
    """Raises UserError if the sides have different weights. An empty fingerprint is of a side that is not known yet."""
    if len(set(filter(None, fingerprints))) > 1:
        raise UserError(
            "the two sides ran different weights; measure both with the same --weights, or on the same machine with the same --seed"
        )
