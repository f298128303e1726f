"""Faults to plant into an optimized variant, one at a time: each is a way to be fast and wrong, and evbench has to find it.

They are planted from outside, after a pipeline is built and before its first run: into its stages, the modules of transformers and their
weights (`evbench.stages.Pipeline`), and the decode loops. What they change for the whole process (the cache of transformers, a class) is
changed in a worker that ends with its mutant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from evbench.choices import Variant
from evbench.pipelines.compute.choices import UNDRAFTED
from evbench.pipelines.generate.choices import DRAFTED
from evbench.pipelines.registry import KINDS, MODELS, built_in, cache_value_bytes
from evbench.results import Workload
from evbench.worker import cache_faults, draft_faults, graph_faults, input_faults, model_faults, quantization_faults, watched_faults
from evbench.worker.planting import Plant


@dataclass(frozen=True)
class Mutant:
    """One fault; or, if it is harmless, another way to compute the same output, which must not be reported as one."""

    meaning: str
    stage: str
    """The first whose output changes; of a fault of time, the one whose work is left out."""
    plant: Plant
    kinds: tuple[str, ...] = ()
    """Of input that it can be planted for. Empty: all."""
    trait: str = ""
    """Of `evbench.models.Model.traits`: what a model must have for it. Empty: nothing."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Part -> choices of a variant that it can be planted into. Of a part that is not named, any: as a change of weights, or of what a
    stage returns, it is in whatever is made of them."""
    dtypes: tuple[str, ...] = ()
    """Of workloads in which it is larger than what rounding does. Empty: all."""
    dtypes_if_grown: tuple[str, ...] = ()
    """Where weights are grown, in place of `dtypes`: an error of each weight by itself is averaged over its copies."""
    dtypes_if_rounded: tuple[str, ...] = ()
    """Where keys and values are rounded to a coarse format, in place of `dtypes`."""
    samples: int = 1
    """How many are needed to see it."""
    harmless: bool = False
    of_time: bool = False
    """Whether outputs stay right, and only times are wrong: input that was seen before is not worked on again."""

    @property
    def timing(self) -> str:
        """Of a fault of time: what is measured of the work that it leaves out."""
        return "prefill" if self.stage == "generate" else self.stage

    def obstacle(self, variant: Variant, workload: Workload) -> str | None:
        """Why it is not planted into this variant, with such a model, input and type. None if it is."""
        model = MODELS[workload.model]
        if self.kinds and workload.kind not in self.kinds:
            return f"needs {' or '.join(KINDS[one].title for one in self.kinds)}"
        if self.trait and self.trait not in model.traits:
            return f"needs a model with {self.trait}"
        if self.dtypes and workload.dtype not in self.dtypes:
            return f"smaller than the rounding of {workload.dtype}"
        if self.dtypes_if_grown and workload.dtype not in self.dtypes_if_grown and model.grown_from(workload.preset) is not None:
            return f"smaller than the rounding of {workload.dtype} where weights are grown"
        rounded = cache_value_bytes(variant.choices(), workload.model) is not None
        if rounded and self.dtypes_if_rounded and workload.dtype not in self.dtypes_if_rounded:
            return f"smaller than what rounding to the format of the cache does in {workload.dtype}"
        counted = built_in(variant.choices())
        for part, choices in self.choices.items():
            if counted[part] not in choices:
                return f"needs {part}={' or '.join(choices)}"
        return None


LOOPS = {"generate": ("static", "static-compile")} | UNDRAFTED
"""The decode loop over the modules of transformers."""
ANY_LOOP = {"generate": ("static", "static-compile", "graph")} | UNDRAFTED
GRAPH = {"generate": ("graph",)} | UNDRAFTED
FULL = {"quantization": ("none",)}
"""Weights are in their own type, and a change of them is in whatever computes with them."""
QUANTIZED: dict[str, tuple[str, ...]] = {"quantization": ("int8", "fp8")}
MODULES: dict[str, tuple[str, ...]] = {"generate": ("dynamic", "transformers-static", "static-generate", "static", "static-compile")}
"""Whatever computes with the modules of transformers, and not with matrices that were made of theirs."""

MUTANTS: dict[str, Mutant] = {
    "frame + 1": Mutant("each frame is the one after the right one", "load", input_faults.next_frame, ("video",)),
    "frames reversed": Mutant("the last frame first", "load", input_faults.changed_frames(lambda frames: frames[::-1].copy())),
    "one frame repeated": Mutant("in the place of the one after it", "load", input_faults.changed_frames(input_faults.repeated)),
    "BGR": Mutant("red and blue exchanged", "load", input_faults.recoloured("red and blue exchanged")),
    # Its frames are no further apart than those of two decoders: it is the model's input that gives it away.
    "BT.601 for BT.709": Mutant("the other colour matrix", "preprocess", input_faults.recoloured("BT.601 taken for BT.709"), ("video",)),
    "full for limited range": Mutant(
        "16 - 235 stretched to 0 - 255 once too often", "load", input_faults.recoloured("full range taken for limited"), ("video",)
    ),
    "first event wins": Mutant(
        "of each pixel, for the last", "load", input_faults.reordered(lambda stream, part, number: np.lexsort((-number, part))), ("events",)
    ),
    "darker painted last": Mutant(
        "all events of a slice that are brighter, then all that are darker",
        "load",
        input_faults.reordered(lambda stream, part, number: np.lexsort((number, stream.p == 0, part))),
        ("events",),
    ),
    "polarity swapped": Mutant(
        "darker for brighter",
        "load",
        input_faults.changed_events(lambda stream: replace(stream, p=(stream.p == 0).astype(np.uint8))),
        ("events",),
    ),
    "wrong mean": Mutant("that of ImageNet", "preprocess", input_faults.normalised_otherwise((0.485, 0.456, 0.406), None)),
    "wrong std": Mutant("that of ImageNet", "preprocess", input_faults.normalised_otherwise(None, (0.229, 0.224, 0.225))),
    "bilinear": Mutant("without antialias, for bicubic", "preprocess", input_faults.bilinear),
    "last vision layer dropped": Mutant("of those that are used", "vision", model_faults.last_layer_dropped, trait="vision tower"),
    "feature layer -1": Mutant(
        "for -2",
        "vision",
        model_faults.next_layer_too,
        trait="unused tower layer",
        choices={"vision": ("batched", "compile", "graph", "fused")},
    ),
    "class token dropped": Mutant("of each frame", "vision", model_faults.class_token_dropped, trait="class token"),
    "tower's graph not fed": Mutant(
        "each replay is of the pixel values that it was captured with",
        "vision",
        graph_faults.input_not_copied,
        choices={"vision": ("graph", "fused")},
        samples=2,
    ),
    "causal mask off by one": Mutant(
        "each token of the prompt sees the next",
        "generate",
        model_faults.sees_the_next,
        choices=ANY_LOOP | {"prefill": ("eager",), "attention": ("eager", "sdpa")},
        dtypes_if_rounded=("float32",),
    ),
    "causal mask off by one, compiled": Mutant(
        "each token of the prompt sees the next",
        "generate",
        model_faults.compiled_sees_the_next,
        choices=GRAPH | {"prefill": ("compile",)},
        dtypes_if_rounded=("float32",),
    ),
    "rotary offset + 1": Mutant("in the steps after the prompt", "generate", model_faults.positions_shifted, choices=ANY_LOOP),
    "cache slot not written": Mutant("by the steps, in one layer", "generate", model_faults.slot_not_written, choices=ANY_LOOP),
    "cache slot before": Mutant("each step writes over the token before it", "generate", graph_faults.position_before, choices=GRAPH),
    "cache of the prompt lost": Mutant("in one layer, after the prompt", "generate", graph_faults.cache_lost, choices=GRAPH),
    "stale logits": Mutant("each step hands out those of the step before", "generate", graph_faults.stale_logits, choices=GRAPH),
    "one GPU's part left out": Mutant(
        "of one sum over several", "generate", graph_faults.part_left_out, choices={"parallel": ("tensor-2", "tensor-4", "tensor-8")}
    ),
    "every draft accepted": Mutant("without asking the model", "generate", draft_faults.every_draft_accepted, choices=DRAFTED),
    "first draft not verified": Mutant("those behind it are", "generate", draft_faults.first_draft_not_verified, choices=DRAFTED),
    "cache cut back too little": Mutant("by one draft that was not accepted", "generate", draft_faults.cut_back_one_less, choices=DRAFTED),
    "cache cut back too far": Mutant("by one draft that was accepted", "generate", draft_faults.cut_back_one_more, choices=DRAFTED),
    "one head scaled by 1.01": Mutant(
        "in a layer near the middle",
        "generate",
        model_faults.head_scaled(1.01),
        choices=FULL | {"cache": ("full",)},
        dtypes=("float32",),
    ),
    "one head left out": Mutant(
        "of a layer near the middle", "generate", model_faults.head_scaled(0.0), choices=FULL, dtypes_if_rounded=("float32",)
    ),
    "attention scale wrong": Mutant("of the whole width, in one layer", "generate", model_faults.scale_wrong, choices=FULL),
    "float8 called float": Mutant(
        "weights of the language model rounded to eight bits",
        "generate",
        model_faults.eight_bits,
        choices=FULL,
        dtypes_if_grown=("float32",),
        dtypes_if_rounded=("float32",),
    ),
    "scales of the next row": Mutant(
        "in one quantized matrix",
        "generate",
        quantization_faults.scales_of_the_next_row,
        choices=QUANTIZED,
        dtypes_if_rounded=("float32",),
    ),
    "quantized layer left out": Mutant("one near the middle", "generate", quantization_faults.layer_left_out, choices=QUANTIZED),
    "four bits called eight": Mutant("in all quantized matrices", "generate", quantization_faults.four_bits, choices=QUANTIZED),
    "layer not quantized": Mutant(
        "one near the middle keeps its weights, where all are said to be quantized",
        "generate",
        quantization_faults.layer_not_quantized,
        choices=QUANTIZED | MODULES,
        dtypes=("float32",),
    ),
    "cache without mantissa": Mutant(
        "keys and values of the prompt, where eight bits are said to be kept",
        "generate",
        quantization_faults.cache_without_mantissa,
        choices=GRAPH | {"cache": ("fp8",)},
    ),
    "one token less": Mutant("than asked for", "generate", model_faults.one_token_less),
    "sampled": Mutant("for greedy", "generate", model_faults.sampled, choices=LOOPS),
    "answers swapped": Mutant("of two samples", "generate", model_faults.answers_swapped, samples=2),
    "another path when forced": Mutant(
        "one MLP left out of greedy decoding, and none where tokens are forced", "generate", watched_faults.mlp_left_out_unless_forced
    ),
    "honest when profiled": Mutant(
        "one MLP left out, but not while a profiler or a hook is active", "generate", watched_faults.mlp_left_out_unless_profiled
    ),
    "honest when judged": Mutant(
        "one MLP left out of timed runs, and none where the harness looks", "generate", watched_faults.mlp_left_out_unless_judged
    ),
    "vision honest when judged": Mutant(
        "one layer left out of timed runs, and none where the harness looks", "vision", watched_faults.layer_left_out_unless_judged
    ),
    "frames honest when judged": Mutant(
        "the first frame for all in timed runs, and not where the harness looks",
        "load",
        watched_faults.frame_repeated_unless_judged,
        ("video",),
    ),
    "decoded frames kept": Mutant("for the file that they came from", "load", cache_faults.frames_kept, of_time=True),
    "features kept": Mutant("for the pixel values that they came from", "vision", cache_faults.features_kept, of_time=True),
    "prefix kept": Mutant("keys and values of a prompt that was seen", "generate", cache_faults.prefix_kept, choices=LOOPS, of_time=True),
    "prefix kept for a graph": Mutant(
        "keys and values of a prompt that was seen",
        "generate",
        cache_faults.captured_prefix_kept,
        choices=GRAPH | {"parallel": ("none",)},  # several GPUs begin together: none can leave its prefill out
        of_time=True,
    ),
    "math attention": Mutant(
        "scaled_dot_product_attention without its fused kernels",
        "vision",
        model_faults.math_attention,
        # A compiled graph from a cache has the kernels that it was compiled with.
        choices={"attention": ("sdpa",), "prefill": ("eager",)},
        harmless=True,
    ),
}
