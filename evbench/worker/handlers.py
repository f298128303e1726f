"""What a worker does for each kind of request: one function each, and the table that names them."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.machine import gpu
from evbench.pipelines.generate.vocabulary import words
from evbench.pipelines.load import png
from evbench.pipelines.load.choices import PREFETCH
from evbench.pipelines.registry import KINDS, OWN, gpus
from evbench.pipelines.weights import DATA, drafting
from evbench.plugins.faults import PluginFault
from evbench.results import SHORT_ANSWER, STAGES, CacheCheck, Limits, Run, ThroughputRun, Workload, cycled
from evbench.stages import Sampler, run_stages
from evbench.traces.chrome import TooLarge
from evbench.worker.cache_check import check_cache
from evbench.worker.capture_outputs import CapturedOutputs, capture_outputs, capture_reference, capture_visible
from evbench.worker.energy import spend
from evbench.worker.evidence import gather, prove
from evbench.worker.kept_rows import KeptRows
from evbench.worker.limits import measure_limits
from evbench.worker.measure import Instruments, measure
from evbench.worker.messages import (
    ActivationReply,
    ActivationRequest,
    CacheCheckRequest,
    CaptureRequest,
    EnergyReply,
    EnergyRequest,
    LimitsRequest,
    ProfileReply,
    ProfileRequest,
    ReferenceReply,
    ReferenceRequest,
    Request,
    Said,
    SayRequest,
    ThroughputRequest,
    TimedRunRequest,
    TryReply,
    TryRequest,
    Vocabulary,
    VocabularyRequest,
)
from evbench.worker.profile import profile
from evbench.worker.throughput import measure_throughput
from evbench.worker.unseen import reversed_events

REFERENCE_DTYPE = {"float32": "float64", "bfloat16": "float32"}
"""Type of the workload -> type in which the reference's outputs are stored: so much finer that it adds nothing to the error."""


@dataclass(frozen=True)
class WorkerState:
    """What a worker has built, and works with."""

    pipeline: Any
    variant: Variant
    workload: Workload
    instruments: Instruments
    kept: KeptRows
    """Rows of the outputs of timed runs."""

    @property
    def paths(self) -> list[Path]:
        """Of the workload's samples."""
        return [Path(sample.path) for sample in self.workload.samples]

    @property
    def prefetch(self) -> str:
        """A pipeline of somebody else's has none."""
        return self.variant.choices().get(PREFETCH.name, "off")

    @property
    def few_tokens(self) -> int:
        """Of a short answer. Loops size their graphs and caches by the longest answer so far, so that nothing is made anew for it."""
        return min(SHORT_ANSWER, self.workload.new_tokens)

    def events(self, sample: int) -> Path | None:
        """What another model that drafts sees of a sample. None if none does: what else lies beside a clip is nobody's input."""
        drafter = drafting(self.variant.choices(), self.workload)
        return None if drafter is None else Path(drafter.samples[sample].path)

    def drop_from_page_cache(self, sample: int) -> None:
        """All that a run reads."""
        events = self.events(sample)
        for row in self.workload.samples[sample].rows():
            drop_from_page_cache(Path(row.path), events)


def _timed_run(state: WorkerState, request: TimedRunRequest) -> Run:
    sample = request.position.sample
    path = state.paths[sample]
    if request.cold_file:
        state.drop_from_page_cache(sample)
    new_tokens, using = state.workload.new_tokens, state.instruments
    return measure(state.pipeline, path, new_tokens, request.position, request.stage_sync, using, state.kept)


def _throughput_run(state: WorkerState, request: ThroughputRequest) -> ThroughputRun:
    if request.cold_files:
        for sample in range(len(state.paths)):
            state.drop_from_page_cache(sample)
    row = [state.paths[sample] for sample in cycled(request.samples, len(state.paths))]
    new_tokens, prefetch = state.workload.new_tokens, state.prefetch
    return measure_throughput(state.pipeline, prefetch, row, new_tokens, request.turn, request.block, state.instruments, state.kept)


def _try(state: WorkerState, request: TryRequest) -> TryReply:
    try:
        loaded, _ = state.pipeline.load(state.paths[request.sample])
        state.pipeline.preprocess(loaded)
    except PluginFault:
        raise
    except UserError as error:
        return TryReply(str(error))
    except OSError as error:
        return TryReply(f"{state.paths[request.sample]}: {error.strerror}")
    return TryReply("")


def _activations(state: WorkerState, request: ActivationRequest) -> ActivationReply:
    evidence = gather(state.pipeline, state.prefetch, state.paths, state.few_tokens, state.instruments, state.workload.batch)
    return ActivationReply(prove(state.variant, state.workload.model, state.workload.kind, state.workload.device, evidence))


