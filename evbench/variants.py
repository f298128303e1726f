"""A variant is data: a name, and one choice for each part of the pipeline."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, Literal

from evbench.errors import UserError

Decode = Literal["plain", "threaded", "dali"]
Preprocess = Literal["processor", "direct"]
Attention = Literal["eager", "sdpa"]
Vision = Literal["eager", "compile"]
Generate = Literal["dynamic", "static", "static-compile"]
Times = Literal["once", "each frame", "each step", "each layer", "never"]
"""At least so often: for each frame or event image; for each new token after the first; for each layer that is not compiled."""


@dataclass(frozen=True)
class Variant:
    """How each part of the pipeline is done. Never what is done: that is the workload, and equal for both sides."""

    name: str
    decode: Decode
    preprocess: Preprocess
    attention: Attention
    vision: Vision
    generate: Generate

    def choices(self) -> dict[str, str]:
        """Part -> choice, in the order of the pipeline."""
        return {part: getattr(self, part) for part in CHOICES}


MODELS = ("video-llava", "eventgpt")


@dataclass(frozen=True)
class Sign:
    """What one stage of a run shows if a choice is really active."""

    stage: str
    what: str
    """In words that a "no" may stand in front of."""
    names: str
    """Regular expression for the names that a run leaves, each with its source in front: see `evbench.evidence`."""
    times: Times = "once"
    models: tuple[str, ...] = MODELS
    devices: tuple[str, ...] = ("cpu", "cuda")


@dataclass(frozen=True)
class Choice:
    """One way to do one part."""

    meaning: str
    needs: tuple[str, ...] = ()
    """Names of `evbench.machine.NEEDS`."""
    models: tuple[str, ...] = MODELS
    signs: tuple[Sign, ...] = ()
    """All of them are there if the choice is active."""


VIDEO, EVENTS = ("video-llava",), ("eventgpt",)
GPU = ("cuda",)
LAYER = r"function:transformers\.[\w.]+\.(CLIPAttention|LlamaAttention)\.forward$"
"""Entered once for each layer and pass that is not compiled."""
COMPILED = r"op:Torch-Compiled Region"
INDUCTOR = r"op:## Call CompiledFxGraph"
"""Inside a compiled region: the code that the compiler wrote, not the graph run operation by operation."""
TRITON = r"kernel:triton_"
FUSED = r"op:aten::_scaled_dot_product_(flash|efficient|cudnn|fused)_attention\w*$"
"""torch's one operation for attention, inside and outside of compiled graphs. `_math` is missing: that is attention written out."""
FUSED_KERNEL = r"kernel:.*(flash_fwd|fmha|sdpa)"
WRITTEN_OUT = r"(op:aten::(_softmax|bmm|baddbmm)$|(op|kernel):triton_\w*softmax|function:.*\.eager_attention_forward$)"
GENERATE = r"function:transformers\.[\w.]+\.GenerationMixin\.generate$"
GROWING = r"function:transformers\.cache_utils\.DynamicLayer\.update$"
FIXED = r"function:transformers\.cache_utils\.StaticLayer\.update$"
PROCESSOR = r"function:transformers\.[\w.]*(Image|Video)Processor\w*\.preprocess$"
FRAME_THREAD = r"thread:av:\w+:df"
"""Named so by FFmpeg (libavcodec/pthread_frame.c)."""

