"""What a run shows of each choice that was really at work. Data: `evbench.worker.evidence` looks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Times = Literal["once", "each frame", "each step", "each layer", "each sample", "never"]
"""At least so often: for each frame or event image; for each new token after the first; for each layer that is not compiled; for each
sample of the stream."""
STREAM = "stream"
"""In the place of a stage: samples in a row, all stages of them."""
KINDS = ("video", "event-images", "events")
"""Of input: see `evbench.variants.choices.KINDS`."""


@dataclass(frozen=True)
class Sign:
    """What one stage of a run shows if a choice is really active."""

    stage: str
    """Or STREAM."""
    what: str
    """In words that a "no" may stand in front of."""
    names: str
    """Regular expression for the names that a run leaves, each with its source in front: see `evbench.worker.evidence`."""
    times: Times = "once"
    kinds: tuple[str, ...] = KINDS
    devices: tuple[str, ...] = ("cpu", "cuda")
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Choices of other parts (part -> choices) without which it is not looked for: a CUDA graph shows kernels and no operations."""


VIDEO, IMAGES, RAW, EVENTS = ("video",), ("event-images",), ("events",), ("event-images", "events")
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
TOWER_KERNEL = r"kernel:tower_attention_kernel"
TOWER_KERNELS = r"kernel:(tower_attention|shifted_norm|quick_gelu)_kernel"
WRITTEN_OUT = r"(op:aten::(_softmax|bmm|baddbmm)$|(op|kernel):triton_\w*softmax|function:.*\.eager_attention_forward$)"
GENERATE = r"function:transformers\.[\w.]+\.GenerationMixin\.generate$"
GROWING = r"function:transformers\.cache_utils\.DynamicLayer\.update$"
FIXED = r"function:transformers\.cache_utils\.StaticLayer\.update$"
PROCESSOR = r"function:transformers\.[\w.]*(Image|Video)Processor\w*\.preprocess$"
FRAME_THREAD = r"thread:av:\w+:df"
"""Named so by FFmpeg (libavcodec/pthread_frame.c)."""
LOAD = r"evbench\.pipelines\.\w+\.(VideoLlava|EventGPT)\.load$"
LOAD_MANY = r"evbench\.pipelines\.\w+\.VideoLlava\._load_many$"

DALI_DECODING = r"function:evbench\.pipelines\.load\.(dali\.DaliDecoder|dali_images\.DaliImages)\.__call__$"
RENDERING = r"function:evbench\.pipelines\.load\.event_images\."
ON_GPU = r"kernel:(last_event|paint)_kernel"
PAINTING = r"kernel:paint_kernel"
POOLED, TOKENS = (rf"function:evbench\.pipelines\.eventgpt\.Pooling{{}}\.{method}$" for method in ("pooled", "tokens"))
"""Of PoolingLast or PoolingFirst."""

REPLAY = r"runtime:cudaGraphLaunch$"
REPLAYED = r"function:evbench\.pipelines\.capture\.Replayed\.__call__$"
LANGUAGE_MODEL = r"function:transformers\.[\w.]+\.LlamaModel\.forward$"
LOOP = r"function:evbench\.pipelines\.generate\.loops\.StaticLoop\.__call__$"
TOWER_SEEN = {"vision": ("eager", "batched", "compile")}
TOWER_ATTENTION = {"vision": ("eager", "batched", "compile", "graph")}
"""Where attention in the tower is the variant's choice."""
PREFILL_SEEN = {"prefill": ("eager",)}
STEPS_SEEN = {"generate": ("dynamic", "transformers-static", "static", "static-compile")}
"""Where the operations of a stage are called one by one, and attention in each step is the variant's choice."""


