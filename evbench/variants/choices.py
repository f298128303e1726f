"""A variant is data: a name, and one choice for each part of the pipeline."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from evbench.errors import UserError

Decode = Literal["plain", "threaded", "dali"]
Render = Literal["loop", "vectorised", "triton"]
Preprocess = Literal["processor", "direct", "dali", "triton", "exact"]
Attention = Literal["eager", "sdpa", "sdpa-flash", "flash2", "flash3", "flash4"]
Vision = Literal["eager", "batched", "compile", "graph", "fused"]
Pooling = Literal["last", "first"]
Generate = Literal["dynamic", "transformers-static", "static", "static-compile", "graph", "at-once"]
Prefill = Literal["eager", "compile"]
Feed = Literal["in-turn", "ahead", "ahead-in-batches"]


KINDS = {"video": "a video", "event-images": "event images", "events": "raw events"}
"""Kinds of input (`evbench.results.Workload.kind`), and what they are called."""
TAKES = {"video-llava": ("video",), "eventgpt": ("event-images", "events")}
"""Model -> the kinds that it takes."""


@dataclass(frozen=True)
class Variant:
    """How each part of the pipeline is done. Never what is done: that is the workload, and equal for both sides."""

    name: str
    decode: Decode
    render: Render
    preprocess: Preprocess
    attention: Attention
    vision: Vision
    pooling: Pooling
    generate: Generate
    prefill: Prefill
    feed: Feed

    def choices(self) -> dict[str, str]:
        """Part -> choice, in the order of the pipeline."""
        return {part: getattr(self, part) for part in CHOICES}


@dataclass(frozen=True)
class Choice:
    """One way to do one part."""

    meaning: str
    needs: tuple[str, ...] = ()
    """Names of `evbench.machine.machine.NEEDS`."""
    kinds: tuple[str, ...] = tuple(KINDS)
    """Of input that it can be done for."""


CHOICES: dict[str, dict[str, Choice]] = {
    "decode": {
        "plain": Choice("PyAV with its default settings, the whole clip; event images one after the other with PIL"),
        "threaded": Choice("PyAV on all cores, no further than the last frame needed, converted in parallel; event images in parallel"),
        "dali": Choice("NVIDIA DALI: a clip on the GPU's video decoder, of H.264 without the frames that are neither asked for nor "
                       "referred to; event images in one batch, their pixels on the GPU", ("NVIDIA GPU", "NVIDIA DALI")),
    },
    "render": {
        "loop": Choice("event by event in Python, as published"),
        "vectorised": Choice("each slice's events at once, with NumPy"),
        "triton": Choice("the events copied to the GPU as they are; there an atomic maximum finds each pixel's last event. Pictures are "
                         "painted by a second Triton kernel, and only where the preprocessing asks for them", ("NVIDIA GPU", "Triton")),
    },
    "preprocess": {
        "processor": Choice("the Hugging Face processor, then a copy to the model's device"),
        "direct": Choice("the same resize, crop and normalisation on the decoder's own memory, on the model's device; the prompt's "
                         "visual placeholders are counted instead of spelled out"),
        "dali": Choice("resized, cropped and normalised by an NVIDIA DALI pipeline; the question is tokenized once and kept",
                       ("NVIDIA GPU", "NVIDIA DALI")),
        "triton": Choice("one Triton kernel from the frames' bytes, or with render=triton from each pixel's last event, to the model's "
                         "input, another colour matrix included; the question is tokenized once and kept", ("NVIDIA GPU", "Triton")),
    },
    "attention": {
        "eager": Choice("attention written out in PyTorch operations"),
        "sdpa": Choice("torch.nn.functional.scaled_dot_product_attention, the default of transformers"),
        "sdpa-flash": Choice("the same function's FlashAttention 2, as torch is built with it", ("NVIDIA GPU",)),
        "flash2": Choice("FlashAttention 2 of the package flash-attn", ("NVIDIA GPU", "flash-attn")),
        "flash3": Choice("FlashAttention 3, for Hopper, of a package with the module flash_attn_interface",
                         ("NVIDIA GPU", "FlashAttention 3")),
        "flash4": Choice("FlashAttention 4 of the package flash-attn-4", ("NVIDIA GPU", "flash-attn-4")),
    },
    "vision": {
        "eager": Choice("the tower as published: Video-LLaVA runs its unused last layer, EventGPT takes its images one by one"),
        "batched": Choice("all images at once through the layers that are used"),
        "compile": Choice("the same, one torch.compile graph", ("C++ compiler",)),
        "graph": Choice("the same with query, key and value as one matrix, each layer compiled, all of it replayed as a CUDA graph",
                        ("NVIDIA GPU", "C++ compiler")),
        "fused": Choice("the same as graph without a compiler: what stands between the matrix products is done by Triton kernels of our "
                        "own, among them one for attention over short rows of tokens, in the place of what attention= names (which "
                        "prefill and decode keep)", ("NVIDIA GPU", "Triton")),
    },
    "pooling": {
        "last": Choice("as published: projector and adaptor on every token of every image, then the means over time and space"),
        "first": Choice("the means behind the projector's activation; what follows is affine, and one matrix for what is left of the "
                        "tokens: the same but for rounding, for a fifth of the operations"),
    },
    "generate": {
        "dynamic": Choice("transformers' generate with a cache that grows"),
        "transformers-static": Choice("transformers' generate with its cache of fixed size, whose steps it compiles by itself",
                                      ("NVIDIA GPU", "C++ compiler")),
        "static": Choice("prefill and a decode loop of our own over a cache of fixed size"),
        "static-compile": Choice("the same loop, its decode step compiled with torch.compile", ("C++ compiler",)),
        "graph": Choice("a decode step of fused Triton kernels, attention among them, replayed as a CUDA graph without waiting for a token",
                        ("NVIDIA GPU", "Triton")),
    },
    "prefill": {
        "eager": Choice("the model's layers as they are"),
        "compile": Choice("query, key and value one matrix, gate and up one, each layer compiled, of the last one only the last position, "
                          "all of it replayed as a CUDA graph", ("NVIDIA GPU", "C++ compiler")),
    },
    "feed": {
        "in-turn": Choice("of several samples in a row (--throughput; no effect on one by itself): each is loaded when the one before it "
                          "has been answered"),
        "ahead": Choice("likewise: the next two are loaded in a thread of their own while one goes through the other stages"),
        "ahead-in-batches": Choice("likewise, and up to eight go to the decoder in one call",
                                   ("NVIDIA GPU", "NVIDIA DALI"), ("video",)),
    },
}  # fmt: skip

EFFECT: dict[str, tuple[str, ...]] = {part: tuple(KINDS) for part in CHOICES} | {
    "decode": ("video", "event-images"),
    "render": ("events",),
    "pooling": ("event-images", "events"),
}
"""Part -> the kinds of input for which it is done at all. For others its choice is neither an obstacle, nor proven, nor a difference."""


def effective(variant: Variant, kind: str) -> dict[str, str]:
    """Part -> choice, of the parts that have an effect on such input."""
    return {part: choice for part, choice in variant.choices().items() if kind in EFFECT[part]}


@dataclass(frozen=True)
class Conflict:
    """Choices of two parts that cannot be together."""

    part: str
    choices: tuple[str, ...]
    other: str
    other_choices: tuple[str, ...]
    reason: str
    """In words that "because" may stand in front of."""


CONFLICTS: tuple[Conflict, ...] = (
    Conflict("prefill", ("compile",), "generate", ("dynamic", "transformers-static", "static", "static-compile"),
             "it fills the cache of generate=graph"),
    Conflict("attention", ("sdpa-flash", "flash2", "flash3", "flash4"), "generate", ("transformers-static", "static", "static-compile"),
             "these kernels take no mask, and a cache of fixed size is read through one"),
    Conflict("feed", ("ahead-in-batches",), "decode", ("plain", "threaded"),
             "that decoder takes one file at a time, and decode=dali several"),
)  # fmt: skip
"""Each of the one part's choices with each of the other's."""

# For each kind of input, each line but the last two changes one part of the line above it that has an effect, feed aside; `optimized` is
# what every machine can run.
NAMED = (
    Variant("baseline",       "plain",    "loop",       "processor", "sdpa",   "eager",   "last",  "dynamic",        "eager",   "in-turn"),
    Variant("fast-decode",    "threaded", "vectorised", "processor", "sdpa",   "eager",   "last",  "dynamic",        "eager",   "in-turn"),
    Variant("fast-pixels",    "threaded", "vectorised", "direct",    "sdpa",   "eager",   "last",  "dynamic",        "eager",   "in-turn"),
    Variant("fast-vision",    "threaded", "vectorised", "direct",    "sdpa",   "compile", "last",  "dynamic",        "eager",   "in-turn"),
    Variant("static-cache",   "threaded", "vectorised", "direct",    "sdpa",   "compile", "last",  "static",         "eager",   "in-turn"),
    Variant("optimized",      "threaded", "vectorised", "direct",    "sdpa",   "compile", "last",  "static-compile", "eager",   "ahead"),
    Variant("optimized-gpu",  "dali",     "triton",     "triton",    "sdpa",   "fused",   "first", "graph",          "compile", "ahead"),
    Variant("optimized-h100", "dali",     "triton",     "triton",    "flash3", "fused",   "first", "graph",          "compile", "ahead"),
)  # fmt: skip
VARIANTS: dict[str, Variant] = {variant.name: variant for variant in NAMED}

REFERENCE = Variant("reference", "plain", "vectorised", "exact", "eager", "eager", "last", "at-once", "eager", "in-turn")
"""What outputs are measured against: no step is rounded, fused or cached. Of two of its choices there is no other use."""


def conflict(variant: Variant) -> str | None:
    """Why two of its choices cannot be together, and which. None if all can."""
    choices = variant.choices()
    for found in CONFLICTS:
        if choices[found.part] in found.choices and choices[found.other] in found.other_choices:
            return f"{found.part}={choices[found.part]} cannot be with {found.other}={choices[found.other]}, because {found.reason}"
    return None


def change(variant: Variant, choices: Mapping[str, str]) -> Variant:
    """The variant with these choices (part -> choice), and without a look at whether they can be together. Its name tells of them."""
    changed: dict[str, Any] = dict(choices)
    known, *before = variant.name.split("+")
    left = [one for one in before if one.partition("=")[0] not in choices]
    name = "+".join([known, *left, *(f"{part}={choice}" for part, choice in choices.items())])
    return dataclasses.replace(variant, name=name, **changed)


def nearest(word: str, words: list[str]) -> str:
    """`did you mean ...?` if a known word is close, else the list of all."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(words)}."


def parse(text: str) -> Variant:
    """Read `name` or `name+part=choice+part=choice`.

    Raises:
        UserError: unknown name, part or choice, the nearest known one is named; or two choices that cannot be together.
    """
    name, *changes = text.split("+")
    if name not in VARIANTS:
        raise UserError(f"unknown variant {name!r}; {nearest(name, list(VARIANTS))} See: evbench variants")
    variant = VARIANTS[name]
    for changed in changes:
        part, equals, choice = changed.partition("=")
        if not equals:
            raise UserError(f"{changed!r} in {text!r} is no change of a choice; write {name}+part=choice. See: evbench variants")
        if part not in CHOICES:
            raise UserError(f"unknown part {part!r} in {text!r}; {nearest(part, list(CHOICES))} See: evbench variants")
        if choice not in CHOICES[part]:
            raise UserError(
                f"unknown choice {choice!r} for {part} in {text!r}; {nearest(choice, list(CHOICES[part]))} See: evbench variants"
            )
        variant = change(variant, {part: choice})
    if (reason := conflict(variant)) is not None:
        raise UserError(f"{text}: {reason}; choose another of the two. See: evbench variants")
    return variant