def _cache_check(state: WorkerState, request: CacheCheckRequest) -> CacheCheck:
    path = state.paths[request.sample]
    with tempfile.TemporaryDirectory(prefix="evbench-other-sample-") as folder:
        other = _other_sample(state, path, Path(folder))
        using, events = state.instruments, state.events(request.sample)
        few, batch = state.few_tokens, state.workload.batch
        return check_cache(state.pipeline, path, few, request.seed, request.pairs, using, other, events, batch)


def _other_sample(state: WorkerState, path: Path, folder: Path) -> Path | None:
    """One with other frames: of the workload, or one that evbench carries. It carries no raw events: of these, the same ones with the other
    polarity are written into a folder. None for a pipeline of somebody else's, which may read no file but of the format of its own."""
    window = state.workload.window
    shipped = [] if window is not None else [DATA / name for name in KINDS[state.workload.kind].samples]
    found = next((one for one in [*state.paths, *shipped] if not os.path.samestat(png.stat(one), png.stat(path))), None)
    if found is not None or window is None or OWN in state.variant.choices():
        return found
    reversed_events(path, window, folder / "reversed.npz")
    return folder / "reversed.npz"


def _limits(state: WorkerState, request: LimitsRequest) -> Limits:
    return measure_limits(state.pipeline, state.workload.device, state.instruments)


def _energy(state: WorkerState, request: EnergyRequest) -> EnergyReply:
    handle = gpu.first_visible()
    if handle is None or gpus(state.variant.choices()) > 1:  # its counter would leave the others out
        return EnergyReply(None)

    def once() -> object:
        return run_stages(state.pipeline, state.paths[0], state.workload.new_tokens)

    spent = spend(once, state.instruments.synchronize, request.seconds, request.idle_watts, handle)
    return EnergyReply(None if spent is None else dataclasses.replace(spent, samples=spent.samples * state.workload.batch))


def _profile(state: WorkerState, request: ProfileRequest) -> ProfileReply:
    try:
        return ProfileReply(profile(state.pipeline, state.paths[0], request.spec, state.instruments, state.workload.batch), "")
    except TooLarge as error:
        return ProfileReply(None, str(error))


def _capture(state: WorkerState, request: CaptureRequest) -> CapturedOutputs:
    path, new_tokens = state.paths[request.sample], state.workload.new_tokens
    if getattr(state.pipeline, "unseen", ()) or (request.baseline is not None and set(request.baseline.axes) != set(STAGES)):
        return capture_visible(state.pipeline, path, new_tokens, request.file, request.baseline, state.kept)
    isolated, batch = request.isolated, state.workload.batch
    return capture_outputs(state.pipeline, path, new_tokens, request.file, request.baseline, isolated, state.kept, batch)


def _reference(state: WorkerState, request: ReferenceRequest) -> ReferenceReply:
    dtype = REFERENCE_DTYPE[state.workload.dtype]
    path, batch = state.paths[request.sample], state.workload.batch
    capture_reference(state.pipeline, path, request.file, request.baseline, dtype, batch)
    return ReferenceReply()


def _say(state: WorkerState, request: SayRequest) -> Said:
    count = state.workload.new_tokens if request.forced is None else len(request.forced)
    sampler, prompt = Sampler(request.forced, keep=() if request.forced is None else range(count)), list[int]()
    pipeline: Any = state.pipeline
    features: list[Any] = []

    def observe(stage: str, output: Any) -> None:
        if stage == "preprocess":
            prompt.extend(output.prompt())
        elif stage == "vision":
            features.append(output)

    answer, _ = run_stages(state.pipeline, state.paths[request.sample], count, sampler=sampler, observe=observe)
    if request.forced is None:
        drafts = pipeline.drafts_along(*features, answer.tokens, request.drafts) if request.drafts else ()
        return Said(tuple(prompt), answer.tokens, answer.tokens, tuple(map(tuple, drafts)))
    predicted = (int(sampler.kept[place][0, : request.words].argmax()) for place in range(count))
    return Said(tuple(prompt), request.forced, tuple(predicted))


def _vocabulary(state: WorkerState, request: VocabularyRequest) -> Vocabulary:
    return Vocabulary(words(state.pipeline.tokenizer))


HANDLERS: Mapping[type[Request[Any]], Callable[[WorkerState, Any], object]] = {
    TimedRunRequest: _timed_run,
    ThroughputRequest: _throughput_run,
    TryRequest: _try,
    CacheCheckRequest: _cache_check,
    LimitsRequest: _limits,
    ActivationRequest: _activations,
    EnergyRequest: _energy,
    ProfileRequest: _profile,
    CaptureRequest: _capture,
    ReferenceRequest: _reference,
    SayRequest: _say,
    VocabularyRequest: _vocabulary,
}
"""Every request behind the first, which is a BuildRequest."""


def drop_from_page_cache(path: Path, events: Path | None = None) -> None:
    """Of the operating system, so that the next read is from the disk. Files that are mapped or dirty may stay (posix_fadvise(2)).

    Args:
        events: event images that a model that drafts sees.
    """
    for place in (path, *([] if events is None else [events])):
        for file in [place] if place.is_file() else png.find(place):
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
