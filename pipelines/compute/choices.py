"""The choices of attention, and names that runs leave of what several stages compute with. Imports no torch."""

from __future__ import annotations

from evbench.choices import GPU, Choice, Conflict, Evidence, Part

LAYER = r"function:transformers\.models\.\w+\.modeling_\w+\.\w+Attention\.forward$"
"""Entered once for each layer and pass that is not compiled."""
COMPILED = r"op:Torch-Compiled Region"
INDUCTOR = r"op:## Call CompiledFxGraph"
"""Inside a compiled region: the code that the compiler wrote, not the graph run operation by operation."""
TRITON = r"kernel:triton_"
REPLAY = r"runtime:cudaGraphLaunch$"
REPLAYED = r"function:evbench\.pipelines\.compute\.cuda_graph\.Replayed\.__call__$"

FUSED = r"op:aten::_scaled_dot_product_(flash|efficient|cudnn|fused)_attention\w*$"
"""torch's one operation for attention, inside and outside of compiled graphs. `_math` is missing: that is attention written out."""
ATTENDED = r"op:(aten::_scaled_dot_product_(flash|efficient|cudnn|fused)_attention\w*|aten::_softmax|evbench::flash\d)$"
"""One of them for each call of attention whose operations are called one by one, by whatever choice."""
FUSED_KERNEL = r"kernel:.*(flash_fwd|fmha|sdpa)"
WRITTEN_OUT = r"(op:aten::(_softmax|bmm|baddbmm)$|(op|kernel):triton_\w*softmax|function:.*\.eager_attention_forward$)"
EAGER_FORWARD = r"function:.*\.eager_attention_forward$"

TOWER_SEEN = {"vision": ("eager", "batched", "compile", "compile-tower")}
TOWER_ATTENTION = {"vision": (*TOWER_SEEN["vision"], "graph")}
"""Where attention in the tower is the variant's choice."""
PREFILL_SEEN = {"prefill": ("eager",)}
UNDRAFTED = {"draft": ("none",)}
"""Where each step is of one token."""
STEPS_SEEN = {"generate": ("dynamic", "transformers-static", "static-generate", "static", "static-compile")} | UNDRAFTED
"""Where the operations of a stage are called one by one, and attention in each step is the variant's choice."""
STEPS_ONE_BY_ONE = {"generate": ("dynamic", "static-generate", "static")} | UNDRAFTED
"""Of these, where no compiler puts other operations into their place."""
STEPS_INSIDE = {"generate": ("transformers-static",)}
"""Where steps are in a graph that transformers compiles, and captures on a GPU: a replay shows kernels and no operations."""

NO_MASK = Conflict(
    "generate",
    ("transformers-static", "static-generate", "static", "static-compile"),
    "these kernels take no mask, and a cache of fixed size is read through one",
)


def flash(operation: str, kernel: str) -> tuple[Evidence, ...]:
    """Evidence of a kernel for attention that no other choice uses."""
    return (
        Evidence("vision", f"operation {operation}", rf"op:{operation}$", "each layer", where=TOWER_SEEN),
        Evidence("vision", "its kernel", rf"kernel:.*{kernel}", "each layer", where=TOWER_ATTENTION),
        Evidence("generate", f"operation {operation}", rf"op:{operation}$", "each layer", where=PREFILL_SEEN),
        Evidence("generate", f"operation {operation}", rf"op:{operation}$", "each layer and token", where=STEPS_SEEN),
        Evidence("generate", "its kernel", rf"kernel:.*{kernel}", "each layer"),
        Evidence("generate", "its kernel", rf"kernel:.*{kernel}", "each layer and token", where=STEPS_SEEN),
        Evidence("generate", "attention written out", EAGER_FORWARD, "never"),
    )


