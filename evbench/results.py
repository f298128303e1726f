"""The result of a comparison: frozen dataclasses, times in seconds and sizes in bytes, and their file."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from evbench import digest, results_upgrade
from evbench.encoding import from_json, write_whole
from evbench.errors import UserError

RESULT = "result.json"
"""File of a `Result` in the folder of its session."""
FORMAT = 8
"""Raised whenever fields change. `evbench.results_upgrade` reads the format before. 1: first. 2: blocks, runs without synchronized stages,
several samples. 3: outputs compared, activation of choices. 4: throughput runs. 5: traces in numbers. 6: windows of raw events. 7: number
of events. 8: names of the field."""

PNG = b"\x89PNG\r\n\x1a\n"
"""How a file of that kind begins (w3.org/TR/png-3, 5.2)."""
PNG_END = b"IEND\xaeB`\x82"
"""How it ends."""
STAGES = ("load", "preprocess", "vision", "generate")
SHORTEST, LONGEST = 1e-9, 1e9
"""Seconds of a whole run: what a clock may find, so that ratios of them are numbers."""
DEADLINE = 3600.0
"""Seconds that a worker may take for one answer, if nothing else is asked for: no build and no run takes as long."""
Kind = Literal["first", "warmup", "timed", "blocked"]
"""The first call; warm-up; runs in blocks, which count; the blocked-order confirmation: all runs of one side, then all of the other."""
Side = Literal["baseline", "optimized"]
SIDES: tuple[Side, Side] = ("baseline", "optimized")
LETTERS: dict[Side, str] = {"baseline": "A", "optimized": "B"}
"""How the order of a block is written."""


@dataclass(frozen=True)
class Memory:
    """Peak memory of one stage in bytes. None where this machine does not report it."""

    process: int | None
    """Largest resident size of the worker process."""
    allocator: int | None
    """Largest sum of live tensors on the GPU (torch.cuda.max_memory_allocated)."""
    reserved: int | None
    """Largest size of torch's memory pool on the GPU."""
    device: int | None
    """What the driver counts for this process at the end of the stage: pool, CUDA context, decoders."""
    non_torch: int | None
    """What of `device` is not torch's: CUDA context, video decoder, DALI, libraries."""


@dataclass(frozen=True)
class StageRun:
    """One stage, once."""

    seconds: float
    """On the host's clock, between two synchronised boundaries."""
    stream_seconds: float | None
    """Between two CUDA events on the compute stream, its gaps included. None where there is no GPU, or other streams do the work."""
    memory: Memory

    def __post_init__(self) -> None:
        _require_time(self.seconds)


@dataclass(frozen=True)
class Work:
    """What a run really did, as the stages themselves report it. It must be equal on both sides."""

    frame_indices: tuple[int, ...] | None = None
    """Which frames of the clip, or which event images, were given to the model: of a batch those of each sample, one after the other."""
    frame_seconds: tuple[float, ...] | None = None
    """Presentation times of these frames. None for event images."""
    frame_height: int | None = None
    frame_width: int | None = None
    decoder: str | None = None
    """Library and version that decoded the input."""
    events: int | None = None
    """Number of raw events in the event images."""
    events_microseconds: int | None = None
    """From the first of them to the last."""
    pixel_shape: tuple[int, ...] | None = None
    """Shape of the tensor that entered the vision tower."""
    visual_tokens: int | None = None
    """Of all samples of a batch together."""
    prompt_tokens: int | None = None
    """Length of the whole prompt, visual tokens included. Of a batch that of one, as all are equally long."""
    new_tokens: int | None = None
    """Of one answer."""
    stop: Literal["length", "end"] | None = None
    """Why generation ended: the asked length, or the end-of-text token."""
    dtype: str | None = None
    attention: str | None = None
    """Attention implementation that the model reports."""
    encoded_in: Literal["generate"] | None = None
    """The stage that encodes the pictures, where that is not `vision`: the two are measured as one."""

    def merged(self, other: Work) -> Work:
        """Both accounts as one. Raises ValueError if they contradict each other."""
        values = dataclasses.asdict(self)
        for name, value in dataclasses.asdict(other).items():
            if value is not None and values[name] not in (None, value):
                raise ValueError(f"two stages disagree on {name}: {values[name]} and {value}")
            if value is not None:
                values[name] = value
        return Work(**values)


