"""The choices of the vision stage: the tower, and pooling after it. Imports no torch."""

from __future__ import annotations

from evbench.choices import GPU, Choice, Evidence, Part
from evbench.pipelines.compute.choices import COMPILED, INDUCTOR, LAYER, REPLAY, REPLAYED, TRITON

BATCHED = r"function:evbench\.pipelines\.vision\.encoders\.batched\."
TOWER_KERNEL = r"kernel:tower_attention_kernel"
TOWER_KERNELS = r"kernel:(tower_attention|shifted_norm|quick_gelu)_kernel"

CAPTURED_TOWER = (
    Evidence("vision", "call of a captured tower", REPLAYED),
    Evidence("vision", "replay of a CUDA graph", REPLAY),
    Evidence("vision", "compiled graph run by itself", COMPILED, "never"),
    Evidence("vision", "layers of transformers", LAYER, "never"),
)

VISION = Part(
    "vision",
    ("vision",),
    {
        "eager": Choice(
            "the tower as published: Video-LLaVA runs its unused last layer, EventGPT takes its images one by one",
            "evbench.pipelines.vision.encoders:eager",
            (
                Evidence("vision", "layers that are not compiled", LAYER, "each layer"),
                Evidence("vision", "call with all images at once", BATCHED, "never"),
                Evidence("vision", "compiled graph", COMPILED, "never"),
                Evidence("vision", "replay of a CUDA graph", REPLAY, "never"),
            ),
        ),
        "compile-tower": Choice(
            "the tower as published, compiled with torch.compile in its place: as many graphs as the compiler needs",
            "evbench.pipelines.vision.encoders:compiled_tower",
            (
                Evidence("vision", "compiled graph", COMPILED),
                Evidence("vision", "code of the compiler", INDUCTOR),
                Evidence("vision", "Triton kernels of the compiler", TRITON, devices=GPU),
                Evidence("vision", "call with all images at once", BATCHED, "never"),
                Evidence("vision", "replay of a CUDA graph", REPLAY, "never"),
            ),
            needs=("C++ compiler",),
            risk="compiling makes start-up longer, and again for each shape of input; what the compiler fuses is rounded otherwise, and "
            "what it cannot follow runs as published",
        ),
        "batched": Choice(
            "all images at once through the layers that are used",
            "evbench.pipelines.vision.encoders:batched",
            (
                Evidence("vision", "call with all images at once", BATCHED),
                Evidence("vision", "layers that are not compiled", LAYER, "each layer"),
                Evidence("vision", "compiled graph", COMPILED, "never"),
                Evidence("vision", "replay of a CUDA graph", REPLAY, "never"),
            ),
            risk="all images are in memory at once, and products of a batch may be summed in another order",
        ),
        "compile": Choice(
            "all images at once through the layers that are used, as one torch.compile graph",
            "evbench.pipelines.vision.encoders:compiled",
            (
                Evidence("vision", "call with all images at once", BATCHED),
                Evidence("vision", "compiled graph", COMPILED),
                Evidence("vision", "code of the compiler", INDUCTOR),
                Evidence("vision", "Triton kernels of the compiler", TRITON, devices=GPU),
                Evidence("vision", "layers not compiled", LAYER, "never"),
                Evidence("vision", "replay of a CUDA graph", REPLAY, "never"),
            ),
            needs=("C++ compiler",),
            risk="compiling makes start-up longer, and what the compiler fuses is rounded otherwise",
        ),
        "graph": Choice(
            "all images at once through the layers that are used, with query, key and value as one matrix, each layer compiled, all of it "
            "replayed as a CUDA graph",
            "evbench.pipelines.vision.encoders:graph",
            (
                *CAPTURED_TOWER,
                Evidence("vision", "Triton kernels of the compiler", TRITON),
                Evidence("vision", "kernels of vision=fused", TOWER_KERNELS, "never"),
            ),
            needs=("NVIDIA GPU", "C++ compiler"),
            risk="compiling and capturing make start-up longer; a graph that is not fed anew would answer the sample before, and is "
            "planted as a fault",
        ),
        "fused": Choice(
            "like graph without a compiler: what stands between the matrix products is done by Triton kernels of evbench, among them one "
            "for attention over short rows of tokens, instead of what attention= names (which prefill and decode keep)",
            "evbench.pipelines.vision.encoders:fused",
            (
                *CAPTURED_TOWER,
                Evidence("vision", "Triton kernels of the compiler", TRITON, "never"),
                Evidence("vision", "norms in a kernel of evbench", r"kernel:shifted_norm_kernel", "each layer"),
                Evidence("vision", "activations in a kernel of evbench", r"kernel:quick_gelu_kernel", "each layer"),
                Evidence("vision", "attention in a kernel of evbench", TOWER_KERNEL, "each layer"),
                Evidence(
                    "vision", "attention in another kernel", r"kernel:.*(flash_fwd|fmha|sdpa|FlashAttn|flash_attn|softmax)", "never"
                ),
            ),
            needs=("NVIDIA GPU", "Triton"),
            risk="kernels of its own in the place of a library's; a graph that is not fed anew would answer the sample before, and is "
            "planted as a fault",
        ),
    },
)  # fmt: skip

POOLING_LAST = r"function:evbench\.pipelines\.vision\.pooling\.PoolingLast\."
POOLING_FIRST = r"function:evbench\.pipelines\.vision\.pooling\.PoolingFirst\."

POOLING = Part(
    "pooling",
    ("vision",),
    {
        "last": Choice(
            "as published: projector and adaptor on every token of every image, then the means over time and space",
            "evbench.pipelines.vision.pooling:PoolingLast",
            (
                Evidence("vision", "pooling of finished features", POOLING_LAST + r"pooled$"),
                Evidence("vision", "affine layer after the pooling", POOLING_FIRST + r"pooled$", "never"),
                Evidence("vision", "tokens left unfinished", POOLING_FIRST + r"tokens$", "never"),
            ),
        ),
        "first": Choice(
            "the means directly after the projector's activation; the affine layers that follow are one matrix, applied to the pooled "
            "tokens only: equal but for rounding, for a fifth of the operations",
            "evbench.pipelines.vision.pooling:PoolingFirst",
            (
                Evidence("vision", "affine layer after the pooling", POOLING_FIRST + r"pooled$"),
                Evidence("vision", "affine layer that is in no graph", r"op:aten::linear$"),
                Evidence("vision", "projector and adaptor on tokens", POOLING_LAST + r"tokens$", "never"),
                Evidence("vision", "pooling of finished features", POOLING_LAST + r"pooled$", "never"),
            ),
            risk="rounded otherwise, as two affine layers are one matrix",
        ),
    },
)
