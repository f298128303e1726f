"""What a run shows of how it was done, and whether that is what its variant chose.

A choice is data (`evbench.variants`), and so are its signs: names that a run leaves behind. They are collected from several
sources, each named in front:

    op:         operations, and ranges of torch.compile, as torch.profiler records them
    kernel:     what ran on the GPU
    runtime:    calls of the CUDA runtime and driver, `cudaGraphLaunch` for the replay of a graph
    function:   Python functions entered, `module.qualified name`
    pool:       the same in another thread than the main one
    decoder:    FFmpeg decoders that were opened, `codec, n threads, type of threading`
    thread:     threads of the operating system that live as long as these decoders
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from evbench.measure import Instruments
from evbench.results import STAGES, Proof
from evbench.stages import Pipeline, run_stages
from evbench.trace import PREFIX, events, ranges, record
from evbench.variants import CHOICES, GREEDY, LAYER, Sign, Variant

SOURCES = {"cpu_op": "op", "kernel": "kernel", "cuda_runtime": "runtime", "cuda_driver": "runtime"}
"""Categories of torch.profiler -> what is put in front of their names."""
TASKS = Path("/proc/self/task")
"""A folder for each thread of this process: proc(5)."""

Names = Mapping[str, Mapping[str, int]]
"""Stage -> name, its source in front -> how often it was seen."""


@dataclass(frozen=True)
class Evidence:
    """What one sample left behind. Only names that a sign looks for."""

    names: Names
    frames: int
    """Frames or event images that were given to the model."""
    new_tokens: int
    """That were generated: fewer than asked for where an answer may end early."""

    def matching(self, stage: str, pattern: str) -> dict[str, int]:
        return {name: times for name, times in self.names.get(stage, {}).items() if re.match(pattern, name)}


def gather(pipeline: Pipeline[Any, Any, Any], path: Path, new_tokens: int, using: Instruments) -> Evidence:
    """Run one sample three times, untimed: as it is, under torch.profiler, and with a hook on each call of a Python function.

    The profiler and the hook have a run each: the functions of one are no business of the other.
    """
    run_stages(pipeline, path, new_tokens)  # what is compiled now must not be seen while it is compiled
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json.gz"
        answer, work = record(lambda: run_stages(pipeline, path, new_tokens, ranges(using)), file)
        recorded = trace_names(events(file))
    names = {stage: Counter(recorded.get(stage, {})) for stage in STAGES}
    with Calls() as calls:
        run_stages(pipeline, path, new_tokens, calls.during)
    for stage, found in calls.names().items():
        names[stage].update(found)
    return Evidence(looked_for(names), len(work.frame_indices or ()), len(answer.tokens))


def trace_names(trace: Iterable[dict[str, Any]]) -> Names:
    """Operations, kernels and runtime calls of each stage, from the events of a trace with a range for each stage."""
    slices = [event for event in trace if event.get("ph") == "X"]
    spans = {
        str(event["name"]).removeprefix(PREFIX): (event["ts"], event["ts"] + event["dur"])
        for event in slices
        if event.get("cat") == "user_annotation" and str(event["name"]).startswith(PREFIX)
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
    signs = [*GREEDY, *(sign for choices in CHOICES.values() for choice in choices.values() for sign in choice.signs)]
    pattern = re.compile("|".join(f"(?:{pattern})" for pattern in sorted({LAYER, *(sign.names for sign in signs)})))
    return {stage: {name: found[name] for name in sorted(found) if pattern.match(name)} for stage, found in names.items()}


@dataclass
class Calls:
    """Counts the Python functions entered in each stage, and looks at the decoders that are opened.

    Use as a context manager, and `during(stage)` around each stage.
    """

    _stage: str | None = None
    _entered: dict[tuple[str, int, str, CodeType], int] = field(default_factory=dict)
    """(stage, thread, module, code) -> times. Each thread has its own keys, so that none loses another's counts."""
    _others: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Decoders and threads."""
    _decoders: list[Any] = field(default_factory=list)
    """Codec contexts opened in this stage. While they are kept, their threads live."""
    _main: int = field(default_factory=threading.get_ident)
    _restore: Callable[[], None] | None = None

    def __enter__(self) -> Calls:
        import av

        really_open, earlier = av.open, (sys.getprofile(), threading.getprofile())

        def noted(*arguments: Any, **named: Any) -> Any:
            container = really_open(*arguments, **named)
            self._decoders += [stream.codec_context for stream in container.streams.video]
            return container

        def restore() -> None:
            sys.setprofile(earlier[0])
            threading.setprofile(earlier[1])
            av.open = really_open

        av.open, self._restore = noted, restore
        threading.setprofile(self._count)
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._restore is not None
        self._restore()

    def during(self, stage: str) -> AbstractContextManager[None]:
        return self._watch(stage)

    @contextmanager
    def _watch(self, stage: str) -> Iterator[None]:
        before = _threads()
        self._stage = stage
        yield
        self._stage = None
        opened = [decoder for decoder in self._decoders if decoder.is_open]
        self._others[stage].update(
            f"decoder:{decoder.name}, {decoder.thread_count} threads, {decoder.thread_type.name}" for decoder in opened
        )
        self._others[stage].update(f"thread:{name}" for thread, name in _threads().items() if thread not in before)
        self._decoders.clear()

    def _count(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and self._stage is not None:
            key = self._stage, threading.get_ident(), frame.f_globals.get("__name__", "?"), frame.f_code
            self._entered[key] = self._entered.get(key, 0) + 1

    def names(self) -> Names:
        found = {stage: Counter(others) for stage, others in self._others.items()}
        for (stage, thread, module, code), times in self._entered.items():
            source = "function" if thread == self._main else "pool"
            found[stage][f"{source}:{module}.{code.co_qualname}"] += times
        return found


def _threads() -> dict[str, str]:
    """Number and name of each thread of this process. None of a thread that ends meanwhile."""
    names = {}
    for number in os.listdir(TASKS):
        try:
            names[number] = (TASKS / number / "comm").read_text().strip()
        except OSError:
            continue
    return names


def prove(variant: Variant, model: str, device: str, evidence: Evidence) -> tuple[Proof, ...]:
    """For each part in the order of CHOICES whether its choice is active, and last whether decoding is greedy."""

    def proof(part: str, choice: str, signs: tuple[Sign, ...], likeness: str = "") -> Proof:
        asked = [sign for sign in signs if model in sign.models and device in sign.devices]
        missing = [text for sign in asked if (text := unmet(sign, evidence)) is not None]
        text = "; ".join(missing) + likeness if missing else "; ".join(dict.fromkeys(filter(None, (seen(sign, evidence) for sign in asked))))
        return Proof(part, choice, not missing, text)

    proofs = []
    for part, choice in variant.choices().items():
        alike = [
            name
            for name, other in CHOICES[part].items()
            if name != choice and model in other.models and proof(part, name, other.signs).active
        ]
        likeness = f"; it ran as {part}={alike[0]} does" if alike else ""
        proofs.append(proof(part, choice, CHOICES[part][choice].signs, likeness))
    return (*proofs, proof("decoding", "greedy", GREEDY))


def unmet(sign: Sign, evidence: Evidence) -> str | None:
    """What speaks against a sign, in words. None if it is there."""
    found = evidence.matching(sign.stage, sign.names)
    if sign.times == "never":
        return f"{_told(sign, found)}, which does not belong there" if found else None
    times, least = sum(found.values()), _least(sign, evidence)
    if times >= least:
        return None
    if not found:
        return f"{sign.stage}: no {sign.what} (looked for {sign.names})"
    return f"{_told(sign, found)}, and not {least} times, as {sign.times} would have it"


def seen(sign: Sign, evidence: Evidence) -> str | None:
    """What was seen of a sign that is there, in words. None where the sign is that something is not."""
    return None if sign.times == "never" else _told(sign, evidence.matching(sign.stage, sign.names))


def _told(sign: Sign, found: Mapping[str, int]) -> str:
    """The name seen most often, and how often all of them."""
    most = max(found, key=lambda name: found[name])
    others = f" and {len(found) - 1} like it" if len(found) > 1 else ""
    return f"{sign.stage}: {sign.what}, {most.partition(':')[2]}{others}, {sum(found.values())} times"


def _least(sign: Sign, evidence: Evidence) -> int:
    """How often a sign has to be there."""
    layers = sum(evidence.matching(sign.stage, LAYER).values())
    return max(1, {"once": 1, "each frame": evidence.frames, "each step": evidence.new_tokens - 1, "each layer": layers}[sign.times])