@dataclass(frozen=True)
class CompileCounts:
    """What a run compiled and captured for later runs. In a timed run this is nothing, or its block does not count."""

    compiled: int
    """Graphs that torch.compile traced."""
    cached: int
    """Of these, how many were found in the compile cache on disk."""
    captured: int
    """CUDA graphs captured."""
    kernels: int
    """Triton kernels compiled or tuned."""

    def __bool__(self) -> bool:
        return any((self.compiled, self.captured, self.kernels))


@dataclass(frozen=True)
class Drafting:
    """Speculative decoding of one answer."""

    passes: int
    """Of the language model over drafts, the prefill not counted."""
    drafted: int
    """Tokens, in all passes."""
    accepted: int
    """Of these."""
    rejecting: int
    """Passes in which a draft was not accepted: of those behind it nothing is known."""
    draft_seconds: float
    """On the stream, all passes: from the token in front of a pass until its drafts are there, the host's part included."""
    verify_seconds: float
    """On the stream, all passes: from there until the model has gone over them."""

    def __post_init__(self) -> None:
        if not (0 <= self.accepted <= self.drafted - self.rejecting and 0 <= self.rejecting <= self.passes and self.passes > 0):
            told = f"{self.accepted} of {self.drafted} drafts cannot be accepted in {self.passes} passes"
            raise ValueError(f"{told}, of which {self.rejecting} rejected one")
        for seconds in (self.draft_seconds, self.verify_seconds):
            _require_time(seconds)


@dataclass(frozen=True)
class Run:
    """One sample through all four stages of one variant."""

    kind: Kind
    turn: int
    """Position in the order in which all runs of the session happened, both variants counted."""
    sample: int
    """Index into the workload's samples."""
    block: int | None
    """Number of the block. None outside of blocks."""
    seconds: float
    """Without stage synchronization: from the first stage's start to the last one's end. With it: the sum of the stages."""
    stages: dict[str, StageRun] | None
    """None for a run without synchronization between the stages."""
    prefill_seconds: float | None
    """Inside generate: to the first token's logits, by CUDA events on a GPU. None without stage synchronization."""
    decode_step_seconds: tuple[float, ...] | None
    """Inside generate: each decode step. None without stage synchronization."""
    compile_counts: CompileCounts
    reserved: int | None
    """Size of torch's memory pool after the run. None on a CPU."""
    work: Work
    tokens: tuple[int, ...]
    """Of a batch the first token of each answer, then the second of each, and so on."""
    text: str
    drafting: Drafting | None = None
    """None where nothing was drafted, and without stage synchronization."""

    def __post_init__(self) -> None:
        _require_time(self.seconds, SHORTEST)
        for seconds in (self.prefill_seconds or 0.0, *(self.decode_step_seconds or ())):
            _require_time(seconds)
        if self.stages is not None and tuple(self.stages) != STAGES:
            raise ValueError(f"a run has the stages {', '.join(STAGES)}, not {', '.join(self.stages)}")


@dataclass(frozen=True)
class ThroughputRun:
    """Samples back to back through all four stages of one variant: those of the workload in order, cycled if they are fewer."""

    turn: int
    """Position among all runs and throughput runs of the session."""
    block: int | None
    """Number of the block. None for the warm-up."""
    seconds: float
    """From the start of the first load to the end of the last generate."""
    samples: int
    load_seconds: float
    """Sum over all calls of load, in whichever thread, on the host's clock: the device was not waited for."""
    load_wait_seconds: float
    """How long the thread that runs the other stages waited for samples to be loaded: as long as loading takes, if it loads itself."""
    compile_counts: CompileCounts
    work: tuple[Work, ...]
    """Of each sample."""
    tokens: tuple[tuple[int, ...], ...]
    """Of each sample."""

    def __post_init__(self) -> None:
        _require_time(self.seconds, SHORTEST)
        for seconds in (self.load_seconds, self.load_wait_seconds):
            _require_time(seconds)
        if not 0 < self.samples == len(self.work) == len(self.tokens):
            raise ValueError(
                f"a throughput run of {self.samples} samples has {len(self.tokens)} outputs, and {len(self.work)} records of work"
            )


