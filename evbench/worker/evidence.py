"""What a run shows of how it was done, and whether that is what its variant chose.

A choice says by its evidence (`evbench.choices.Evidence`) which names a run must leave. They are collected from several sources, each
named in front:

    op:         operations, and ranges of torch.compile, as torch.profiler records them
    range:      parts of a loop that mark themselves for torch.profiler
    kernel:     what ran on the GPU
    runtime:    calls of the CUDA runtime and driver, `cudaGraphLaunch` for the replay of a graph
    function:   Python functions entered, `module.qualified name`
    pool:       Python functions entered in another thread than the main one
    early:      loads that began before the sample before them was answered
    decoder:    FFmpeg decoders that were opened, `codec, n threads, type of threading`
    thread:     threads of the operating system that live as long as these decoders
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from evbench.choices import STREAM, Evidence, Variant
from evbench.pipelines.generate.choices import GREEDY
from evbench.pipelines.load.choices import GENERATE, LOAD, LOAD_MANY, PREFETCH
from evbench.pipelines.registry import PARTS, all_evidence, built_in, evidence_of
from evbench.results import DECODING, STAGES, Activation, cycled
from evbench.stages import Pipeline, run_stages
from evbench.traces.timeline import PREFIX
from evbench.variants.named import effective, used_plugins
from evbench.worker.measure import Instruments
from evbench.worker.profile import Ranges, record
from evbench.worker.throughput import run_back_to_back

SOURCES = {"cpu_op": "op", "user_annotation": "range", "kernel": "kernel", "cuda_runtime": "runtime", "cuda_driver": "runtime"}
"""Categories of torch.profiler -> what is put in front of their names."""
LOADS, ANSWERS = re.compile(rf"{LOAD}|{LOAD_MANY}"), re.compile(GENERATE)
"""Functions whose order matters: entered, and left."""
MORE_SAMPLES = 2
"""Of the throughput run, after those of its first load."""
VISION = "vision"
"""The stage that encodes the pictures, with most models."""
LONGEST_NAME = 120
"""Letters. Names of templates take pages."""
TASKS = Path("/proc/self/task")
"""A folder for each thread of this process: proc(5)."""

Names = Mapping[str, Mapping[str, int]]
"""Stage -> name, its source in front -> how often it was seen."""


@dataclass(frozen=True)
class Observed:
    """The names that a run of one sample left, and a throughput run of some. Only names that some evidence looks for."""

    names: Names
    frames: int
    """Video frames or event images that the model got."""
    new_tokens: int
    """That were generated: fewer than asked for where an answer may end early."""
    samples: int = 0
    """Of the throughput run."""
    encoded_in: str = VISION
    """The stage that encodes the pictures."""
    layers: Mapping[str, int] = field(kw_only=True)
    """vision, generate -> how many layers the model has there by its config: of the tower, those that its features need. tower -> all."""

    def matching(self, stage: str, pattern: str) -> dict[str, int]:
        found = self.names.get(self.encoded_in if stage == VISION else stage, {})
        return {name: count for name, count in found.items() if re.match(pattern, name)}


def gather(
    pipeline: Pipeline[Any, Any, Any], prefetch: str, paths: Sequence[Path], new_tokens: int, using: Instruments, batch: int = 1
) -> Observed:
    """Run the first sample three times, untimed: as it is, under torch.profiler, and with a hook on each call of a Python function.
    Then some samples in a row, prefetched as the choice says, with the hook.

    Profiler and hook have separate runs, so that neither sees the functions of the other.
    """
    path = paths[0]
    run_stages(pipeline, path, new_tokens)  # what is compiled now must not be seen while it is compiled
    (answer, work), trace = record(lambda: run_stages(pipeline, path, new_tokens, Ranges(using)))
    recorded = trace_names(trace.events)
    names = {stage: Counter(recorded.get(stage, {})) for stage in STAGES}
    with Calls() as calls:
        run_stages(pipeline, path, new_tokens, calls.during)
    row = [paths[sample] for sample in cycled(PREFETCH.implementation(prefetch).samples + MORE_SAMPLES, len(paths))]
    with Calls() as calls_of_row, calls_of_row.during(STREAM):
        run_back_to_back(pipeline, prefetch, row, new_tokens, using.clock)
    for stage, found in (calls.names() | calls_of_row.names()).items():
        names.setdefault(stage, Counter()).update(found)
    layers = {"vision": pipeline.used_layers, "tower": pipeline.tower_layers, "generate": pipeline.decoder_layers}
    frames, encoded_in = len(work.frame_indices or ()), work.encoded_in or VISION
    return Observed(looked_for(names), frames, len(answer.tokens) // batch, len(row), encoded_in, layers=layers)


def trace_names(trace: Iterable[dict[str, Any]]) -> Names:
    """Operations, kernels and runtime calls of each stage, from the events of a trace with a range for each stage."""
    slices = [event for event in trace if event.get("ph") == "X"]
    spans = {
        str(event["name"]).removeprefix(PREFIX): (event["ts"], event["ts"] + event["dur"])
        for event in slices
        if event.get("cat") == "user_annotation" and event["name"] in {PREFIX + stage for stage in STAGES}
    }
    names: dict[str, Counter[str]] = {stage: Counter() for stage in spans}
    for event in slices:
        source = SOURCES.get(event.get("cat", ""))
        stage = next((stage for stage, (start, end) in spans.items() if start <= event["ts"] < end), None)
        if source is not None and stage is not None and event["name"] != PREFIX + stage:
            names[stage][f"{source}:{event['name']}"] += 1
    return names


def looked_for(names: Names) -> Names:
    """Without the names that no evidence looks for."""
    patterns = sorted({evidence.names for evidence in all_evidence()})
    pattern = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    return {stage: {name: found[name] for name in sorted(found) if pattern.match(name)} for stage, found in names.items()}


class Calls:
    """Counts the Python functions entered in each stage, and looks at the decoders that are opened there.

    Use as a context manager, and `during(stage)` around each stage. The thread that creates it is the main one.
    """

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._stage: str | None = None
        self._entered: dict[
            tuple[str, int, str, int], int
        ] = {}  # keyed by thread, so that none loses another's counts, and by id of the code
        self._codes: dict[int, CodeType] = {}  # code that torch.compile has made may hold constants that have no hash
        self._others: dict[str, Counter[str]] = {}
        self._order: list[tuple[str, str]] = []  # loads entered and answers left: event and name
        self._inside: Counter[tuple[int, re.Pattern[str]]] = Counter()  # keyed by thread: a stage of a plug-in may call the one it replaces
        self._decoders: list[Any] = []  # as long as they are kept, their threads live

    def __enter__(self) -> Calls:
        import av

        self._before = sys.getprofile(), threading.getprofile(), av.open
        really_open = av.open

        def open_and_keep(*arguments: Any, **named: Any) -> Any:
            container = really_open(*arguments, **named)
            found = (stream.codec_context for stream in container.streams.video)
            self._decoders += [decoder for decoder in found if decoder is not None]  # None: FFmpeg does not know the codec
            return container

        av.open = open_and_keep
        threading.setprofile(self._count)
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        import av

        of_this_thread, of_new_threads, av.open = self._before
        sys.setprofile(of_this_thread)
        threading.setprofile(of_new_threads)

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        before = _threads()
        self._stage = stage
        yield
        self._stage = None
        opened = [decoder for decoder in self._decoders if decoder.is_open]  # one that only reads packets opens no codec
        decoders = (f"decoder:{decoder.name}, {decoder.thread_count} threads, {decoder.thread_type.name}" for decoder in opened)
        threads = (f"thread:{name}" for number, name in _threads().items() if number not in before)
        self._others[stage] = Counter([*decoders, *threads])
        self._decoders.clear()

    def _count(self, frame: FrameType, event: str, _: object) -> None:
        if self._stage is None or event not in ("call", "return"):
            return
        stage, module, code = self._stage, frame.f_globals.get("__name__", "?"), frame.f_code
        if event == "call":
            entered = stage, threading.get_ident(), module, id(code)
            self._codes[id(code)] = code
            self._entered[entered] = self._entered.get(entered, 0) + 1
        if not module.startswith("evbench.pipelines."):
            return
        name = f"{module}.{code.co_qualname}"
        for pattern in (LOADS, ANSWERS):
            if not pattern.match(name):
                continue
            key = threading.get_ident(), pattern
            self._inside[key] += 1 if event == "call" else -1
            if event == "call" and pattern is LOADS and self._inside[key] == 1:
                self._order.append((stage, name))
            elif event == "return" and pattern is ANSWERS and self._inside[key] == 0:
                self._order.append((stage, ""))

    def names(self) -> dict[str, Counter[str]]:
        found = {stage: Counter(others) for stage, others in self._others.items()}
        for (stage, thread, module, code), times in self._entered.items():
            found[stage][f"{'function' if thread == self._main else 'pool'}:{module}.{self._codes[code].co_qualname}"] += times
        for stage, others in found.items():
            others.update(f"early:{name}" for name in early_loads([name for where, name in self._order if where == stage]))
        return found


def early_loads(order: Iterable[str]) -> list[str]:
    """Loads that began before all samples of the loads in front of them were answered.

    Args:
        order: name of each load when it is entered, and "" when an answer is there. A load may bring several samples, and at least one.

    >>> early_loads(["a", "", "b", "", "c", "d", "", ""])
    ['d']
    """
    loads, answers, early = 0, 0, []
    for name in order:
        if not name:
            answers += 1
            continue
        if answers < loads:
            early.append(name)
        loads += 1
    return early


def _threads() -> dict[str, str]:
    """Number and name of each thread of this process. None of a thread that ends meanwhile."""
    names = {}
    for number in os.listdir(TASKS):
        try:
            names[number] = (TASKS / number / "comm").read_text().strip()
        except OSError:
            continue
    return names


def prove(variant: Variant, model: str, kind: str, device: str, observed: Observed) -> tuple[Activation, ...]:
    """For each part that such a model does with such input, in the order of the pipeline, whether its choice is active; and last, whether
    decoding is greedy.
    """

    def activation(part: str, choice: str) -> Activation:
        choices = variant.choices() | {part: choice}
        replaced, counted = _replaced(choices), built_in(choices)
        found = [evidence for evidence in evidence_of(model, part, choice) if applies(evidence, counted, kind, device)]
        if observed.encoded_in != VISION and PARTS[part].stages == (VISION,):  # what it does not do, the rest of that stage may do
            found = [evidence for evidence in found if evidence.count != "never"]
        expected = [evidence for evidence in found if (part, evidence.stage) not in replaced]
        if found and not expected:
            return Activation(part, choice, True, f"not looked for: {replaced[part, found[0].stage]} says that it does the work of {part}")
        return _activation(part, choice, expected, counted, observed)

    def with_likeness(found: Activation) -> Activation:
        """With the other choices that the run shows instead, if it does."""
        others = (name for name, choice in PARTS[found.part].choices.items() if name != found.choice and choice.takes(kind))
        instead = [name for name in others if activation(found.part, name).active]
        return replace(found, evidence="; ".join([found.evidence, *(f"it ran as {found.part}={name} does" for name in instead)]))

    activations = [activation(part, choice) for part, choice in effective(variant, model, kind).items()]
    counted = built_in(variant.choices())
    hidden = [stage for plugin in used_plugins(variant) for stage in plugin.unseen]
    if "generate" in hidden:  # and so how its tokens are chosen
        return tuple(activations)
    greedy = [evidence for evidence in GREEDY if applies(evidence, counted, kind, device)]
    return (
        *(found if found.active else with_likeness(found) for found in activations),
        _activation(DECODING, "greedy", greedy, counted, observed),
    )


def _replaced(choices: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """(part, stage) -> the choice of a plug-in, of another part, that says that it does the work of this part in this stage."""
    entries = {part: PARTS[part].entries[choice] for part, choice in choices.items()}
    return {
        (other, stage): f"{part}={choices[part]}"
        for part, entry in entries.items()
        for other in entry.replaces
        for stage in PARTS[part].stages
    }


def applies(evidence: Evidence, choices: Mapping[str, str], kind: str, device: str) -> bool:
    """Whether it is looked for in a run of these choices (part -> choice) with such input."""
    # A pipeline of somebody else's has no other parts.
    chosen = all(choices.get(part) in among for part, among in evidence.where.items())
    return chosen and (not evidence.kinds or kind in evidence.kinds) and device in evidence.devices


def _activation(part: str, choice: str, expected: Sequence[Evidence], choices: Mapping[str, str], observed: Observed) -> Activation:
    """Args: choices: part -> choice, of the whole variant."""
    missing, seen, hidden = [], [], []
    for evidence in expected:
        if (text := unmet(evidence, observed)) is None:
            seen.append(met(evidence, observed))
        elif is_inside(evidence, choices):
            hidden.append(f"{text}: the others are inside a compiled graph, which is not held against it")
        else:
            missing.append(text)
    told = [text for text in dict.fromkeys(seen) if text is not None]
    return Activation(part, choice, not missing and bool(told), "; ".join(missing or [*told, *dict.fromkeys(hidden)]))


def is_inside(evidence: Evidence, choices: Mapping[str, str]) -> bool:
    """Whether with these choices (part -> choice) it is inside a graph that may not show it."""
    return any(choices.get(part) in among for part, among in evidence.inside.items())


def unmet(evidence: Evidence, observed: Observed) -> str | None:
    """What speaks against it, in words. None if nothing does."""
    found = observed.matching(evidence.stage, evidence.names)
    if evidence.count == "never":
        return f"{_in_words(evidence, found)}, which this choice does not do" if found else None
    if not found:
        return f"{evidence.stage}: no {evidence.what} (looked for {evidence.names})"
    least = _least(evidence, observed)
    return f"{_in_words(evidence, found)}, {least} expected ({evidence.count})" if sum(found.values()) < least else None


def met(evidence: Evidence, observed: Observed) -> str | None:
    """What was seen of it, in words. None where something is expected never to be there."""
    found = observed.matching(evidence.stage, evidence.names)
    return _in_words(evidence, found) if found and evidence.count != "never" else None


def _in_words(evidence: Evidence, found: Mapping[str, int]) -> str:
    """The name seen most often, and how often all of them."""
    most = max(found, key=lambda name: found[name]).partition(":")[2]
    shown = most if len(most) <= LONGEST_NAME else f"{most[:LONGEST_NAME]}..."
    others = f" and {len(found) - 1} like it" if len(found) > 1 else ""
    return f"{evidence.stage}: {evidence.what}: {sum(found.values())} x {shown}{others}"


def _least(evidence: Evidence, observed: Observed) -> int:
    """How often it has to be there."""
    steps = observed.new_tokens - 1
    times = {
        "once": 1,
        "each frame": observed.frames,
        "each step": steps,
        "each layer": 1,
        "each layer, used or not": 1,
        "each layer and frame": observed.frames,
        "each layer and step": steps,
        "each layer and token": observed.new_tokens,
        "each sample": observed.samples,
    }[evidence.count]
    stack = "tower" if evidence.count == "each layer, used or not" else evidence.stage
    layers = observed.layers[stack] if evidence.count.startswith("each layer") else 1
    return max(1, layers * times * evidence.times)
