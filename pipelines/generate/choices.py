"""The choices of prefill and decode, and the evidence that decoding is greedy. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from evbench.choices import GPU, Choice, Conflict, Count, Evidence, Part
from evbench.pipelines.compute.choices import COMPILED, INDUCTOR, REPLAY, REPLAYED, TRITON, UNDRAFTED

TRANSFORMERS = r"function:transformers\.[\w.]+\.GenerationMixin\.generate$"
GROWING = r"function:transformers\.cache_utils\.DynamicLayer\.update$"
FIXED = r"function:transformers\.cache_utils\.StaticLayer\.update$"
LANGUAGE_MODEL = r"function:transformers\.[\w.]+\.LlamaModel\.forward$"
GAMMA = {"lookup-2": 2, "lookup-4": 4, "lookup-8": 8, "small-4": 4, "eventgpt-4": 4, "eventgpt-small-4": 4, "head-4": 4, "head-8": 8}
"""Choice of `draft` -> drafted tokens in a pass, at most."""
DRAFTED = {"draft": tuple(GAMMA)}
"""Where a pass verifies several tokens."""
VERIFIED = r"function:evbench\.pipelines\.generate\.speculative\.SpeculativeLoop\.__call__$"
LOOP = r"function:evbench\.pipelines\.generate\.loops\.StaticLoop\.__call__$"
STEP = r"function:evbench\.pipelines\.generate\.loops\.StaticLoop\._decode$"

GENERATE = Part(
    "generate",
    ("generate",),
    {
        "dynamic": Choice(
            "transformers' generate with a cache that grows",
            "evbench.pipelines.generate.loops:dynamic",
            (
                Evidence("generate", "call of transformers' generate", TRANSFORMERS),
                Evidence("generate", "writes to a growing cache", GROWING, "each layer and token"),
                Evidence("generate", "writes to a cache of fixed size", FIXED, "never"),
                Evidence("generate", "compiled graph", COMPILED, "never"),
            ),
        ),
        "transformers-static": Choice(
            "transformers' generate with its cache of fixed size, whose steps it compiles by itself",
            "evbench.pipelines.generate.loops:transformers_static",
            (
                Evidence("generate", "call of transformers' generate", TRANSFORMERS),
                Evidence("generate", "writes to a cache of fixed size", FIXED, "each layer"),
                Evidence("generate", "writes to a growing cache", GROWING, "never"),
                Evidence("generate", "compiled graph", COMPILED, "each step"),
            ),
            needs=("NVIDIA GPU", "C++ compiler"),
            risk="compiling makes start-up longer; what happens inside the graph that transformers compiles cannot be seen",
        ),
        "static-generate": Choice(
            "transformers' generate with its cache of fixed size, nothing compiled",
            "evbench.pipelines.generate.loops:static_generate",
            (
                Evidence("generate", "call of transformers' generate", TRANSFORMERS),
                Evidence("generate", "writes to a cache of fixed size", FIXED, "each layer and token"),
                Evidence("generate", "writes to a growing cache", GROWING, "never"),
                Evidence("generate", "compiled graph", COMPILED, "never"),
            ),
            risk="each step reads the cache at its full size, through a mask",
        ),
        "static": Choice(
            "prefill and a decode loop of evbench over a cache of fixed size",
            "evbench.pipelines.generate.loops:static",
            (
                Evidence("generate", "call of the loop", LOOP, where=UNDRAFTED),
                Evidence("generate", "call of a step", STEP, "each step", where=UNDRAFTED),
                Evidence("generate", "writes to a cache of fixed size", FIXED, "each layer and token", where=UNDRAFTED),
                Evidence("generate", "writes to a cache of fixed size", FIXED, "each layer", where=DRAFTED),
                Evidence("generate", "call of transformers' generate", TRANSFORMERS, "never"),
                Evidence("generate", "compiled graph", COMPILED, "never"),
            ),
            risk="each step reads the cache at its full size, through a mask; a slot that is not written or a position that is off are "
            "planted as faults",
        ),
        "static-compile": Choice(
            "the loop of static, its decode step compiled with torch.compile",
            "evbench.pipelines.generate.loops:static_compile",
            (
                Evidence("generate", "call of the loop", LOOP),
                Evidence("generate", "writes to a cache of fixed size", FIXED, "each layer"),
                Evidence("generate", "compiled graph", COMPILED, "each step"),
                Evidence("generate", "code of the compiler", INDUCTOR, "each step"),
                Evidence("generate", "Triton kernels of the compiler", TRITON, "each step", devices=GPU),
                Evidence("generate", "call of transformers' generate", TRANSFORMERS, "never"),
            ),
            needs=("C++ compiler",),
            risk="as static; and compiling makes start-up longer",
        ),
        "graph": Choice(
            "a decode step of fused Triton kernels, attention among them, replayed as a CUDA graph without waiting for a token; or with "
            "drafts a pass over some tokens",
            "evbench.pipelines.generate.loops:graph",
            (
                Evidence(
                    "generate", "call of the loop",
                    r"function:evbench\.pipelines\.generate\.graph_loop\.GraphLoop\.__call__$", where=UNDRAFTED,
                ),
                Evidence("generate", "replay of a CUDA graph", REPLAY, "each step", where=UNDRAFTED),
                Evidence(
                    "generate", "matrix times vector in one kernel",
                    r"kernel:(quantized_)?matvecs?_kernel", "each layer and step", where=UNDRAFTED,
                ),
                Evidence(
                    "generate", "attention over the cache in one kernel",
                    r"kernel:(quantized_)?decode_attention_kernel", "each layer and step", where=UNDRAFTED,
                ),
                Evidence("generate", "replay of a CUDA graph", REPLAY, where=DRAFTED),
                Evidence(
                    "generate", "matrix times some vectors in one kernel",
                    r"kernel:(quantized_)?matvecs_kernel", "each layer", where=DRAFTED,
                ),
                Evidence(
                    "generate", "attention of some tokens over the cache in one kernel",
                    r"kernel:block_attention_kernel", "each layer", where=DRAFTED,
                ),
                Evidence("generate", "call of transformers' generate", TRANSFORMERS, "never"),
                Evidence("generate", "writes to a cache of transformers with fixed size", FIXED, "never"),
            ),
            needs=("NVIDIA GPU", "Triton"),
            most_together=16,  # evbench.kernels.matvec.MOST_INPUTS
            risk="kernels of its own in the place of a library's; stale logits, a cache that is lost and a position that is off are "
            "planted as faults",
        ),
        "at-once": Choice(
            "prompt and answer in one pass without a cache",
            "evbench.pipelines.generate.loops:at_once",
            (),
            hidden=True,
        ),
    },
)  # fmt: skip

PREFILL = Part(
    "prefill",
    ("generate",),
    {
        "eager": Choice(
            "the model's layers as they are",
            "evbench.pipelines.generate.graph_loop:eager_prefill",
            (Evidence("generate", "call of transformers' language model", LANGUAGE_MODEL),),
        ),
        "compile": Choice(
            "query, key and value one matrix, gate and up one, each layer compiled, of the last one only the last position, all of it "
            "replayed as a CUDA graph",
            "evbench.pipelines.generate.graph_loop:compiled_prefill",
            (
                Evidence("generate", "call of a captured prefill", REPLAYED),
                Evidence("generate", "Triton kernels of the compiler", TRITON),
                Evidence("generate", "call of transformers' language model", LANGUAGE_MODEL, "never"),
            ),
            needs=("NVIDIA GPU", "C++ compiler"),
            conflicts=(
                Conflict(
                    "generate",
                    ("dynamic", "transformers-static", "static-generate", "static", "static-compile"),
                    "it fills the cache of generate=graph",
                ),
            ),
            risk="compiling and capturing make start-up longer",
        ),
    },
)


def _of_events(drafter: str) -> tuple[Evidence, ...]:
    return (
        Evidence("load", f"event images read for {drafter}", r"function:evbench\.pipelines\.eventgpt\.EventGPT\.event_images$"),
        Evidence("preprocess", f"pixel values made for {drafter}", rf"range:preprocess for {drafter}$"),
        Evidence("vision", f"features made for {drafter}", rf"range:vision of {drafter}$"),
        Evidence("generate", f"drafts of {drafter}", rf"range:draft of {drafter}$"),
    )


DRAFTERS = {
    "lookup": (
        "by what followed where the last tokens of prompt and answer stood before",
        "evbench.pipelines.generate.drafts:prompt_lookup",
        (Evidence("generate", "search for the last tokens", r"function:evbench\.pipelines\.generate\.lookup\.PromptLookup\.__call__$"),),
    ),
    "small": (
        "by the small model of the same name, which sees the same pixels",
        "evbench.pipelines.generate.drafts:small",
        (Evidence("generate", "drafts of the small model", r"range:draft of the small model$"),),
    ),
    "eventgpt": (
        "by EventGPT of the same preset, which sees the events of the same moment",
        "evbench.pipelines.event_drafts:eventgpt",
        _of_events("EventGPT"),
    ),
    "eventgpt-small": (
        "by the small EventGPT, which sees the events of the same moment",
        "evbench.pipelines.event_drafts:small_eventgpt",
        _of_events("the small EventGPT"),
    ),
    "head": (
        "by a head of one layer over the model's own last hidden states",
        "evbench.pipelines.generate.drafts:head",
        (Evidence("generate", "drafts of the head", r"function:evbench\.pipelines\.generate\.draft_head\.HeadDrafter\.__call__$"),),
    ),
}
"""Who drafts -> how, its implementation, and the evidence that it did."""
OTHER_MODELS = {"eventgpt": ("eventgpt", ""), "eventgpt-small": ("eventgpt", "small")}
"""Of these, those that are another model, for clips -> its name and preset, empty where it is that of the target."""


def _drafted(drafter: str, gamma: int) -> Choice:
    how, implementation, evidence = DRAFTERS[drafter]
    other, preset = OTHER_MODELS.get(drafter, ("", ""))
    return Choice(
        f"speculative decoding: {gamma} tokens at most are drafted, {how}, and verified in one pass",
        implementation,
        (
            Evidence("generate", "call of the loop that verifies drafts", VERIFIED),
            Evidence("generate", "passes over drafts", rf"range:verify {gamma} drafts at most$"),
            *evidence,
        ),
        kinds=("video",) if other else (),
        conflicts=(
            Conflict(
                "generate",
                ("dynamic", "transformers-static", "static-generate", "static-compile"),
                "drafts are verified over the cache of generate=static or graph",
            ),
        ),
        risk="what is drafted and not accepted was computed for nothing; a draft that is believed, and a cache that is cut back wrongly, "
        f"are planted as faults{'; takes the memory of both models, and loads, encodes and prefills twice' if other else ''}",
        tokens_per_pass=gamma + 1,
        most_together=1,
        drafter=other,
        drafter_preset=preset,
    )


DRAFT = Part(
    "draft",
    ("generate",),
    {
        "none": Choice(
            "each token by a pass of its own",
            "evbench.pipelines.generate.drafts:none",
            (
                Evidence("generate", "choice of the most likely token", r"op:aten::argmax$"),
                Evidence("generate", "call of the loop that verifies drafts", VERIFIED, "never"),
            ),
        ),
        **{name: _drafted(name.rpartition("-")[0], gamma) for name, gamma in GAMMA.items()},
    },
)

MATRICES, KERNELS = 7, 4
"""Products in a layer: of queries, keys, values, output; gate, up, down. And in as many kernels, of those that are one matrix together."""
FULL_PRODUCT = r"(op:aten::(linear|addmm|mm)|kernel:matvecs?_kernel)$"
EAGER_STEPS: Mapping[str, tuple[str, ...]] = {"generate": ("dynamic", "static-generate", "static"), **UNDRAFTED}
COMPILED_STEPS: Mapping[str, tuple[str, ...]] = {"generate": ("transformers-static", "static-compile")}
CAPTURED_STEPS: Mapping[str, tuple[str, ...]] = {"generate": ("graph",), **UNDRAFTED}
"""Choices of other parts: each product of a step is a call; or inside of a graph that does not show it; or in a kernel with others."""


def _product(of: str) -> str:
    """Names of products with weights of a type."""
    return rf"(function:evbench\.pipelines\.generate\.quantized\.{of}Linear\.forward|kernel:quantized_matvecs?_kernel)$"


def _quantized(name: str, stored: str, module: str) -> Choice:
    def evidence(count: Count, times: int, where: Mapping[str, tuple[str, ...]]) -> Evidence:
        return Evidence("generate", f"products with weights in {name}", _product(module), count, times=times, where=where)

    return Choice(
        f"weights in the language model's layers as {stored}, rounded, with a scale for each row; embedding, norms, head and activations "
        "keep their type. Lossy: outputs are not preserved",
        f"evbench.pipelines.generate.quantized:{name}",
        (
            evidence("each layer", KERNELS, {}),
            evidence("each layer and token", MATRICES, EAGER_STEPS),
            evidence("each layer", MATRICES, COMPILED_STEPS),
            evidence("each layer and step", KERNELS, CAPTURED_STEPS),
        ),
        risk="outputs change: how much is measured, and depends on the weights; it is slower where all weights are made whole before each "
        "product; scales of another row, a layer that is not quantized, one that adds nothing, and four bits are planted as faults",
        loses_as=f"{name}-dequantized",
        layer_weight_bytes=1.0,
    )


def _dequantized(name: str) -> Choice:
    return Choice(
        f"weights rounded as by {name}, in the type of the reference",
        f"evbench.pipelines.generate.quantized:{name}_dequantized",
        (),
        hidden=True,
    )


QUANTIZATION = Part(
    "quantization",
    ("generate",),
    {
        "none": Choice(
            "weights of the language model as they are",
            "evbench.pipelines.generate.quantized:none",
            (
                Evidence("generate", "products with weights that are not quantized", FULL_PRODUCT),
                Evidence("generate", "products with quantized weights", _product("(Int8|Float8)"), "never"),
            ),
        ),
        "int8": _quantized("int8", "integers of eight bits", "Int8"),
        "fp8": _quantized("fp8", "float8_e4m3fn", "Float8"),
        "int8-dequantized": _dequantized("int8"),
        "fp8-dequantized": _dequantized("fp8"),
    },
)

QUANTIZED_ATTENTION = r"kernel:quantized_decode_attention_kernel$"
CACHE = Part(
    "cache",
    ("generate",),
    {
        "full": Choice(
            "keys and values in the type of activations",
            "evbench.pipelines.generate.kv_rounding:full",
            (
                Evidence("generate", "choice of the most likely token", r"op:aten::argmax$"),
                Evidence("generate", "attention over a cache of eight bits", QUANTIZED_ATTENTION, "never"),
            ),
        ),
        "fp8": Choice(
            "keys and values as float8_e4m3fn, rounded, without a scale; in the prompt too, attention sees no others. Lossy: outputs are "
            "not preserved",
            "evbench.pipelines.generate.kv_rounding:fp8",
            (Evidence("generate", "attention over a cache of eight bits", QUANTIZED_ATTENTION, "each layer and step"),),
            needs=("NVIDIA GPU", "Triton"),
            conflicts=(
                Conflict(
                    "generate",
                    ("dynamic", "transformers-static", "static-generate", "static", "static-compile"),
                    "its cache is that of generate=graph",
                ),
                Conflict("draft", tuple(GAMMA), "passes over drafts read no cache of eight bits"),
            ),
            risk="outputs change: how much is measured, and depends on the model; keys and values below 2^-6 lose most. A cache that keeps "
            "less than it says is planted as a fault",
            loses_as="fp8-rounded",
            cache_value_bytes=1.0,
        ),
        "fp8-rounded": Choice(
            "keys and values rounded as by fp8, in the type of the reference",
            "evbench.pipelines.generate.kv_rounding:fp8_rounded",
            (),
            hidden=True,
            cache_value_bytes=1.0,
        ),
    },
)

ALL_REDUCE, SHARED_SUM = "all_reduce_kernel", "shared_sum_kernel"
"""Kernels in which GPUs exchange what they have: of a decode step, and of a prompt."""


def _tensor(gpus: int) -> Choice:
    return Choice(
        f"tensor parallelism: each layer of the language model, and its head, divided over {gpus} GPUs of this host, which add up what "
        "they have of it inside of their graphs",
        f"evbench.pipelines.generate.tensor_parallel:tensor_{gpus}",
        (
            Evidence("generate", f"prefill over {gpus} GPUs", rf"range:prefill over {gpus} GPUs$"),
            Evidence("generate", "shares of the sums over a prompt", f"kernel:{SHARED_SUM}", "each layer", times=2 * gpus),
            Evidence("generate", "sum of a step in one kernel", f"kernel:{ALL_REDUCE}", "each layer and step", times=2 * gpus),
        ),
        needs=("NVIDIA GPU", "Triton", f"{gpus} GPUs"),
        conflicts=(
            Conflict(
                "generate",
                ("dynamic", "transformers-static", "static-generate", "static", "static-compile"),
                "the matrices that are divided are those of generate=graph",
            ),
            Conflict("prefill", ("eager",), "transformers' layers are not divided"),
            Conflict("draft", tuple(GAMMA), "passes over drafts are not divided"),
        ),
        risk="the first GPU keeps the whole model beside its part of it; compiling and capturing are repeated for each GPU; memory, clocks "
        "and what disturbs are told of the first GPU alone, and energy of none; a part that is left out of a sum is planted as a fault",
        gpus=gpus,
    )


PARALLEL = Part(
    "parallel",
    ("generate",),
    {
        "none": Choice(
            "the language model on one GPU, or on the CPU",
            "evbench.pipelines.generate.tensor_parallel:none",
            (
                Evidence("generate", "choice of the most likely token", r"op:aten::argmax$"),
                Evidence("generate", "sum of a step over several GPUs", f"kernel:{ALL_REDUCE}", "never"),
                Evidence("generate", "shares of the sums over a prompt", f"kernel:{SHARED_SUM}", "never"),
            ),
        ),
        **{f"tensor-{gpus}": _tensor(gpus) for gpus in (2, 4, 8)},
    },
)

RANDOM = r"op:aten::(multinomial|bernoulli|exponential|uniform|normal|random|rand|randn|randint|randperm)(_like|_)?$"
GREEDY = (
    Evidence("generate", "choice of the most likely token", r"op:aten::argmax$"),
    # A compiled graph that draws asks for its seeds with randint.
    Evidence("generate", "random numbers", RANDOM, "never"),
    Evidence("generate", "random numbers drawn on the GPU", r"kernel:.*(distribution_\w*kernel|multinomial|philox)", "never"),
    Evidence(
        "generate",
        "search over several answers",
        r"function:transformers\.[\w.]+\.GenerationMixin\._(beam_search|assisted_decoding)$",
        "never",
    ),
)
"""Decoding is no choice: each variant takes the most likely token."""