def cycled(count: int, samples: int) -> list[int]:
    """Indices of the samples of a throughput run of `count`, out of a workload with `samples` of them.

    >>> cycled(5, 2)
    [0, 1, 0, 1, 0]
    """
    return [index % samples for index in range(count)]


@dataclass(frozen=True)
class ImagesBeside:
    """The event images that lie beside a clip, where a side has another model draft from them."""

    count: int
    sha256: str
    """Over all of them, in order."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a model drafts from {self.count} event images")


@dataclass(frozen=True)
class Sample:
    """One input."""

    path: str
    """Video file, folder of event images, or file of raw events."""
    sha256: str
    height: int
    width: int
    caption: str | None = None
    """The expected output. None where it is unknown."""
    streams: int = 1
    """Video streams of a clip's file, previews and covers among them. The clip is the one that FFmpeg chooses."""
    sequence: str | None = None
    """The recording that it is a window of. None: it is independent of all other samples."""
    beside: ImagesBeside | None = None
    """None where no side of the session drafts from any, and in results from before they were recorded."""
    others: tuple[Sample, ...] = ()
    """The other samples of its batch, which go through the stages together with it. Empty where each goes by itself."""

    def rows(self) -> tuple[Sample, ...]:
        """All samples of its batch, itself first."""
        return (self, *self.others)


InputKind = Literal["video", "event-images", "events"]
"""What a sample is: a clip, a folder of event images, or a file of raw events."""
PictureSize = Literal["own", "sensor"]


@dataclass(frozen=True)
class EventWindow:
    """Which of a file's raw events are rendered into event images, and how large these are. Times in microseconds."""

    start: int
    """After the file's first event."""
    length: int | None
    """The first event this long behind the start is outside. None for all that follow."""
    longest: int | None
    """The events of a window span less than this, or it is refused, as the released code for raw events does. None for no limit."""
    size: PictureSize
    """own: each slice's event image is (largest y + 1, largest x + 1) of that slice, as the released code has it. sensor: as large as the
    camera's sensor."""

    def __post_init__(self) -> None:
        if self.start < 0 or any(span is not None and span <= 0 for span in (self.length, self.longest)):
            raise ValueError(f"no window starts at {self.start} us, is {self.length} us long and {self.longest} us at most")


