"""What is known of a machine. Gathered by `gather`; a test may make up any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evbench.machine.needs import Lack
from evbench.results import Machine


@dataclass(frozen=True)
class Answer:
    """What a library said when it was asked in a process of its own."""

    said: Mapping[str, Any] = field(default_factory=dict)
    """Name -> value, as JSON has it: all that was said before a fault."""
    fault: str = ""
    """How asking failed, in words that "importing it" may stand in front of. Empty if it did not."""
    late: bool = False
    """Whether that is all that failed: there was no time to wait any longer."""


@dataclass(frozen=True)
class Driver:
    """The first visible GPU as its driver has it now. None for what it does not report."""

    uuid: str | None
    """By which evbench locks it."""
    cuda: tuple[int, int] | None
    """Newest CUDA that the driver supports."""
    capability: tuple[int, int] | None
    """Compute capability of the GPU."""
    sm_mhz: int | None
    processes: int
    """That have the GPU open."""
    busy: int | None
    """Per cent of the last second."""
    throttled: tuple[str, ...] = ()
    """Why the clock is held down."""


@dataclass(frozen=True)
class Requirement:
    """A package that evbench requires, by its own metadata."""

    package: str
    versions: str
    """Such as `>=2.11`. Empty if any will do."""
    installed: str | None
    """None if it is not."""
    met: bool


@dataclass(frozen=True)
class Place:
    """A folder that evbench writes into."""

    purpose: str
    folder: str
    free_bytes: int | None
    """None if it is not known."""
    writable: bool


@dataclass(frozen=True)
class VariantHere:
    """A named variant with a model and a kind of input."""

    variant: str
    model: str
    kind: str
    obstacles: Mapping[str, str]
    """Part -> reason, of `evbench.variants.obstacles`."""


@dataclass(frozen=True)
class Facts:
    """Of one machine."""

    device: str
    """That evbench would use: cuda or cpu."""
    machine: Machine
    """Its GPU is None where the driver shows none, also for the device cuda."""
    available_bytes: int
    """Memory that programs may still take."""
    no_gpu: str
    """Why there is none, as far as it is known. Empty if there is one."""
    no_gpu_cure: str
    """Empty if nothing can be done."""
    measured_by: str | None
    """Process number of another evbench that measures on the device."""
    driver: Driver | None
    requirements: tuple[Requirement, ...]
    """Empty if evbench has no metadata, as in a checkout that is not installed."""
    answers: Mapping[str, Answer]
    """Name of a question (`evbench.doctor.questions`) -> answer. Without those that were not asked."""
    lacks: Mapping[str, Lack]
    """Need of `evbench.machine.needs` -> what is missing on the device. Without those that are there."""
    compiler: str
    interpreted: bool
    """Whether TRITON_INTERPRET is set."""
    places: tuple[Place, ...]
    presets: Mapping[str, Mapping[str, str]]
    """Model -> preset, the default first -> why it does not fit into memory; empty if it does."""
    floors: tuple[str, ...]
    """Kinds of work whose noise floor is known for this machine."""
    floors_fault: str
    """Why stored noise floors cannot be read. Empty if they can."""
    variants: tuple[VariantHere, ...]

    def answer(self, question: str) -> Answer:
        """Empty for a question that was not asked."""
        return self.answers.get(question, Answer())
