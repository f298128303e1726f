"""What a run shows of how it was done, and whether that is what its variant chose.

A choice is data (`evbench.variants.choices`), and so are its signs: names that a run leaves behind. They are collected from several
sources, each named in front:

    op:         operations, and ranges of torch.compile, as torch.profiler records them
    kernel:     what ran on the GPU
    runtime:    calls of the CUDA runtime and driver, `cudaGraphLaunch` for the replay of a graph
    function:   Python functions entered, `module.qualified name`
    pool:       the same in another thread than the main one
    early:      a load that began before the sample before it was answered: how often
    decoder:    FFmpeg decoders that were opened, `codec, n threads, type of threading`
    thread:     threads of the operating system that live as long as these decoders
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from evbench.results import STAGES, Activation, cycled
from evbench.stages import Pipeline, run_stages
from evbench.traces import chrome
from evbench.traces.timeline import PREFIX
from evbench.variants.choices import CHOICES, Variant, effective
from evbench.variants.signs import GREEDY, LAYER, LOAD, LOAD_MANY, SIGNS, STREAM, Sign
from evbench.worker.feed import FEEDS
from evbench.worker.measure import Instruments
from evbench.worker.profile import Ranges, record
from evbench.worker.throughput import run_back_to_back

SOURCES = {"cpu_op": "op", "kernel": "kernel", "cuda_runtime": "runtime", "cuda_driver": "runtime"}
"""Categories of torch.profiler -> what is put in front of their names."""
LOADS, ANSWERS = re.compile(rf"{LOAD}|{LOAD_MANY}"), re.compile(r"evbench\.pipelines\.\w+\.(VideoLlava|EventGPT)\.generate$")
"""Functions whose order matters: entered, and left."""
FURTHER = 2
"""Samples of the stream behind those of its first load."""
LONGEST_NAME = 120
"""Letters. Names of templates take pages."""
TASKS = Path("/proc/self/task")
"""A folder for each thread of this process: proc(5)."""

Names = Mapping[str, Mapping[str, int]]
"""Stage -> name, its source in front -> how often it was seen."""


@dataclass(frozen=True)
class Evidence:
    """What one sample left behind, and some in a row. Only names that a sign looks for."""

    names: Names
    frames: int
    """Frames or event images that were given to the model."""
    new_tokens: int
    """That were generated: fewer than asked for where an answer may end early."""
    samples: int = 0
    """In the row."""

    def matching(self, stage: str, pattern: str) -> dict[str, int]:
        return {name: times for name, times in self.names.get(stage, {}).items() if re.match(pattern, name)}


def gather(pipeline: Pipeline[Any, Any, Any], feed: str, paths: Sequence[Path], new_tokens: int, using: Instruments) -> Evidence:
    """Run the first sample three times, untimed: as it is, under torch.profiler, and with a hook on each call of a Python function.
    Then some samples in a row, as the feed has them, with the hook.

    The profiler and the hook have a run each: the functions of one are no business of the other.
    """
    path = paths[0]
    run_stages(pipeline, path, new_tokens)  # what is compiled now must not be seen while it is compiled
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json.gz"
        answer, work = record(lambda: run_stages(pipeline, path, new_tokens, Ranges(using)), file)
        recorded = trace_names(chrome.read(file).events)
    names = {stage: Counter(recorded.get(stage, {})) for stage in STAGES}
    with Calls() as calls:
        run_stages(pipeline, path, new_tokens, calls.during)
    row = [paths[sample] for sample in cycled(FEEDS[feed].batch_size + FURTHER, len(paths))]
    with Calls() as calls_of_row, calls_of_row.during(STREAM):
        run_back_to_back(pipeline, feed, row, new_tokens, using.clock)
    for stage, found in (calls.names() | calls_of_row.names()).items():
        names.setdefault(stage, Counter()).update(found)
    return Evidence(looked_for(names), len(work.frame_indices or ()), len(answer.tokens), len(row))


def trace_names(trace: Iterable[dict[str, Any]]) -> Names:
    """Operations, kernels and runtime calls of each stage, from the events of a trace with a range for each stage."""
    slices = [event for event in trace if event.get("ph") == "X"]
    spans = {
        str(event["name"]).removeprefix(PREFIX): (event["ts"], event["ts"] + event["dur"])
        for event in slices
        if event.get("cat") == "user_annotation" and event["name"].removeprefix(PREFIX) in STAGES
    }
    names: dict[str, Counter[str]] = {stage: Counter() for stage in spans}
    for event in slices:
        source = SOURCES.get(event.get("cat", ""))
        stage = next((stage for stage, (start, end) in spans.items() if start <= event["ts"] < end), None)
        if source is not None and stage is not None:
            names[stage][f"{source}:{event['name']}"] += 1
    return names


def looked_for(names: Names) -> Names:
    """Without the names that no sign looks for."""
    signs = [*GREEDY, *(sign for choices in SIGNS.values() for signs in choices.values() for sign in signs)]
    pattern = re.compile("|".join(f"(?:{pattern})" for pattern in sorted({LAYER, *(sign.names for sign in signs)})))
    return {stage: {name: found[name] for name in sorted(found) if pattern.match(name)} for stage, found in names.items()}


class Calls:
    """Counts the Python functions entered in each stage, and looks at the decoders that are opened there.

    Use as a context manager, and `during(stage)` around each stage. The thread that makes it is the main one.
    """

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._stage: str | None = None
        self._entered: dict[tuple[str, int, str, CodeType], int] = {}  # each thread has keys of its own: none loses another's counts
        self._others: dict[str, Counter[str]] = {}
        self._order: list[tuple[str, str]] = []  # loads entered and answers left: event and name
        self._decoders: list[Any] = []  # as long as they are kept, their threads live

    def __enter__(self) -> Calls:
        import av

        self._before = sys.getprofile(), threading.getprofile(), av.open
        really_open = av.open

        def noted(*arguments: Any, **named: Any) -> Any:
            container = really_open(*arguments, **named)
            self._decoders += [stream.codec_context for stream in container.streams.video]
            return container

        av.open = noted
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
            key = stage, threading.get_ident(), module, code
            self._entered[key] = self._entered.get(key, 0) + 1
        if not module.startswith("evbench.pipelines."):
            return
        name = f"{module}.{code.co_qualname}"
        if event == "call" and LOADS.match(name):
            self._order.append((stage, name))
        elif event == "return" and ANSWERS.match(name):
            self._order.append((stage, ""))

    def names(self) -> dict[str, Counter[str]]:
        found = {stage: Counter(others) for stage, others in self._others.items()}
        for (stage, thread, module, code), times in self._entered.items():
            found[stage][f"{'function' if thread == self._main else 'pool'}:{module}.{code.co_qualname}"] += times
        for stage, others in found.items():
            others.update(f"early:{name}" for name in early_loads([name for where, name in self._order if where == stage]))
        return found


def early_loads(order: Iterable[str]) -> list[str]:
    """Loads that began before what the loads in front of them brought was answered.

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