@dataclass(frozen=True)
class Workload:
    """What both variants are asked to do. Everything but the paths must be equal to compare two results."""

    model: str
    preset: str | None
    """A model that needs no download. None if the weights come from a folder of the user's."""
    weights: str | None
    """Checkpoint folder. None for a preset."""
    samples: tuple[Sample, ...]
    """Of a batch the first one, which holds the others."""
    frames: int
    frame_policy: str
    prompt: str
    new_tokens: int
    stop_at_end: bool
    """Whether the end-of-text token may end generation early, on both sides."""
    device: str
    dtype: str
    seed: int | None
    """Of random weights. None where the weights are stored, or grown from stored ones."""
    window: EventWindow | None = None
    """None where the samples are no raw events."""
    kind: InputKind = field(kw_only=True)
    """What the samples are."""

    def __post_init__(self) -> None:
        if not self.samples:
            raise ValueError("a workload has at least one sample")
        if len({len(sample.others) for sample in self.samples}) > 1 or any(row.others for one in self.samples for row in one.others):
            raise ValueError("the batches of a workload are of one size, and none is in another")
        if (self.kind == "events") != (self.window is not None):
            raise ValueError(f"raw events have a window, and nothing else has; the samples are {self.kind}, the window is {self.window}")

    @property
    def batch(self) -> int:
        """Samples that go through the stages together: 1 for each by itself."""
        return len(self.samples[0].rows())


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver describes it. None for what it does not report."""

    name: str
    driver: str
    memory_bytes: int
    power_limit_watts: float | None
    """What it may draw now."""
    default_power_limit_watts: float | None
    max_sm_mhz: int | None
    """Highest clock of its multiprocessors."""
    applications_sm_mhz: int | None
    """Clock that somebody has set. None if it is left to the driver."""


@dataclass(frozen=True)
class Machine:
    """Where a result was measured."""

    system: str
    cpu: str
    cores: int
    """Cores this process may use."""
    memory_bytes: int | None
    gpu: Gpu | None
    """The GPU that the workers use. None for a run on the CPU."""
    python: str
    packages: dict[str, str | None]
    """Versions; None if not installed."""
    source: str | None
    """Commit of evbench, and whether files were changed since. None outside of a git checkout."""


@dataclass(frozen=True)
class Build:
    """What a worker reports of its pipeline once it is built."""

    seconds: float
    """Imports, creating or reading the weights, building decoders. Compilation happens in the first run."""
    parameters: int
    weights_fingerprint: str
    """Hash over names, shapes and bits of all weights: equal on both sides, or the models differ."""
    threads: int
    """CPU threads that torch uses."""
    libraries: dict[str, str | None]
    """Versions of what torch and PyAV were built with: cuda, cudnn, libavcodec."""
    cached_files: int
    """Files in the compile cache on disk before anything was compiled. 0: the cache was cold."""

    def __post_init__(self) -> None:
        _require_time(self.seconds)


@dataclass(frozen=True)
class Completeness:
    """Whether a trace holds everything that happened."""

    losses: tuple[str, ...]
    """What speaks against it. Empty: it is complete."""
    launches: int
    """Calls of the host, in the stages, that launch work on the GPU."""
    work: int
    """Kernels, copies and fills that ran on the GPU."""
    min_in_step: int | None
    """Of these, in a decode step; of operations where there is no GPU. None if steps are not separated."""
    max_in_step: int | None
    slowdown: dict[str, float]
    """Stage -> its time in the trace against the same run without the profiler."""


@dataclass(frozen=True)
class Used:
    """Kernels, copies or operations of one name."""

    name: str
    family: str
    seconds: float
    calls: int
    bytes_copied: int
    """Of copies and fills, where the profiler reports it."""


@dataclass(frozen=True)
class Section:
    """A stage of a trace, or the prefill or decode loop of generate."""

    name: str
    seconds: float
    """From its first to its last moment, the profiler's overhead included."""
    busy: float | None
    """Of these, with work on the GPU. None without a GPU."""
    host_bound: float | None
    """Of these, host-bound (launch-bound): the GPU is idle and the host has not launched its next work yet."""
    used: tuple[Used, ...]
    """Work on the GPU; without one operations on the host, each without those inside it. The longest first."""


@dataclass(frozen=True)
class Trace:
    """One sample under torch.profiler."""

    file: str
    """Name, in the folder of the session."""
    new_tokens: int
    """Usually fewer than in a timed run, so that viewers open it."""
    slowdown: float
    """Time of the profiled run against the same run without the profiler."""
    completeness: Completeness
    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        if not self.file or "/" in self.file or self.file.startswith("."):
            raise ValueError(f"{self.file!r} is no name of a trace in the folder of its session")


DECODING = "decoding"
"""In the place of a part: how the next token is chosen."""


@dataclass(frozen=True)
class Activation:
    """Evidence of whether a choice of the variant was active in a run."""

    part: str
    """Of `evbench.pipelines.registry.PARTS`, or DECODING."""
    choice: str
    active: bool
    evidence: str
    """What was observed, in which stage and how often; or what was expected and is missing."""


@dataclass(frozen=True)
class Energy:
    """What the GPU consumed while samples ran one after the other, by its own counter."""

    samples: int
    seconds: float
    joules: float
    integrated_joules: float
    """From power readings over the same time, to check the counter."""
    idle_watts: float | None
    """Before the first worker started. Not subtracted. None if the GPU does not report it."""

    def __post_init__(self) -> None:
        _require_time(self.seconds, SHORTEST)
        if self.samples < 1 or any(joules and not 1e-9 <= joules < 1e15 for joules in (self.joules, self.integrated_joules)):
            raise ValueError(f"an energy of {self.joules} J, or {self.integrated_joules} J, for {self.samples} samples is impossible")


SHORT_ANSWER = 8
"""New tokens at most in runs that look for caches and for evidence of choices. 7 steps show both; the rest would take most of the time."""


@dataclass(frozen=True)
class CachePair:
    """Two runs of one side, one after the other: on input that it has seen, and on input that it has not."""

    seen: dict[str, float]
    """Stage, or `prefill` -> seconds; of `generate` for each new token."""
    unseen: dict[str, float]

    def __post_init__(self) -> None:
        if not self.seen or self.seen.keys() != self.unseen.keys():
            raise ValueError("the two runs of a pair have the same timings, one at least")
        if not all(SHORTEST <= seconds <= LONGEST for run in (self.seen, self.unseen) for seconds in run.values()):
            raise ValueError("a run of a pair has a time that is impossible")