ATTENTION = Part(
    "attention",
    ("vision", "generate"),
    {
        "eager": Choice(
            "attention written out in PyTorch operations",
            "evbench.pipelines.compute.attention:eager",
            (
                Evidence("vision", "attention written out", WRITTEN_OUT, "each layer", where=TOWER_ATTENTION),
                Evidence("vision", "scaled_dot_product_attention", r"op:aten::_?scaled_dot_product", "never", where=TOWER_ATTENTION),
                Evidence("generate", "attention written out", EAGER_FORWARD, "each layer", where=PREFILL_SEEN),
                Evidence("generate", "attention written out", EAGER_FORWARD, "each layer and token", where=STEPS_ONE_BY_ONE),
                Evidence("generate", "softmax", r"op:aten::_softmax$", "each layer", where=PREFILL_SEEN),
                Evidence("generate", "softmax", r"op:aten::_softmax$", "each layer and token", where=STEPS_ONE_BY_ONE),
                Evidence(
                    "generate", "attention written out in a compiled graph", r"kernel:triton_\w*softmax",
                    devices=GPU, where={"prefill": ("compile",)},
                ),
                Evidence("generate", "scaled_dot_product_attention", r"op:aten::_?scaled_dot_product", "never"),
            ),
            risk="the matrix of scores is held whole in memory; torch.compile may put the fused form in its place, which is NOT_ACTIVE",
        ),
        "sdpa": Choice(
            "torch.nn.functional.scaled_dot_product_attention, the default of transformers",
            "evbench.pipelines.compute.attention:sdpa",
            (
                Evidence("vision", "fused attention", FUSED, "each layer", where=TOWER_SEEN),
                Evidence("vision", "fused attention on the GPU", FUSED_KERNEL, "each layer", devices=GPU, where=TOWER_ATTENTION),
                Evidence("vision", "attention written out", WRITTEN_OUT, "never", where=TOWER_ATTENTION),
                Evidence("generate", "fused attention", FUSED, "each layer", where=PREFILL_SEEN),
                Evidence("generate", "fused attention", FUSED, "each layer and token", where=STEPS_SEEN, inside=STEPS_INSIDE),
                Evidence("generate", "fused attention on the GPU", FUSED_KERNEL, "each layer", devices=GPU),
                Evidence(
                    "generate", "fused attention on the GPU", FUSED_KERNEL, "each layer and token",
                    devices=GPU, where=STEPS_SEEN, inside=STEPS_INSIDE,
                ),
                # The rotary embedding uses bmm, and sampling uses softmax, whatever attention does.
                Evidence("generate", "attention written out", EAGER_FORWARD, "never"),
                Evidence("generate", "attention written out in a compiled graph", r"(op|kernel):triton_\w*softmax", "never"),
            ),
            risk="torch picks the kernel by shape and type; on a GPU it is not repeatable bit by bit (NOT_REPEATABLE)",
        ),
        "sdpa-flash": Choice(
            "torch's FlashAttention 2, as torch is built with it",
            "evbench.pipelines.compute.attention:sdpa_flash",
            flash(r"aten::_scaled_dot_product_flash_attention", r"pytorch_flash::"),
            needs=("NVIDIA GPU",),
            conflicts=(NO_MASK,),
            risk="sums in another order than where attention is written out",
        ),
        "flash2": Choice(
            "FlashAttention 2 of the package flash-attn",
            "evbench.pipelines.compute.attention:flash2",
            flash(r"evbench::flash2", r"(?<!pytorch_)flash::flash_fwd"),
            needs=("NVIDIA GPU", "flash-attn"),
            conflicts=(NO_MASK,),
            risk="sums in another order than where attention is written out; a package to keep in step with torch and CUDA",
        ),
        "flash3": Choice(
            "FlashAttention 3, for Hopper, of a package with the module flash_attn_interface",
            "evbench.pipelines.compute.attention:flash3",
            flash(r"evbench::flash3", r"FlashAttnFwdSm90"),
            needs=("NVIDIA GPU", "FlashAttention 3"),
            conflicts=(NO_MASK,),
            risk="sums in another order than where attention is written out; a package to keep in step with torch and CUDA",
        ),
        "flash4": Choice(
            "FlashAttention 4 of the package flash-attn-4",
            "evbench.pipelines.compute.attention:flash4",
            flash(r"evbench::flash4", r"flash_attn.*[Ss]m90"),
            needs=("NVIDIA GPU", "flash-attn-4"),
            conflicts=(NO_MASK,),
            risk="sums in another order than where attention is written out; a package to keep in step with torch and CUDA",
        ),
    },
)  # fmt: skip