def prove(variant: Variant, kind: str, device: str, evidence: Evidence) -> tuple[Activation, ...]:
    """For each part that has an effect on such input, in the order of CHOICES, whether its choice is active; and last, whether decoding is
    greedy.
    """

    def proof(part: str, choice: str, signs: Iterable[Sign]) -> Activation:
        choices = variant.choices() | {part: choice}
        return _proof(part, choice, [sign for sign in signs if applies(sign, choices, kind, device)], evidence)

    def with_likeness(found: Activation) -> Activation:
        """The same, and which other choice the run shows instead, if it does."""
        others = [(name, choice) for name, choice in CHOICES[found.part].items() if name != found.choice and kind in choice.kinds]
        alike = [name for name, _ in others if proof(found.part, name, SIGNS[found.part][name]).active]
        return replace(found, evidence="; ".join([found.evidence, *(f"it ran as {found.part}={name} does" for name in alike)]))

    activations = [proof(part, choice, SIGNS[part][choice]) for part, choice in effective(variant, kind).items()]
    return (*(found if found.active else with_likeness(found) for found in activations), proof("decoding", "greedy", GREEDY))


def applies(sign: Sign, choices: Mapping[str, str], kind: str, device: str) -> bool:
    """Whether a sign is looked for in a run of these choices (part -> choice) with such input."""
    there = all(choices[part] in among for part, among in sign.where.items())
    return there and kind in sign.kinds and device in sign.devices


def _proof(part: str, choice: str, asked: Sequence[Sign], evidence: Evidence) -> Activation:
    missing = [text for sign in asked if (text := unmet(sign, evidence)) is not None]
    there = dict.fromkeys(text for sign in asked if (text := met(sign, evidence)) is not None)
    return Activation(part, choice, not missing and bool(there), "; ".join(missing or there))


def unmet(sign: Sign, evidence: Evidence) -> str | None:
    """What speaks against a sign, in words. None if nothing does."""
    found = evidence.matching(sign.stage, sign.names)
    if sign.times == "never":
        return f"{_told(sign, found)}, which this choice does not do" if found else None
    if not found:
        return f"{sign.stage}: no {sign.what} (looked for {sign.names})"
    least = _least(sign, evidence)
    return f"{_told(sign, found)}, {least} expected ({sign.times})" if sum(found.values()) < least else None


def met(sign: Sign, evidence: Evidence) -> str | None:
    """What was seen of a sign, in words. None where the sign is that something is not there."""
    found = evidence.matching(sign.stage, sign.names)
    return _told(sign, found) if found and sign.times != "never" else None


def _told(sign: Sign, found: Mapping[str, int]) -> str:
    """The name seen most often, and how often all of them."""
    most = max(found, key=lambda name: found[name]).partition(":")[2]
    shown = most if len(most) <= LONGEST_NAME else f"{most[:LONGEST_NAME]}..."
    others = f" and {len(found) - 1} like it" if len(found) > 1 else ""
    return f"{sign.stage}: {sign.what}: {sum(found.values())} x {shown}{others}"


def _least(sign: Sign, evidence: Evidence) -> int:
    """How often a sign has to be there."""
    layers = sum(evidence.matching(sign.stage, LAYER).values())
    return max(
        1,
        {
            "once": 1,
            "each frame": evidence.frames,
            "each step": evidence.new_tokens - 1,
            "each layer": layers,
            "each sample": evidence.samples,
        }[sign.times],
    )
