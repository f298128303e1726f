"""What a model is to the harness, as data. The entries are in `evbench.pipelines.registry`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evbench.choices import Evidence

VIDEO_FRAMES = 8
"""That a model gets of a video, if no other number is asked for."""


@dataclass(frozen=True)
class InputKind:
    """A kind of input, and how a sample of it is found and looked at."""

    title: str
    """What it is called: "a video"."""
    option: str
    """The command line's for samples of it."""
    samples: tuple[str, str]
    """Two for the option that ship with evbench, in its folder data. The first is the default."""
    recognise: str
    """"module:name" of (path) -> whether it can be a sample of this kind. Of several kinds, the last in `Model.kinds` that can be it is."""
    probe: str
    """"module:name" of (path, number of frames, frame policy, window) -> number, height and width of the images that a model gets.

    Raises UserError if they cannot be read."""
    colours: bool
    """Whether it shows the colours of a scene."""
    policies: bool
    """Whether some of its frames are picked, by --frame-policy."""
    windowed: bool
    """Whether a window of it is read, by --event-window."""


@dataclass(frozen=True)
class Preset:
    """A size, of a model that needs no download."""

    text: Mapping[str, Any]
    """Arguments for transformers' configuration of the language model."""
    vision: Mapping[str, Any]
    """And of the vision tower."""
    parameters: int
    """Of the whole model: to refuse a size that the machine cannot hold before any time is spent."""
    grown_from: str | None = None
    """The preset with trained weights that it computes the same function as: its weights are made of these. None: they are random."""


@dataclass(frozen=True)
class Unsupported:
    """A value of a field of config.json for which the released code builds another network."""

    value: bool
    thing: str
    """What it builds, in words that "evbench has no" may stand in front of."""


@dataclass(frozen=True)
class Model:
    """All that the harness knows of one model."""

    title: str
    """What it is called outside of evbench."""
    pipeline: str
    """"module:class", an `evbench.stages.Pipeline`. The module is `evbench.pipelines.*` itself, in no folder of it."""
    kinds: tuple[str, ...]
    """Of input that it takes. The first is the default."""
    frames: int | None
    """How many it gets of a video, if no other number is asked for. None: as many images as a sample has."""
    parts: tuple[str, ...]
    """Names of those that it has."""
    model_type: str | None
    """In config.json of its checkpoints. None: any that transformers knows, and the pipeline says what it takes."""
    presets: Mapping[str, Preset]
    """Name -> size, of those whose weights are random, or grown from trained ones."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Part -> the choices that it has, of a part of which it does not have all."""
    trained: Mapping[str, str] = field(default_factory=dict)
    """Name -> folder of a checkpoint that ships with evbench, in its folder data."""
    write_grown: str = ""
    """"module:function" that writes a grown preset as a checkpoint folder. Empty: it has no such preset."""
    planned: str = ""
    """"module:function" of a workload -> its `NetworkShape`, and the `Work` of a run, from configs alone. Empty: `evbench limits` refuses
    it."""
    unsupported: Mapping[str, Unsupported] = field(default_factory=dict)
    """Field of config.json -> the value that is refused, if the field is there."""
    evidence: Mapping[str, Mapping[str, tuple[Evidence, ...]]] = field(default_factory=dict)
    """Part -> choice -> what a run of this model shows of it, beyond what the choice itself says."""
    batches: bool = False
    """Whether several samples can go through the stages together."""
    traits: tuple[str, ...] = ()
    """What only some models have, and faults can be planted into: see `evbench.worker.mutants.Mutant.trait`."""

    def has(self, part: str, choice: str) -> bool:
        """Whether it has a choice of a part that it has."""
        return choice in self.choices.get(part, (choice,))

    def preset_names(self) -> list[str]:
        """All presets, the default first. None if it needs a checkpoint folder."""
        return [*self.trained, *self.presets]

    def grown_from(self, preset: str | None) -> str | None:
        """The preset whose trained weights those of another are grown from. None for any other, and for no preset."""
        size = self.presets.get(str(preset))
        return size.grown_from if size is not None else None