@dataclass(frozen=True)
class CacheCheck:
    """Whether a side is faster on what it has seen: a cache across runs, which timed runs of one sample would reward."""

    pairs: tuple[CachePair, ...]
    other_bytes: bool
    """Whether the unseen file had other bytes. If not, it was another file of the same bytes."""
    unchanged: dict[str, float] = field(default_factory=dict)
    """Stage -> share of the rows of its output that were bit for bit the same on other input, in the pair with most of them; of `load`, for
    another sample. Without stages whose output cannot be seen, or that had no other input."""

    def __post_init__(self) -> None:
        if not self.pairs or any(pair.seen.keys() != self.pairs[0].seen.keys() for pair in self.pairs):
            raise ValueError("the pairs of a side, one at least, have the same timings")


@dataclass(frozen=True)
class NetworkShape:
    """Of a CLIP tower and a LLaMA-shaped decoder, by their configs: what floors of times are computed from."""

    vision_layers: int
    """That the features need."""
    vision_hidden: int
    vision_intermediate: int
    vision_tokens: int
    """Of one image, the class token included."""
    patch: int
    """Pixels along its edge."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int
    weight_bytes: int
    """Of one weight."""


@dataclass(frozen=True)
class Rates:
    """The most that this machine did in a short measurement, on the device of the workload."""

    read: float
    """Bytes per second, the best over several sizes: small ones stay in caches."""
    product: float
    """Operations per second in products of matrices, the better of float32 and bfloat16."""


@dataclass(frozen=True)
class Ceilings:
    """Of which `Rates` are the best: what this machine did in each kind of measurement."""

    read: float
    """Bytes per second, summed."""
    copy: float
    """Bytes per second, read and written counted each."""
    product: dict[str, float]
    """Type -> operations per second in a product of matrices of that type: a multiplication and an addition are two."""

    def rates(self) -> Rates:
        return Rates(max(self.read, self.copy), max(self.product.values()))


@dataclass(frozen=True)
class Limits:
    """What physical floors of times are computed from."""

    rates: Rates
    network: NetworkShape | None
    """None if it is of another kind: then only loading and preprocessing have a floor of their own."""


RunOrder = Literal["interleaved", "reload"]
"""Both workers live, and their runs alternate; or only one fits at a time, and is restarted for each of its parts of a block."""


@dataclass(frozen=True)
class Plan:
    """How much is run, and how."""

    order: RunOrder
    blocks: int
    """Minimum number. With several samples, rounded up to an equal number for each."""
    invocations: int
    """Process restarts of each worker over the session. Where only one worker fits at a time, one for each block."""
    precision: float | None
    """Half-width of the interval, relative, for which blocks are added. None to add none."""
    max_seconds: float
    """No block is added after this much time in timed runs."""
    warmup_runs: int
    """Maximum number of runs until steady, for each variant and shape of input: five at least, and more while something is compiled."""
    warmup_seconds: float
    trace_tokens: int
    """New tokens in the profiled run: a trace of all of them is too large for most viewers. 0 for no trace."""
    trace_modules: bool
    """Whether each module of the model has a range of its own there."""
    cold_files: bool
    """Whether the input is dropped from the page cache before each run."""
    cold_compile: bool
    """Whether the workers start with an empty compile cache."""
    throughput: int
    """Samples in each throughput run. 0 for none."""
    deadline_seconds: float = DEADLINE
    """A worker that does not answer a request for so long is ended. The default in results of evbench before this was done."""


@dataclass(frozen=True)
class Block:
    """Alternating runs of both sides on one sample: the unit of all statistics."""

    number: int
    sample: int
    invocation: int
    """Which process restart of the workers it ran on: processes of one variant are not equally fast."""
    order: str
    """`ABBA`: A is the baseline, B the optimized side."""
    disturbances: tuple[str, ...]
    """Why it does not count and was run again (interference). Empty if it counts."""
    remarks: tuple[str, ...]
    """What was observed and is no reason to run it again."""
    sm_mhz: int | None
    """Clock of the GPU's multiprocessors, the median of the readings after each run. None on a CPU."""


