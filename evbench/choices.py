"""The parts of a pipeline and their choices, as data.

Each choice is one entry in the `choices.py` beside its code (evbench/pipelines/*/choices.py): what it means, where it can be used, what
does it, and what a run must show if it was really used. Nothing here imports the code of a choice: `resolve` finds it by its name.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Count = Literal[
    "once",
    "each frame",
    "each step",
    "each layer",
    "each layer and frame",
    "each layer and step",
    "each layer and token",
    "each layer, used or not",
    "each sample",
    "never",
]
"""How often at least: for each video frame or event image; for each decode step; for each layer that the model has by its config, of the
tower those that its features need, and these for each frame, for each decode step, or for each new token, prefill included; for each layer
of the tower; for each sample of a throughput run."""
STREAM = "stream"
"""In the place of a stage: a throughput run, all stages of it."""
GPU = ("cuda",)


@dataclass(frozen=True)
class PluginFile:
    """A Python file of somebody else's, of which a variant uses something: see docs/your-own.md."""

    path: str
    """Where it lies on this machine. It stands in no result."""
    module: str
    """The name that it is imported under, and that its functions have in evidence."""
    sha256: str
    """Of its content. Files that it imports are not part of it."""
    pipeline: str = ""
    """A class in it that is used as a pipeline. Empty: its choices are used."""

    @property
    def name(self) -> str:
        """Without its folder."""
        return os.path.basename(self.path)


@dataclass(frozen=True)
class Evidence:
    """What one stage of a run shows if a choice was really used, or, if it is expected never, what it must not show."""

    stage: str
    """Or STREAM."""
    what: str
    """In words that a "no" may stand in front of."""
    names: str
    """Regular expression for the names that a run leaves, each after its source: see `evbench.worker.evidence`."""
    count: Count = "once"
    kinds: tuple[str, ...] = ()
    """Kinds of input with which it is looked for. Empty: all."""
    devices: tuple[str, ...] = ("cpu", "cuda")
    times: int = 1
    """How often in each of what `count` names."""
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Part -> choices: looked for only with these choices of other parts. A CUDA graph, for one, shows kernels and no operations."""
    inside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Part -> choices with which it is inside a graph that somebody else compiles, which may show less of it than it does: that is told,
    and not held against the choice."""


@dataclass(frozen=True)
class Conflict:
    """Choices of another part with which a choice cannot be combined."""

    part: str
    choices: tuple[str, ...]
    reason: str
    """In words that "because" may stand in front of."""


@dataclass(frozen=True)
class Choice:
    """One way to do one part."""

    meaning: str
    implementation: str | Mapping[str, str]
    """"module:name" of what does it, see `resolve`; where it depends on the kind of input, kind -> that."""
    evidence: tuple[Evidence, ...]
    """All of it is there if the choice was used. A model may add to it: see `evbench.models.Model.evidence`."""
    needs: tuple[str, ...] = ()
    """Names of `evbench.machine.needs.NEEDS`."""
    kinds: tuple[str, ...] = ()
    """Kinds of input that it can be used for. Empty: all."""
    conflicts: tuple[Conflict, ...] = ()
    hidden: bool = False
    """Of the reference only: users are not offered it."""
    risk: str = ""
    """What can go wrong with it, or gets worse. Empty of what others are measured against."""
    loses_as: str = ""
    """Of one that changes outputs by design (lossy): the hidden choice of the same part with which the reference loses the same. Empty: it
    preserves outputs."""
    layer_weight_bytes: float | None = None
    """Bytes of one weight in the language model's layers, as it stores them, with a float32 for each row beside them. None: those of the
    type that the workload computes in, and nothing beside them."""
    cache_value_bytes: float | None = None
    """Bytes of one number in the language model's KV cache. None: as the type that the workload computes in."""
    tokens_per_pass: int = 1
    """Of the language model, at most: more where drafts are verified."""
    drafter: str = ""
    """Name of another model of evbench that drafts, from what lies beside a sample. Empty: none does."""
    drafter_preset: str = ""
    """Of that model. Empty: that of the target."""
    most_together: int | None = None
    """Samples that it takes at a time. None: any number."""
    gpus: int = 1
    """That the language model is divided over: the first ones of those that can be seen."""
    plugin: PluginFile | None = None
    """The file that it is of. None if it is of evbench; the three fields that follow are then empty."""
    over: str = ""
    """The choice of evbench with which the pipeline is built before this one changes it. Where choices of other parts ask for this part's,
    it counts as that one."""
    replaces: tuple[str, ...] = ()
    """Other parts whose work it does itself in its stages: there their evidence is not looked for."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Device -> why it cannot be used on it here, as its file says."""

    def takes(self, kind: str) -> bool:
        return not self.kinds or kind in self.kinds


@dataclass(frozen=True)
class OwnPipeline(Choice):
    """A variant of a pipeline of somebody else's: all stages."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of its class."""
    reference: str = ""
    """What its outputs are compared with: a type that it is built in anew, or another of its variants. Empty: nothing."""
    compares_with: str = ""
    """The model of evbench that it stands in for, or "any". Empty: a model of its own."""
    unseen: tuple[str, ...] = ()
    """Stages whose output cannot be seen."""


@dataclass(frozen=True)
class Part:
    """One part of a pipeline that can be done in several ways."""

    name: str
    stages: tuple[str, ...]
    """Those in which it does something; STREAM if only throughput runs show it."""
    entries: Mapping[str, Choice]
    """Name -> choice, hidden ones included."""
    kinds: tuple[str, ...] = ()
    """Kinds of input for which it is done at all. Empty: all. For others its choice has no effect."""

    @property
    def choices(self) -> dict[str, Choice]:
        """Name -> choice, of those that users are offered."""
        return {name: choice for name, choice in self.entries.items() if not choice.hidden}

    def has_effect(self, kind: str) -> bool:
        return not self.kinds or kind in self.kinds

    def implementation(self, choice: str, kind: str = "") -> Any:
        """What does it: the object that the entry names. `kind`: of the input, where that makes a difference."""
        named = self.entries[choice].implementation
        return resolve(named if isinstance(named, str) else named[kind])


@dataclass(frozen=True)
class Variant:
    """How each part of a pipeline is done. Never what is done: that is the workload, and equal for both sides."""

    name: str
    selection: tuple[tuple[str, str], ...]
    """(part, choice), in the order of the pipeline."""
    plugins: tuple[PluginFile, ...] = ()
    """Files that some of these choices are of: a worker imports them before it builds the pipeline."""

    def choices(self) -> dict[str, str]:
        """Part -> choice, in the order of the pipeline."""
        return dict(self.selection)

    def __getitem__(self, part: str) -> str:
        """The choice of a part. Raises KeyError for an unknown one."""
        return self.choices()[part]


def resolve(named: str) -> Any:
    """The object that "module:name" names. Imports the module."""
    module, _, name = named.partition(":")
    return getattr(importlib.import_module(module), name)
