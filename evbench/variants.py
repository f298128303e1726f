"""A variant is data: a name, and one choice for each part of the pipeline."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, Literal

from evbench.errors import UserError

Decode = Literal["plain", "threaded", "dali"]
Preprocess = Literal["processor", "direct", "exact"]
Attention = Literal["eager", "sdpa"]
Vision = Literal["eager", "batched", "compile"]
Generate = Literal["dynamic", "static", "static-compile", "at-once"]
Feed = Literal["in-turn", "ahead", "ahead-in-batches"]


@dataclass(frozen=True)
class Variant:
    """How each part of the pipeline is done. Never what is done: that is the workload, and equal for both sides."""

    name: str
    decode: Decode
    preprocess: Preprocess
    attention: Attention
    vision: Vision
    generate: Generate
    feed: Feed

    def choices(self) -> dict[str, str]:
        """Part -> choice, in the order of the pipeline."""
        return {part: getattr(self, part) for part in CHOICES}


@dataclass(frozen=True)
class Choice:
    """One way to do one part."""

    meaning: str
    needs: tuple[str, ...] = ()
    """Names of `evbench.machine.NEEDS`."""
    models: tuple[str, ...] = ("video-llava", "eventgpt")


CHOICES: dict[str, dict[str, Choice]] = {
    "decode": {
        "plain": Choice("PyAV with its default settings, the whole clip; event images one after the other with PIL"),
        "threaded": Choice("PyAV on all cores, no further than the last frame needed, converted in parallel; event images in parallel"),
        "dali": Choice("NVIDIA DALI on the GPU's video decoder, only up to the frames needed",
                       ("NVIDIA GPU", "NVIDIA DALI"), ("video-llava",)),
    },
    "preprocess": {
        "processor": Choice("the Hugging Face processor, then a copy to the model's device"),
        "direct": Choice("the same resize, crop and normalisation on the decoder's own memory, on the model's device; the prompt's "
                         "visual placeholders are counted instead of spelled out"),
    },
    "attention": {
        "eager": Choice("attention written out in PyTorch operations"),
        "sdpa": Choice("torch.nn.functional.scaled_dot_product_attention, the default of transformers"),
    },
    "vision": {
        "eager": Choice("the tower as published: Video-LLaVA runs its unused last layer, EventGPT takes its images one by one"),
        "batched": Choice("all images at once through the layers that are used"),
        "compile": Choice("the same, one torch.compile graph", ("C++ compiler",)),
    },
    "generate": {
        "dynamic": Choice("transformers' generate with a cache that grows"),
        "static": Choice("prefill and a decode loop of our own over a cache of fixed size"),
        "static-compile": Choice("the same loop, its decode step compiled with torch.compile", ("C++ compiler",)),
    },
    "feed": {
        "in-turn": Choice("of several samples in a row (--throughput; no effect on one by itself): each is loaded when the one before it "
                          "has been answered"),
        "ahead": Choice("likewise: the next two are loaded in a thread of their own while one goes through the other stages"),
        "ahead-in-batches": Choice("likewise, and up to eight go to the decoder in one call",
                                   ("NVIDIA GPU", "NVIDIA DALI"), ("video-llava",)),
    },
}  # fmt: skip

CONFLICTS: tuple[tuple[str, tuple[str, ...], str, tuple[str, ...], str], ...] = (
    ("feed", ("ahead-in-batches",), "decode", ("plain", "threaded"),
     "this decoder takes one file at a time; choose decode=dali, or feed=ahead"),
)  # fmt: skip
"""Part, choices of it, another part, choices of that with which none of the first go together, and why and what to do."""

# Each line changes one part of the line above it, feed aside; `optimized` is the sum of what every machine can run.
VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("baseline",      "plain",    "processor", "sdpa", "eager",   "dynamic",        "in-turn"),
        Variant("fast-decode",   "threaded", "processor", "sdpa", "eager",   "dynamic",        "in-turn"),
        Variant("fast-pixels",   "threaded", "direct",    "sdpa", "eager",   "dynamic",        "in-turn"),
        Variant("fast-vision",   "threaded", "direct",    "sdpa", "compile", "dynamic",        "in-turn"),
        Variant("static-cache",  "threaded", "direct",    "sdpa", "compile", "static",         "in-turn"),
        Variant("optimized",     "threaded", "direct",    "sdpa", "compile", "static-compile", "ahead"),
        Variant("optimized-gpu", "dali",     "direct",    "sdpa", "compile", "static-compile", "ahead"),
    )
}  # fmt: skip

REFERENCE = Variant("reference", "plain", "exact", "eager", "eager", "at-once", "in-turn")
"""What outputs are measured against: no step is rounded, fused or cached. Of two of its choices there is no other use."""


def nearest(word: str, words: list[str]) -> str:
    """`did you mean ...?` if a known word is close, else the list of all."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(words)}."


def conflict(variant: Variant) -> str | None:
    """Two choices that do not go together, why, and what to do. None if all do."""
    chosen = variant.choices()
    for part, choices, other, others, reason in CONFLICTS:
        if chosen[part] in choices and chosen[other] in others:
            return f"{part}={chosen[part]} does not go together with {other}={chosen[other]}: {reason}"
    return None


def parse(text: str) -> Variant:
    """Read `name` or `name+part=choice+part=choice`.

    Raises:
        UserError: unknown name, part or choice, of which the nearest known one is named; or choices that do not go together.
    """
    name, *changes = text.split("+")
    if name not in VARIANTS:
        raise UserError(f"unknown variant {name!r}; {nearest(name, list(VARIANTS))} See: evbench variants")
    variant = VARIANTS[name]
    for change in changes:
        part, equals, choice = change.partition("=")
        if not equals:
            raise UserError(f"{change!r} in {text!r} is no change of a choice; write {name}+part=choice. See: evbench variants")
        if part not in CHOICES:
            raise UserError(f"unknown part {part!r} in {text!r}; {nearest(part, list(CHOICES))} See: evbench variants")
        if choice not in CHOICES[part]:
            raise UserError(
                f"unknown choice {choice!r} for {part} in {text!r}; {nearest(choice, list(CHOICES[part]))} See: evbench variants"
            )
        changed: dict[str, Any] = {part: choice}
        variant = dataclasses.replace(variant, **changed)
    if told := conflict(variant):
        raise UserError(f"{text}: {told}")
    return dataclasses.replace(variant, name=text)