@dataclass(frozen=True)
class Session:
    """What the runs of one session have in common."""

    started: str
    """UTC, ISO 8601. Names the session."""
    machine: Machine
    plan: Plan
    seed: int
    """Of the order of the blocks."""
    blocks: tuple[Block, ...]
    remarks: tuple[str, ...]
    """What was observed of the machine before the first run."""
    limits: Limits | None = None
    """Measured behind the blocks, in the worker of the first side. None if they were not: for one side alone, for two models, and in
    results of evbench before this was done."""


@dataclass(frozen=True)
class Plugin:
    """A Python file of somebody else's that a side used something of."""

    file: str
    """Its name, without a folder."""
    sha256: str
    choices: dict[str, str]
    """Part -> choice, of those that are of it. The part `pipeline` is all stages."""
    unseen: tuple[str, ...] = ()
    """Stages whose output cannot be seen, of a pipeline of its own."""

    def __post_init__(self) -> None:
        if not self.file or "/" in self.file:
            raise ValueError(f"{self.file!r} is no name of a file")


@dataclass(frozen=True)
class FailedSample:
    """A sample that a side could not use. It is left out on both sides, and is not in their workloads."""

    number: int
    """Among all samples that were given, from 0."""
    path: str
    reason: str


@dataclass(frozen=True)
class SideResult:
    """Everything measured of one variant."""

    variant: str
    """Name, with changed choices: `baseline+attention=eager`."""
    choices: dict[str, str]
    workload: Workload
    session: str
    """Start time of the session that measured this. Two sides of one session were interleaved."""
    builds: tuple[Build, ...]
    """One for each process restart."""
    unsteady: tuple[str, ...]
    """Why the warm-up was not steady when it ended at its limit. Empty if it was."""
    runs: tuple[Run, ...]
    throughput_runs: tuple[ThroughputRun, ...]
    trace: Trace | None
    energy: Energy | None
    """None on a CPU, or where there is no counter."""
    activations: tuple[Activation, ...]
    """One for each part, and one for greedy decoding. Empty if the session was interrupted before."""
    unverified: str = ""
    """Why the runs of an earlier result could not be held against their journal. Empty if they were, or were measured with this result."""
    cache_check: CacheCheck | None = None
    """None if it was not made, as `Session.limits`."""
    plugins: tuple[Plugin, ...] = ()
    """Files that some of its choices are of. Empty if all are of evbench."""
    failed: tuple[FailedSample, ...] = ()
    """Samples that it could not use."""

    def __post_init__(self) -> None:
        if not self.timed():
            raise ValueError("a result has at least one timed run")
        if not any(run.kind == "first" for run in self.runs):
            raise ValueError("a result has a first call")
        if not self.builds:
            raise ValueError("a result has at least one build")
        if any(not 0 <= run.sample < len(self.workload.samples) for run in self.runs):
            raise ValueError("a run is of a sample that the workload does not have")

    def timed(self) -> tuple[Run, ...]:
        """The runs in blocks, disturbed ones included."""
        return tuple(run for run in self.runs if run.kind == "timed")

    def timed_throughput_runs(self) -> tuple[ThroughputRun, ...]:
        """The throughput runs in blocks, disturbed ones included."""
        return tuple(run for run in self.throughput_runs if run.block is not None)

    def tokens_by_sample(self) -> dict[int, list[tuple[int, ...]]]:
        """Sample -> its tokens in every timed run and throughput run."""
        found: dict[int, list[tuple[int, ...]]] = {}
        for run in self.timed():
            found.setdefault(run.sample, []).append(run.tokens)
        for row in self.timed_throughput_runs():
            for sample, tokens in zip(cycled(row.samples, len(self.workload.samples)), row.tokens, strict=True):
                found.setdefault(sample, []).append(tokens)
        return found

    def work(self) -> list[tuple[int, Work]]:
        """(sample, work) of every timed run and throughput run."""
        found = [(run.sample, run.work) for run in self.timed()]
        for row in self.timed_throughput_runs():
            found += zip(cycled(row.samples, len(self.workload.samples)), row.work, strict=True)
        return found


Grade = Literal["pass", "warn", "fail"]
Mode = Literal["baseline-repeat", "end-to-end", "stage-isolated"]
"""baseline-repeat: the baseline against itself. end-to-end: each stage on the output of the stage before it. stage-isolated: each stage on
the baseline's input of that stage."""


