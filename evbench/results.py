"""What a comparison leaves behind: frozen dataclasses, seconds and bytes, and their JSON. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evbench.errors import UserError
from evbench.files import write_whole

FORMAT = 1
"""Raised whenever a file written before could no longer be read. 1: first."""

STAGES = ("load", "preprocess", "vision", "generate")
Kind = Literal["first", "warmup", "timed"]
Role = Literal["baseline", "optimized"]


@dataclass(frozen=True)
class Memory:
    """Peak memory of one stage in bytes. None where this machine cannot tell."""

    process: int | None
    """Largest resident size of the worker process."""
    allocator: int | None
    """Largest sum of live tensors on the GPU (torch.cuda.max_memory_allocated)."""
    reserved: int | None
    """Largest size of torch's memory pool on the GPU."""
    device: int | None
    """What the driver counts for this process at the end of the stage: pool, CUDA context, decoders."""


@dataclass(frozen=True)
class StageRun:
    """One stage, once."""

    seconds: float
    memory: Memory

    def __post_init__(self) -> None:
        _require_time(self.seconds)


@dataclass(frozen=True)
class Work:
    """What a run really did, told by the stages themselves. Both variants must have done the same."""

    frame_indices: tuple[int, ...] | None = None
    """Which frames of the clip, or which event images, were given to the model."""
    frame_seconds: tuple[float, ...] | None = None
    """Presentation times of these frames. None for event images."""
    frame_height: int | None = None
    frame_width: int | None = None
    decoder: str | None = None
    """Library and version that decoded the input."""
    pixel_shape: tuple[int, ...] | None = None
    """Shape of the tensor that entered the vision tower."""
    visual_tokens: int | None = None
    prompt_tokens: int | None = None
    """Length of the whole prompt, visual tokens included."""
    new_tokens: int | None = None
    stop: Literal["length", "end"] | None = None
    """Why generation ended: the asked length, or the end-of-text token."""
    dtype: str | None = None
    attention: str | None = None
    """Attention implementation that the model reports."""

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
class Run:
    """One sample through all four stages of one variant."""

    kind: Kind
    turn: int
    """Position in the order in which all runs of the session happened, both variants counted."""
    stages: dict[str, StageRun]
    work: Work
    tokens: tuple[int, ...]
    text: str

    def __post_init__(self) -> None:
        if tuple(self.stages) != STAGES:
            raise ValueError(f"a run has the stages {', '.join(STAGES)}, not {', '.join(self.stages)}")

    @property
    def seconds(self) -> float:
        """Sum over the stages."""
        return sum(stage.seconds for stage in self.stages.values())


@dataclass(frozen=True)
class Workload:
    """What both variants are asked to do. Everything but the two paths must be equal to compare two results."""

    model: str
    preset: str | None
    """A model that needs no download. None if the weights come from a folder of the user's."""
    weights: str | None
    """Checkpoint folder. None for a preset."""
    input: str
    """MP4 file, or folder of event images."""
    input_sha256: str
    frames: int
    frame_policy: str
    prompt: str
    new_tokens: int
    stop_at_end: bool
    """Whether the end-of-text token may end the answer early, on both sides."""
    device: str
    dtype: str
    seed: int | None
    """Of random weights. None where the weights are stored."""

    PATHS: typing.ClassVar[tuple[str, ...]] = ("weights", "input")


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver describes it."""

    name: str
    driver: str
    memory_bytes: int


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


@dataclass(frozen=True)
class Build:
    """A pipeline made ready: what its worker says once it stands."""

    seconds: float
    """Importing, making or reading the weights, building decoders. Compilation happens in the first run."""
    parameters: int
    weights_fingerprint: str
    """Hash over names, shapes and bits of all weights: equal on both sides, or the models differ."""
    threads: int
    """CPU threads that torch uses."""

    def __post_init__(self) -> None:
        _require_time(self.seconds)


@dataclass(frozen=True)
class Trace:
    """One sample under torch.profiler."""

    file: str
    """Name, in the folder of the session."""
    new_tokens: int
    """Fewer than in a timed run, so that viewers open it."""


@dataclass(frozen=True)
class VariantResult:
    """Everything measured of one variant."""

    variant: str
    """Name, with changed choices: `baseline+attention=eager`."""
    choices: dict[str, str]
    workload: Workload
    machine: Machine
    build: Build
    runs: tuple[Run, ...]
    trace: Trace | None
    session: str
    """When the session that measured this began: UTC, ISO 8601. Two sides of one session were run in turn."""

    def __post_init__(self) -> None:
        if not self.timed():
            raise ValueError("a result has one timed run at least")

    def timed(self) -> tuple[Run, ...]:
        """The runs that count: neither the first call nor the warm-up."""
        return tuple(run for run in self.runs if run.kind == "timed")


@dataclass(frozen=True)
class Result:
    """One session: one variant (`evbench run`, as baseline) or two."""

    format: int
    evbench: str
    """Version of evbench that wrote this."""
    created: str
    """UTC, ISO 8601."""
    command: str
    baseline: VariantResult
    optimized: VariantResult | None

    def variants(self) -> dict[Role, VariantResult]:
        sides: dict[Role, VariantResult] = {"baseline": self.baseline}
        if self.optimized is not None:
            sides["optimized"] = self.optimized
        return sides


def _require_time(seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"nothing can take {seconds} s")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Any of the dataclasses above as JSON."""
    return json.dumps(dataclasses.asdict(value), indent=indent, ensure_ascii=False, allow_nan=False)


def write(result: Result, path: Path) -> None:
    """Whole or not at all."""
    write_whole(path, to_json(result, indent=1) + "\n")


def read(path: Path) -> Result:
    """Read a result file, or the `result.json` of a folder.

    Raises:
        UserError: there is none, it is not JSON, or not a result of this format.
    """
    file = path / "result.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read result {file}: {error.strerror}; give the folder or result.json of an earlier run") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {error}; give the folder or result.json of an earlier run") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise UserError(f"{file} has format {found!r}, this evbench reads format {FORMAT}; measure again")
    try:
        result = _decode(Result, content, "result")
    except ValueError as error:
        raise UserError(f"{file} is not a result of evbench: {error}") from error
    assert isinstance(result, Result)
    return result


def _decode(kind: Any, value: Any, place: str) -> Any:
    """Build `kind` out of parsed JSON, strictly. Raises ValueError that names the place."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        names = {field.name for field in dataclasses.fields(kind)}
        if not isinstance(value, dict) or value.keys() != names:
            different = sorted(names ^ value.keys()) if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"{place} has other fields than expected: {different}")
        hints = typing.get_type_hints(kind)
        return kind(**{name: _decode(hints[name], value[name], f"{place}.{name}") for name in names})  # type: ignore[operator]
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _decode(inner, value, place)
    if origin is tuple and isinstance(value, list):
        return tuple(_decode(arguments[0], item, f"{place}[{index}]") for index, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _decode(arguments[1], item, f"{place}[{key!r}]") for key, item in value.items()}
    if origin is Literal and value in arguments:
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is str and isinstance(value, str):
        value.encode()  # raises ValueError for half a surrogate pair, which could never be written again
        return value
    if kind in (int, bool) and type(value) is kind:
        return value
    raise ValueError(f"{place} is {value!r}")