def flash(operation: str, kernel: str) -> tuple[Sign, ...]:
    """Signs of a kernel for attention that is no other's."""
    return (
        Sign("vision", f"operation {operation}", rf"op:{operation}$", "each layer", where=TOWER_SEEN),
        Sign("vision", "its kernel", rf"kernel:.*{kernel}", "each layer", where=TOWER_ATTENTION),
        Sign("generate", f"operation {operation}", rf"op:{operation}$", "each layer", where=PREFILL_SEEN),
        Sign("generate", f"operation {operation}", rf"op:{operation}$", "each step", where=STEPS_SEEN),
        Sign("generate", "its kernel", rf"kernel:.*{kernel}"),
        Sign("generate", "its kernel", rf"kernel:.*{kernel}", "each step", where=STEPS_SEEN),
        Sign("generate", "attention written out", r"function:.*\.eager_attention_forward$", "never"),
    )


CAPTURED_TOWER = (
    Sign("vision", "call of a captured tower", REPLAYED),
    Sign("vision", "replay of a CUDA graph", REPLAY),
    Sign("vision", "compiled graph run by itself", COMPILED, "never"),
    Sign("vision", "layers of transformers", LAYER, "never"),
)

SIGNS: dict[str, dict[str, tuple[Sign, ...]]] = {
    "decode": {
        "plain": (
            Sign("load", "call of plain decoding", r"function:evbench\.pipelines\.load\.(video\.decode_plain|png\.read_plain)$"),
            Sign("load", "decoder of FFmpeg", r"decoder:", kinds=VIDEO),
            Sign("load", "decoder told to use a thread for each frame", r"decoder:.* (AUTO|FRAME)$", "never", VIDEO),
            Sign("load", "frame threads of FFmpeg", FRAME_THREAD, "never", VIDEO),
            Sign("load", "images read in the main thread", r"function:evbench\.pipelines\.load\.png\._read$", "each frame", IMAGES),
            Sign("load", "work in a pool's threads", r"pool:evbench\.pipelines\.", "never"),
        ),
        "threaded": (
            Sign("load", "call of threaded decoding", r"function:evbench\.pipelines\.load\.(video\.decode_threaded|png\.read_threaded)$"),
            Sign("load", "decoder told to use a thread for each frame", r"decoder:.* (AUTO|FRAME)$", kinds=VIDEO),
            Sign("load", "frame threads of FFmpeg", rf"{FRAME_THREAD}|thread:dav1d", kinds=VIDEO),
            Sign("load", "frames converted in a pool's threads", r"pool:evbench\.pipelines\.load\.video\._convert$", "each frame", VIDEO),
            Sign("load", "images read in a pool's threads", r"pool:evbench\.pipelines\.load\.png\._read$", "each frame", IMAGES),
        ),
        "dali": (
            Sign("load", "call of decoding with DALI", DALI_DECODING),
            Sign("load", "run of a DALI pipeline", r"function:nvidia\.dali\.pipeline\.Pipeline\.run$"),
            Sign("load", "frames converted by DALI on the GPU", r"kernel:.*dali::VideoColorSpaceConversion", "each frame", VIDEO),
            Sign("load", "decoder of FFmpeg", r"decoder:", "never", VIDEO),
            Sign("load", "images read with PIL", r"(function|pool):evbench\.pipelines\.load\.png\._read$", "never", IMAGES),
        ),
    },
    "render": {
        "loop": (
            Sign("load", "call of the loop over events", RENDERING + r"loop$"),
            Sign("load", "rendering with NumPy", RENDERING + r"vectorised$", "never"),
            Sign("load", "rendering on the GPU", ON_GPU, "never"),
        ),
        "vectorised": (
            Sign("load", "call of rendering with NumPy", RENDERING + r"vectorised$"),
            Sign("load", "loop over events", RENDERING + r"loop$", "never"),
            Sign("load", "rendering on the GPU", ON_GPU, "never"),
        ),
        "triton": (
            Sign("load", "call of rendering on the GPU", r"function:evbench\.pipelines\.load\.event_painter\.EventPainter\.__call__$"),
            Sign("load", "kernel that finds each pixel's last event", r"kernel:last_event_kernel"),
            Sign("load", "kernel that paints", PAINTING, "never"),
            Sign("preprocess", "kernel that paints", PAINTING, where={"preprocess": ("processor", "direct", "dali")}),
            Sign("load", "rendering on the host", RENDERING + r"(loop|vectorised)$", "never"),
        ),
    },
    "preprocess": {
        "processor": (
            Sign("preprocess", "call of transformers' processor", PROCESSOR, kinds=VIDEO),
            Sign("preprocess", "call of transformers' processor", PROCESSOR, "each frame", EVENTS),
            Sign("preprocess", "call of direct preprocessing", r"function:evbench\.pipelines\.preprocess\.pixels\.pixel_values$", "never"),
        ),
        "direct": (
            Sign("preprocess", "call of direct preprocessing", r"function:evbench\.pipelines\.preprocess\.pixels\.pixel_values$"),
            Sign("preprocess", "bicubic resize", r"op:aten::_upsample_bicubic2d_aa$"),
            Sign("preprocess", "resize on the GPU", r"kernel:.*upsample_gen2d_aa", devices=GPU),
            Sign("preprocess", "call of transformers' processor", PROCESSOR, "never"),
        ),
        "dali": (
            Sign("preprocess", "call of DALI's preprocessing",
                 r"function:evbench\.pipelines\.preprocess\.dali_pixels\.DaliValues\.__call__$"),
            Sign("preprocess", "run of a DALI pipeline", r"function:nvidia\.dali\.pipeline\.Pipeline\.run$"),
            Sign("preprocess", "kernels of DALI", r"kernel:.*dali::"),
            Sign("preprocess", "resize of torch", r"op:aten::_upsample", "never"),
            Sign("preprocess", "call of transformers' processor", PROCESSOR, "never"),
        ),
        "triton": (
            Sign("preprocess", "call of the fused preprocessing",
                 r"function:evbench\.pipelines\.preprocess\.pixels\.FusedValues\.__call__$"),
            Sign("preprocess", "its kernel", r"kernel:pixel_values_kernel", kinds=("video", "event-images")),
            Sign("preprocess", "its kernel", r"kernel:pixel_values_kernel", kinds=RAW, where={"render": ("loop", "vectorised")}),
            Sign("preprocess", "kernel for last events", r"kernel:values_of_maps_kernel", kinds=RAW, where={"render": ("triton",)}),
            Sign("preprocess", "kernel that paints pictures for it", PAINTING, "never", RAW),
            Sign("preprocess", "resize of torch", r"op:aten::_upsample", "never"),
            Sign("preprocess", "call of transformers' processor", PROCESSOR, "never"),
        ),
    },
    "attention": {
        "eager": (
            Sign("vision", "attention written out", WRITTEN_OUT, "each layer", where=TOWER_ATTENTION),
            Sign("vision", "scaled_dot_product_attention", r"op:aten::_?scaled_dot_product", "never", where=TOWER_ATTENTION),
            Sign("generate", "attention written out", r"function:.*\.eager_attention_forward$", "each layer", where=PREFILL_SEEN),
            Sign("generate", "softmax", r"op:aten::_softmax$", "each layer", where=PREFILL_SEEN),
            Sign("generate", "attention written out in a compiled graph", r"kernel:triton_\w*softmax", devices=GPU,
                 where={"prefill": ("compile",)}),
            Sign("generate", "scaled_dot_product_attention", r"op:aten::_?scaled_dot_product", "never"),
        ),
        "sdpa": (
            Sign("vision", "fused attention", FUSED, "each layer", where=TOWER_SEEN),
            Sign("vision", "fused attention on the GPU", FUSED_KERNEL, "each layer", devices=GPU, where=TOWER_ATTENTION),
            Sign("vision", "attention written out", WRITTEN_OUT, "never", where=TOWER_ATTENTION),
            Sign("generate", "fused attention", FUSED, "each layer", where=PREFILL_SEEN),
            Sign("generate", "fused attention", FUSED, "each step", where=STEPS_SEEN),
            Sign("generate", "fused attention on the GPU", FUSED_KERNEL, devices=GPU),
            Sign("generate", "fused attention on the GPU", FUSED_KERNEL, "each step", devices=GPU, where=STEPS_SEEN),
            # The rotary embedding has a bmm, and sampling a softmax, of their own.
            Sign("generate", "attention written out", r"function:.*\.eager_attention_forward$", "never"),
            Sign("generate", "attention written out in a compiled graph", r"(op|kernel):triton_\w*softmax", "never"),
        ),
        "sdpa-flash": flash(r"aten::_scaled_dot_product_flash_attention", r"pytorch_flash::"),
        "flash2": flash(r"evbench::flash2", r"(?<!pytorch_)flash::flash_fwd"),
        "flash3": flash(r"evbench::flash3", r"FlashAttnFwdSm90"),
        "flash4": flash(r"evbench::flash4", r"flash_attn.*[Ss]m90"),
    },
    "vision": {
        "eager": (
            Sign("vision", "call of transformers' encoder", r"function:transformers\.[\w.]+\.get_video_features$", kinds=VIDEO),
            Sign("vision", "call for one image", r"function:evbench\.pipelines\.eventgpt\.EventGPTModel\.seen$",
                     "each frame", EVENTS),
            Sign("vision", "compiled graph", COMPILED, "never"),
            Sign("vision", "replay of a CUDA graph", REPLAY, "never"),
        ),
        "batched": (
            Sign("vision", "call of the tower's used layers", r"function:evbench\.pipelines\.video_llava\.used_layers\.", kinds=VIDEO),
            Sign("vision", "call of the tower with all images", r"function:evbench\.pipelines\.eventgpt\.batched\.", kinds=EVENTS),
            Sign("vision", "layers that are not compiled", LAYER),
            Sign("vision", "compiled graph", COMPILED, "never"),
            Sign("vision", "replay of a CUDA graph", REPLAY, "never"),
        ),
        "compile": (
            Sign("vision", "call for the layers used", r"function:evbench\.pipelines\.video_llava\.used_layers\.", kinds=VIDEO),
            Sign("vision", "call for all images at once", r"function:evbench\.pipelines\.eventgpt\.batched\.", kinds=EVENTS),
            Sign("vision", "compiled graph", COMPILED),
            Sign("vision", "code of the compiler", INDUCTOR),
            Sign("vision", "Triton kernels of the compiler", TRITON, devices=GPU),
            Sign("vision", "layers not compiled", LAYER, "never"),
            Sign("vision", "replay of a CUDA graph", REPLAY, "never"),
        ),
        "graph": (
            *CAPTURED_TOWER,
            Sign("vision", "Triton kernels of the compiler", TRITON),
            Sign("vision", "kernels of vision=fused", TOWER_KERNELS, "never"),
        ),
        "fused": (
            *CAPTURED_TOWER,
            Sign("vision", "Triton kernels of the compiler", TRITON, "never"),
            Sign("vision", "norms in a kernel of our own", r"kernel:shifted_norm_kernel", "each layer"),
            Sign("vision", "activations in a kernel of our own", r"kernel:quick_gelu_kernel", "each layer"),
            Sign("vision", "attention in a kernel of our own", TOWER_KERNEL, "each layer"),
            Sign("vision", "attention in another kernel", r"kernel:.*(flash_fwd|fmha|sdpa|FlashAttn|flash_attn|softmax)", "never"),
        ),
    },
    "pooling": {
        "last": (
            Sign("vision", "pooling of finished features", POOLED.format("Last")),
            Sign("vision", "affine layer behind the pooling", POOLED.format("First"), "never"),
            Sign("vision", "tokens left unfinished", TOKENS.format("First"), "never"),
        ),
        "first": (
            Sign("vision", "affine layer behind the pooling", POOLED.format("First")),
            Sign("vision", "affine layer that is in no graph", r"op:aten::linear$"),
            Sign("vision", "projector and adaptor on tokens", TOKENS.format("Last"), "never"),
            Sign("vision", "pooling of finished features", POOLED.format("Last"), "never"),
        ),
    },
    "generate": {
        "dynamic": (
            Sign("generate", "call of transformers' generate", GENERATE),
            Sign("generate", "writes to a growing cache", GROWING, "each layer"),
            Sign("generate", "writes to a growing cache", GROWING, "each step"),
            Sign("generate", "writes to a cache of fixed size", FIXED, "never"),
            Sign("generate", "compiled graph", COMPILED, "never"),
        ),
        "transformers-static": (
            Sign("generate", "call of transformers' generate", GENERATE),
            Sign("generate", "writes to a cache of fixed size", FIXED),
            Sign("generate", "writes to a growing cache", GROWING, "never"),
            Sign("generate", "compiled graph", COMPILED, "each step"),
        ),
        "static": (
            Sign("generate", "call of the loop", LOOP),
            Sign("generate", "call of a step", r"function:evbench\.pipelines\.generate\.loops\.StaticLoop\._decode$", "each step"),
            Sign("generate", "writes to a cache of fixed size", FIXED, "each layer"),
            Sign("generate", "writes to a cache of fixed size", FIXED, "each step"),
            Sign("generate", "call of transformers' generate", GENERATE, "never"),
            Sign("generate", "compiled graph", COMPILED, "never"),
        ),
        "static-compile": (
            Sign("generate", "call of the loop", LOOP),
            Sign("generate", "writes to a cache of fixed size", FIXED),
            Sign("generate", "compiled graph", COMPILED, "each step"),
            Sign("generate", "code of the compiler", INDUCTOR, "each step"),
            Sign("generate", "Triton kernels of the compiler", TRITON, "each step", devices=GPU),
            Sign("generate", "call of transformers' generate", GENERATE, "never"),
        ),
        "graph": (
            Sign("generate", "call of the loop", r"function:evbench\.pipelines\.generate\.graph_loop\.GraphLoop\.__call__$"),
            Sign("generate", "replay of a CUDA graph", REPLAY, "each step"),
            Sign("generate", "matrix times vector in one kernel", r"kernel:matvec_kernel", "each step"),
            Sign("generate", "attention over the cache in one kernel", r"kernel:decode_attention_kernel", "each step"),
            Sign("generate", "call of transformers' generate", GENERATE, "never"),
            Sign("generate", "writes to a cache of transformers with fixed size", FIXED, "never"),
        ),
    },
    "prefill": {
        "eager": (
            Sign("generate", "call of transformers' language model", LANGUAGE_MODEL),
        ),
        "compile": (
            Sign("generate", "call of a captured prefill", REPLAYED),
            Sign("generate", "Triton kernels of the compiler", TRITON),
            Sign("generate", "call of transformers' language model", LANGUAGE_MODEL, "never"),
        ),
    },
    "feed": {
        "in-turn": (
            Sign(STREAM, "load in the main thread", rf"function:{LOAD}", "each sample"),
            Sign(STREAM, "load in another thread", rf"pool:({LOAD}|{LOAD_MANY})", "never"),
            Sign(STREAM, "load before the answer to the sample before", rf"early:({LOAD}|{LOAD_MANY})", "never"),
        ),
        "ahead": (
            Sign(STREAM, "load in a thread of its own", rf"pool:{LOAD}", "each sample"),
            Sign(STREAM, "load before the answer to the sample before", rf"early:{LOAD}"),
            Sign(STREAM, "load of several samples in one call", rf"(function|pool):{LOAD_MANY}", "never"),
            Sign(STREAM, "load in the main thread", rf"function:{LOAD}", "never"),
        ),
        "ahead-in-batches": (
            Sign(STREAM, "load of several samples in one call, in a thread of its own", rf"pool:{LOAD_MANY}"),
            Sign(STREAM, "call of DALI for several clips", r"pool:evbench\.pipelines\.load\.dali\.DaliDecoder\._run_together$"),
            Sign(STREAM, "such a load before the answer to the sample before", rf"early:{LOAD_MANY}"),
            Sign(STREAM, "load of one sample", rf"(function|pool):{LOAD}", "never"),
            Sign(STREAM, "load in the main thread", rf"function:{LOAD_MANY}", "never"),
        ),
    },
}  # fmt: skip
"""All of them are there if the choice is active."""

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