@dataclass(frozen=True)
class Check:
    """One rule for the outputs of one stage, over all samples."""

    stage: str
    mode: Mode
    rule: str
    grade: Grade
    """The worst over the samples."""
    value: float
    """Of the worst sample. Higher is worse."""
    threshold: float
    """A value above it does not pass."""
    location: str
    """Of the worst element. Empty where the rule is for the whole output."""
    detail: str
    """In words. Empty if there is nothing to add."""
    sample: int
    """The worst one."""
    samples: int
    """Number that were compared."""
    failed: int
    """Number of these that failed."""

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"a check is of a stage, not of {self.stage!r}")


@dataclass(frozen=True)
class SampleLoss:
    """How far the next-token distributions of each side are from those of the reference with nothing lossy, after each of the baseline's
    tokens."""

    sample: int
    positions: int
    """Tokens that were predicted."""
    divergence: dict[Side, float]
    """KL divergence of the side from the reference, in nats, the mean over the positions."""
    same_top1: dict[Side, int]
    """Positions at which the most likely token is the reference's."""

    def __post_init__(self) -> None:
        if self.positions < 1 or any(not 0 <= count <= self.positions for count in self.same_top1.values()):
            raise ValueError(f"of {self.positions} positions, {self.same_top1} cannot be the same")


@dataclass(frozen=True)
class Loss:
    """Of a comparison in which a side has choices that change outputs by design."""

    choices: dict[Side, dict[str, str]]
    """Sides that have such choices: part -> choice."""
    samples: tuple[SampleLoss, ...]
    """Of those that were compared. Empty without a reference."""

    def __post_init__(self) -> None:
        if not any(self.choices.values()):
            raise ValueError("without a choice that loses something there is no loss")


@dataclass(frozen=True)
class WorstPicture:
    """The frame or event image in which the sides differ most, of all samples that were compared."""

    sample: int
    frame: int
    """Its place among those that the model got."""
    levels: float
    """The largest difference, in 8-bit levels."""
    png: str
    """Beside each other, about as large as the model sees them: the baseline's, that of the optimized side, and their difference
    times eight. Base64."""

    def __post_init__(self) -> None:
        picture = base64.b64decode(self.png, validate=True)
        if not (picture.startswith(PNG) and picture.endswith(PNG_END)):
            raise ValueError(f"the picture of frame {self.frame} is no whole PNG")


@dataclass(frozen=True)
class Outputs:
    """Outputs of the optimized side compared with the baseline's."""

    reference: str | None
    """Type that the reference computed in. None if there is no reference, because it did not fit in memory."""
    samples: tuple[int, ...]
    """Indices of those whose stages were compared."""
    checks: tuple[Check, ...]
    """With a loss, of outputs less what the reference loses with the same choices."""
    loss: Loss | None = None
    """None if no side has a lossy choice."""
    worst_picture: WorstPicture | None = None
    """None where all are equal, or none was compared."""


ALLOW_CACHED = "cached"
"""For `--allow`: to claim also where a side is faster on input that it has seen."""
ALLOW_LOSSY = "lossy"
"""For `--allow`: the exit code is of the times also where outputs are lossy by design. The verdict stays LOSSY."""
ALLOWED_CLAIMS = (ALLOW_CACHED, ALLOW_LOSSY)


@dataclass(frozen=True)
class Rules:
    """What decides on claims and on the exit code."""

    noise_floors: dict[str, float]
    """Name of a timing -> its noise floor on this machine, relative, by `evbench selftest`. Empty if it was not measured."""
    fail_if: tuple[str, ...]
    targets: tuple[str, ...]
    require_speedup: bool
    allowed: tuple[str, ...]
    """Differences between the machines of the two sides that were allowed by name; and ALLOWED_CLAIMS."""