CHOICES: dict[str, dict[str, Choice]] = {
    "decode": {
        "plain": Choice(
            "PyAV with its default settings, the whole clip; event images one after the other with PIL",
            signs=(
                Sign("load", "call of plain decoding", r"function:evbench\.pipelines\.(video\.decode_plain|events\.read_plain)$"),
                Sign("load", "decoder of FFmpeg", r"decoder:", models=VIDEO),
                Sign("load", "decoder told to use a thread for each frame", r"decoder:.* (AUTO|FRAME)$", "never", VIDEO),
                Sign("load", "frame threads of FFmpeg", FRAME_THREAD, "never", VIDEO),
                Sign("load", "images read in the main thread", r"function:evbench\.pipelines\.events\._read$", "each frame", EVENTS),
                Sign("load", "work in a pool's threads", r"pool:evbench\.pipelines\.", "never"),
            ),
        ),
        "threaded": Choice(
            "PyAV on all cores, no further than the last frame needed, converted in parallel; event images in parallel",
            signs=(
                Sign("load", "call of threaded decoding", r"function:evbench\.pipelines\.(video\.decode_threaded|events\.read_threaded)$"),
                Sign("load", "decoder told to use a thread for each frame", r"decoder:.* (AUTO|FRAME)$", models=VIDEO),
                Sign("load", "frame threads of FFmpeg", rf"{FRAME_THREAD}|thread:dav1d", models=VIDEO),
                Sign("load", "frames converted in a pool's threads", r"pool:evbench\.pipelines\.video\._convert$", "each frame", VIDEO),
                Sign("load", "images read in a pool's threads", r"pool:evbench\.pipelines\.events\._read$", "each frame", EVENTS),
            ),
        ),
        "dali": Choice(
            "NVIDIA DALI on the GPU's video decoder, only up to the frames needed",
            ("NVIDIA GPU", "NVIDIA DALI"),
            VIDEO,
            (
                Sign("load", "call of decoding with DALI", r"function:evbench\.pipelines\.dali\.DaliDecoder\.__call__$"),
                Sign("load", "run of a DALI pipeline", r"function:nvidia\.dali\.pipeline\.Pipeline\.run$"),
                Sign("load", "frames converted by DALI on the GPU", r"kernel:.*dali::VideoColorSpaceConversion", "each frame"),
                Sign("load", "decoder of FFmpeg", r"decoder:", "never"),
            ),
        ),
    },
    "preprocess": {
        "processor": Choice(
            "the Hugging Face processor, then a copy to the model's device",
            signs=(
                Sign("preprocess", "call of transformers' processor", PROCESSOR, models=VIDEO),
                Sign("preprocess", "call of transformers' processor", PROCESSOR, "each frame", EVENTS),
                Sign("preprocess", "call of direct preprocessing", r"function:evbench\.pipelines\.pixels\.pixel_values$", "never"),
            ),
        ),
        "direct": Choice(
            "the same resize, crop and normalisation on the decoder's own memory, on the model's device; the prompt's "
            "visual placeholders are counted instead of spelled out",
            signs=(
                Sign("preprocess", "call of direct preprocessing", r"function:evbench\.pipelines\.pixels\.pixel_values$"),
                Sign("preprocess", "bicubic resize", r"op:aten::_upsample_bicubic2d_aa$"),
                Sign("preprocess", "resize on the GPU", r"kernel:.*upsample_gen2d_aa", devices=GPU),
                Sign("preprocess", "call of transformers' processor", PROCESSOR, "never"),
            ),
        ),
    },
    "attention": {
        "eager": Choice(
            "attention written out in PyTorch operations",
            signs=(
                Sign("vision", "attention written out", WRITTEN_OUT, "each layer"),
                Sign("vision", "scaled_dot_product_attention", r"op:aten::_?scaled_dot_product", "never"),
                Sign("generate", "attention written out", r"function:.*\.eager_attention_forward$", "each layer"),
                Sign("generate", "softmax", r"op:aten::_softmax$", "each layer"),
                Sign("generate", "scaled_dot_product_attention", r"op:aten::_?scaled_dot_product", "never"),
            ),
        ),
        "sdpa": Choice(
            "torch.nn.functional.scaled_dot_product_attention, the default of transformers",
            signs=(
                Sign("vision", "fused attention", FUSED, "each layer"),
                Sign("vision", "fused attention on the GPU", FUSED_KERNEL, "each layer", devices=GPU),
                Sign("vision", "attention written out", WRITTEN_OUT, "never"),
                Sign("generate", "fused attention", FUSED, "each layer"),
                Sign("generate", "fused attention", FUSED, "each step"),
                Sign("generate", "fused attention on the GPU", FUSED_KERNEL, "each step", devices=GPU),
                # The rotary embedding has a bmm, and sampling a softmax, of their own.
                Sign("generate", "attention written out", r"function:.*\.eager_attention_forward$", "never"),
                Sign("generate", "attention written out in a compiled graph", r"(op|kernel):triton_\w*softmax", "never"),
            ),
        ),
    },
    "vision": {
        "eager": Choice(
            "the tower as published: Video-LLaVA runs its unused last layer, EventGPT takes its images one by one",
            signs=(
                Sign("vision", "call of transformers' encoder", r"function:transformers\.[\w.]+\.get_video_features$", models=VIDEO),
                Sign("vision", "call for one image", r"function:evbench\.pipelines\.eventgpt\.EventGPTModel\.features$",
                     "each frame", EVENTS),
                Sign("vision", "compiled graph", COMPILED, "never"),
            ),
        ),
        "compile": Choice(
            "all images at once through the layers that are used, one torch.compile graph",
            ("C++ compiler",),
            signs=(
                Sign("vision", "call for the layers used", r"function:evbench\.pipelines\.video_llava\.used_layers\.", models=VIDEO),
                Sign("vision", "call for all images at once", r"function:evbench\.pipelines\.eventgpt\.batched\.", models=EVENTS),
                Sign("vision", "compiled graph", COMPILED),
                Sign("vision", "code of the compiler", INDUCTOR),
                Sign("vision", "Triton kernels of the compiler", TRITON, devices=GPU),
                Sign("vision", "layers not compiled", LAYER, "never"),
            ),
        ),
    },
    "generate": {
        "dynamic": Choice(
            "transformers' generate with a cache that grows",
            signs=(
                Sign("generate", "call of transformers' generate", GENERATE),
                Sign("generate", "writes to a growing cache", GROWING, "each layer"),
                Sign("generate", "writes to a growing cache", GROWING, "each step"),
                Sign("generate", "writes to a cache of fixed size", FIXED, "never"),
                Sign("generate", "compiled graph", COMPILED, "never"),
            ),
        ),
        "static": Choice(
            "prefill and a decode loop of our own over a cache of fixed size",
            signs=(
                Sign("generate", "call of the loop", r"function:evbench\.pipelines\.generate\.StaticLoop\.__call__$"),
                Sign("generate", "call of a step", r"function:evbench\.pipelines\.generate\.StaticLoop\._decode$", "each step"),
                Sign("generate", "writes to a cache of fixed size", FIXED, "each layer"),
                Sign("generate", "writes to a cache of fixed size", FIXED, "each step"),
                Sign("generate", "call of transformers' generate", GENERATE, "never"),
                Sign("generate", "compiled graph", COMPILED, "never"),
            ),
        ),
        "static-compile": Choice(
            "the same loop, its decode step compiled with torch.compile",
            ("C++ compiler",),
            signs=(
                Sign("generate", "call of the loop", r"function:evbench\.pipelines\.generate\.StaticLoop\.__call__$"),
                Sign("generate", "writes to a cache of fixed size", FIXED),
                Sign("generate", "compiled graph", COMPILED, "each step"),
                Sign("generate", "code of the compiler", INDUCTOR, "each step"),
                Sign("generate", "Triton kernels of the compiler", TRITON, "each step", devices=GPU),
                Sign("generate", "call of transformers' generate", GENERATE, "never"),
            ),
        ),
    },
}  # fmt: skip