@dataclass(frozen=True)
class Result:
    """Of one variant (`evbench run`, as baseline) or of two."""

    format: int
    evbench: str
    """Version of evbench that wrote this."""
    created: str
    """UTC, ISO 8601."""
    command: str
    rules: Rules
    sessions: tuple[Session, ...]
    """One, or two if the sides were measured apart."""
    baseline: SideResult
    optimized: SideResult | None
    outputs: Outputs | None
    """None for one variant, or if the session was interrupted before outputs were compared."""

    def __post_init__(self) -> None:
        if missing := {side.session for side in self.variants().values()} - {session.started for session in self.sessions}:
            raise ValueError(f"no session of {', '.join(sorted(missing))}")

    def variants(self) -> dict[Side, SideResult]:
        sides: dict[Side, SideResult] = {"baseline": self.baseline}
        if self.optimized is not None:
            sides["optimized"] = self.optimized
        return sides

    def session(self, side: SideResult) -> Session:
        """The session that measured this side."""
        return next(session for session in self.sessions if session.started == side.session)


def _require_time(seconds: float, least: float = 0.0) -> None:
    if not least <= seconds < LONGEST:
        raise ValueError(f"a time of {seconds} s is impossible")


def _require_moment(place: str, text: str) -> None:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.utcoffset() != datetime.timedelta(0) or "T" not in text:
        raise ValueError(f"{place} is {text!r}, and no time in UTC such as 2026-01-31T12:00:00Z")


def require_consistent(result: Result) -> None:
    """Hold the runs of a result that was read against its blocks. Raises ValueError if they cannot be of one session."""
    _require_moment("created", result.created)
    for number, session in enumerate(result.sessions):
        _require_moment(f"sessions[{number}].started", session.started)
    for measured in result.variants().values():
        blocks = {block.number: block.sample for block in result.session(measured).blocks}
        if not blocks:
            raise ValueError("its session has no block")
        if len(blocks) != len(result.session(measured).blocks):
            raise ValueError("two of its blocks have the same number")
        if any(not 0 <= sample < len(measured.workload.samples) for sample in blocks.values()):
            raise ValueError("a block is of a sample that the workload does not have")
        for run in measured.runs:
            if run.block is None and run.kind == "timed":
                raise ValueError(f"the timed run of turn {run.turn} is of no block")
            if run.block is not None and (run.block not in blocks or run.kind != "timed"):
                reason = "and only timed runs are of one" if run.block in blocks else "which its session does not have"
                raise ValueError(f"the {run.kind} run of turn {run.turn} is of block {run.block}, {reason}")
            if run.block is not None and blocks[run.block] != run.sample:
                raise ValueError(f"the timed run of turn {run.turn} is of another sample than its block {run.block}")
        if any(run.block not in blocks for run in measured.timed_throughput_runs()):
            raise ValueError("a throughput run is of a block that its session does not have")
        for number in blocks:
            if {run.stages is None for run in measured.timed() if run.block == number} != {False, True}:
                raise ValueError(f"block {number} has no runs with and without stage synchronization of each side")


SESSION = "session.json"
"""Of a folder: what its session was begun with."""


def write(result: Result, path: Path) -> None:
    """Whole or not at all, with a digest of its content."""
    content = digest.sealed(dataclasses.asdict(result))
    write_whole(path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def require_ended(folder: Path) -> None:
    """Raises UserError for the folder of a session that was begun and has left no result so far."""
    if (folder / SESSION).is_file() and not (folder / RESULT).exists():
        raise UserError(f"{folder} holds a session that has not ended; give the command that began it, with --out {folder} --resume")


def read(path: Path | str) -> Result:
    """Read a result file, or the `result.json` of a folder.

    Raises:
        UserError: there is none, it is not JSON, not a result, was changed after it was written, or is of a format that cannot be read.
    """
    path = Path(path)
    require_ended(path)
    file = path / RESULT if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read result {file}: {error.strerror}; give the folder or {RESULT} of an earlier run") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {error}; give the folder or {RESULT} of an earlier run") from error
    plain = digest.unsealed(content, str(file))
    try:
        result = from_json(Result, results_upgrade.result(plain, FORMAT, str(file)), "result")
        require_consistent(result)
        return result
    except (ValueError, RecursionError) as error:
        former = results_upgrade.former_names(str(error), plain, FORMAT)
        raise UserError(f"{file} is not a result of evbench: {error}{former}") from error


ISOLATED = "stage-isolated/"
"""Prefix of the name of a stage that ran on the baseline's input. Without it, the stage ran on the output of the stage before."""


@dataclass(frozen=True)
class Delay:
    """A planted slowdown of one stage, as a share of its time."""

    stage: str
    share: float