GREEDY = (
    Sign("generate", "choice of the most likely token", r"op:aten::argmax$"),
    # A compiled graph that draws asks for its seeds with randint.
    Sign("generate", "random numbers", r"op:aten::(multinomial|bernoulli|exponential|uniform|normal|random|rand|randn|randint|randperm)"
         r"(_like|_)?$", "never"),
    Sign("generate", "random numbers drawn on the GPU", r"kernel:.*(distribution_\w*kernel|multinomial|philox)", "never"),
    Sign("generate", "search over several answers", r"function:transformers\.[\w.]+\.GenerationMixin\._(beam_search|assisted_decoding)$",
         "never"),
)  # fmt: skip
"""Decoding is no choice: each variant takes the most likely token."""

# Each line changes one part of the line above it; `optimized` is the sum of what every machine can run.
VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("baseline",      "plain",    "processor", "sdpa", "eager",   "dynamic"),
        Variant("fast-decode",   "threaded", "processor", "sdpa", "eager",   "dynamic"),
        Variant("fast-pixels",   "threaded", "direct",    "sdpa", "eager",   "dynamic"),
        Variant("fast-vision",   "threaded", "direct",    "sdpa", "compile", "dynamic"),
        Variant("static-cache",  "threaded", "direct",    "sdpa", "compile", "static"),
        Variant("optimized",     "threaded", "direct",    "sdpa", "compile", "static-compile"),
        Variant("optimized-gpu", "dali",     "direct",    "sdpa", "compile", "static-compile"),
    )
}  # fmt: skip


def nearest(word: str, words: list[str]) -> str:
    """`did you mean ...?` if a known word is close, else the list of all."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(words)}."


def parse(text: str) -> Variant:
    """Read `name` or `name+part=choice+part=choice`.

    Raises:
        UserError: unknown name, part or choice; the nearest known one is named.
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
    return dataclasses.replace(variant, name=text)
