"""Every choice is proven by a run that made it, and by no other."""

from __future__ import annotations

import ast
import doctest
import functools
import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import av
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CompileConfig, GenerationConfig

from evbench import results
from evbench.choices import STREAM, Count, Evidence, Variant
from evbench.inputs import sample
from evbench.pipelines import eventgpt, video_llava
from evbench.pipelines.build import build
from evbench.pipelines.generate import drafts, loops, quantized
from evbench.pipelines.generate.choices import GAMMA, GREEDY
from evbench.pipelines.generate.fixed_cache import FixedCache
from evbench.pipelines.load import event_images, png, prefetch, video
from evbench.pipelines.load.choices import DECODE, PREFETCH
from evbench.pipelines.preprocess import preprocessors
from evbench.pipelines.registry import KINDS, MODELS, PARTS, all_evidence, evidence_of, parts_with_effect
from evbench.pipelines.vision import encoders, pooling
from evbench.results import STAGES, Activation, InputKind, Side, Workload
from evbench.stages import run_stages
from evbench.traces import chrome
from evbench.variants.named import change, effective, parse
from evbench.worker import evidence
from evbench.worker.evidence import Observed, applies, gather, met, prove, trace_names, unmet
from evbench.worker.instruments import instruments
from tests import raw_events
from tests.checkpoints import LEAST, with_head
from tests.conftest import MakeClip
from tests.examples import CLIP, NOWHERE, kinds_with
from tests.scene_files import small_clip

NEW_TOKENS = 5
ROOT = Path(__file__).parent.parent
USING = instruments("cpu")
PLAIN = (
    "baseline",
    "baseline+decode=threaded+render=vectorised+preprocess=direct+attention=eager+vision=batched+pooling=first+generate=static+prefetch=on",
    "baseline+generate=static-generate",
    *(f"baseline+generate=static+draft={draft}" for draft in GAMMA),
    "baseline+quantization=int8",
    "baseline+generate=static+draft=lookup-4+quantization=fp8",
)
COMPILED = ("optimized", "static-cache+generate=dynamic+pooling=first", "baseline+vision=compile-tower")
needs_two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
GPU_ONLY = (
    ("video", "optimized-gpu"),
    ("video", "optimized-gpu+vision=graph"),
    ("events", "optimized-gpu"),
    pytest.param("video", "optimized-gpu+parallel=tensor-2", marks=needs_two_gpus),
)
slow = pytest.mark.slow
Logits = tuple[torch.Tensor, torch.Tensor]
"""And the token that is taken."""


MODEL_OF = {kind: model for model, known in reversed(MODELS.items()) for kind in known.kinds}


def workload(kind: str) -> Workload:
    shown = (CLIP, 8, "inclusive") if kind == "video" else (NOWHERE, 5, "all")
    window = raw_events.WINDOW if kind == "events" else None
    asked: Any = (
        MODEL_OF[kind],
        None,
        str(with_head(MODEL_OF[kind])),
        (shown[0],),
        shown[1],
        shown[2],
        "What is it?",
        NEW_TOKENS,
        False,
        "cpu",
        "float32",
        None,
        window,
    )
    return Workload(*asked, kind=cast(InputKind, kind))


def input_of(kind: str) -> Path:
    return {"video": small_clip(0), "event-images": sample.EVENTS}.get(kind) or raw_events.stored()


def observed(variant: str, kind: str, path: Path | None = None) -> Observed:
    path = path or input_of(kind)
    with pytest.MonkeyPatch.context() as patch:  # the target drafts for itself: no other has its vocabulary
        patch.setattr(drafts, "drafting_model", lambda model, drafted, asked: build(change(drafted, {"draft": "none"}), asked))
        pipeline = build(parse(variant), workload(kind))
    return gather(pipeline, parse(variant)["prefetch"], [path], NEW_TOKENS, USING)


once = functools.cache(observed)
"""For runs that nothing was changed in."""


def told_inactive(variant: Variant, kind: str, found: Observed) -> dict[str, str]:
    """Part -> what is told of it, for the parts that are not active."""
    return {proof.part: proof.evidence for proof in prove(variant, MODEL_OF[kind], kind, "cpu", found) if not proof.active}


def inactive(variant: str, kind: str, found: Observed) -> dict[str, str]:
    return told_inactive(parse(variant), kind, found)


def taken(variant: str, kind: str) -> bool:
    """Whether each of its choices is for such input."""
    return all(PARTS[part].entries[choice].takes(kind) for part, choice in effective(parse(variant), MODEL_OF[kind], kind).items())


RUNS = [
    *((variant, kind) for kind in KINDS for variant in PLAIN if taken(variant, kind)),
    # Compiled, all kinds are alike, and of a whole session of one tests/test_real_sessions.py asks the same.
    *(pytest.param(variant, kind, marks=pytest.mark.long) for kind in KINDS for variant in COMPILED),
]


@slow
@pytest.mark.parametrize(("variant", "kind"), RUNS)
def test_every_choice_of_a_real_run_is_proven(variant: str, kind: str) -> None:
    found = prove(parse(variant), MODEL_OF[kind], kind, "cpu", once(variant, kind))
    assert [(proof.part, proof.choice) for proof in found] == [
        *effective(parse(variant), MODEL_OF[kind], kind).items(),
        ("decoding", "greedy"),
    ]
    assert [proof.evidence for proof in found if not proof.active] == []
    assert all(re.search(r"(load|preprocess|vision|generate|stream): .*: \d+ x \w", proof.evidence) for proof in found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_variants_above_make_every_choice_there_is_without_a_gpu(kind: str) -> None:
    some = [variant for variant in (*PLAIN, *COMPILED) if taken(variant, kind)]
    made = {choice for variant in some for choice in effective(parse(variant), MODEL_OF[kind], kind).items()}
    assert made == {
        (part, name)
        for part, found in parts_with_effect(MODEL_OF[kind], kind).items()
        for name, choice in found.choices.items()
        if choice.takes(kind) and "NVIDIA GPU" not in choice.needs
    }


@slow
@pytest.mark.parametrize(("made", "kind"), RUNS)
def test_no_choice_is_proven_by_a_run_that_made_another(made: str, kind: str) -> None:
    """Every other choice named for the same run: not active, and what it ran as is told."""
    found = once(made, kind)
    for part, real in effective(parse(made), MODEL_OF[kind], kind).items():
        for name, choice in PARTS[part].choices.items():
            if name != real and choice.takes(kind):
                told = told_inactive(change(parse(made), {part: name}), kind, found)
                # A loop that verifies drafts is another one, too.
                assert told.keys() - ({"generate"} if part == "draft" else set()) == {part}, name
                assert told[part].endswith(f"; it ran as {part}={real} does"), name


@slow
def test_evidence_stays_small_and_counts_what_happened() -> None:
    found = once("baseline", "video")
    assert (found.frames, found.new_tokens) == (8, NEW_TOKENS)
    assert set(found.names) == {*STAGES, STREAM}
    assert found.samples == 3
    assert sum(len(names) for names in found.names.values()) < 40
    layers = LEAST["text"]["layers"]
    assert found.names["generate"]["op:aten::argmax"] == NEW_TOKENS
    assert found.names["generate"]["function:transformers.cache_utils.DynamicLayer.update"] == NEW_TOKENS * layers


@slow
@pytest.mark.parametrize("variant", ["baseline", "fast-pixels+generate=static"])
def test_proofs_are_the_same_each_time(variant: str, make_clip: MakeClip) -> None:
    """On a clip that decodes in some milliseconds: what is there so shortly must not be missed."""
    clip = make_clip(frames=8)
    pipeline = build(parse(variant), workload("video"))
    found = [prove(parse(variant), "video-llava", "video", "cpu", gather(pipeline, "off", [clip], 2, USING)) for _ in range(3)]
    assert all(proof.active for proof in found[0])
    assert found == found[:1] * 3


@slow
def test_what_watches_a_run_is_gone_after_it() -> None:
    before = sys.getprofile(), threading.getprofile(), av.open
    observed("baseline", "event-images")
    assert (sys.getprofile(), threading.getprofile(), av.open) == before
    with pytest.raises(ZeroDivisionError), evidence.Calls() as calls, calls.during("load"):
        _ = 1 / 0
    assert (sys.getprofile(), threading.getprofile(), av.open) == before


def test_code_whose_constants_have_no_hash_is_counted() -> None:
    """As torch.compile makes it where a graph ends."""

    def resumed() -> None: ...

    resumed.__code__ = resumed.__code__.replace(co_consts=(None, {}))
    with evidence.Calls() as calls, calls.during("vision"):
        resumed()
        resumed()
    assert [times for name, times in calls.names()["vision"].items() if name.endswith(".resumed")] == [2]


def plain_in_place_of_threaded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(video, "decode_threaded", video.decode_plain)
    patch.setattr(png, "read_threaded", png.read_plain)


def no_frame_threads(patch: pytest.MonkeyPatch) -> None:
    """FFmpeg is asked for threads and makes none."""
    really_open = av.open

    def alone(*arguments: Any, **named: Any) -> Any:
        container = really_open(*arguments, **named)
        container.streams.video[0].codec_context.thread_count = 1
        return container

    patch.setattr(av, "open", alone)


class Caller:
    """In place of a pool of threads: all is done at once, in the thread that asks."""

    def __init__(self, _: int) -> None: ...

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
        return map(function, items)


def images_in_the_main_thread(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(png, "ThreadPoolExecutor", Caller)


def processor_in_place_of_direct(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(preprocessors, "direct", preprocessors.processor)


def eager_in_place_of_sdpa(patch: pytest.MonkeyPatch) -> None:
    really_read, really_built = video_llava.from_folder, eventgpt.EventGPTModel
    patch.setattr(video_llava, "from_folder", lambda folder, implementation, *where: really_read(folder, "eager", *where))
    patch.setattr(eventgpt, "EventGPTModel", lambda vision, text, implementation: really_built(vision, text, "eager"))


def eager_vision_in_place_of_compile(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(encoders, "compiled", encoders.eager)


def used_layers_without_compile(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(encoders, "compiled", encoders.batched)


def all_images_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(encoders, "eager", encoders.batched)


def dynamic_in_place_of(choice: str) -> Callable[[pytest.MonkeyPatch], None]:
    def replaced(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(loops, choice.replace("-", "_"), loops.dynamic)

    return replaced


def growing_cache_in_the_loop(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FixedCache, "filled", lambda memory, grown, length: grown)


def loaded_on_demand(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(prefetch, "ON", prefetch.OFF)


def loaded_ahead(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(prefetch, "OFF", prefetch.ON)


@contextmanager
def in_a_thread_one_by_one(calls: Iterable[prefetch.Call]) -> Iterator[Iterator[prefetch.Sample]]:
    """In a thread of its own, and yet no sample before the one in front of it is answered."""
    with ThreadPoolExecutor(1) as pool:
        yield (each for call in calls for each in pool.submit(call).result())


def loaded_in_a_thread_on_demand(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(prefetch, "ON", replace(prefetch.ON, deliver=in_a_thread_one_by_one))


def rendered_as(choice: str, other: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(event_images, choice, getattr(event_images, other))


def pooled_as(choice: str, other: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(pooling, f"Pooling{choice.title()}", getattr(pooling, f"Pooling{other.title()}"))


def full_weights_in_place_of(choice: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(quantized, choice, quantized.none)


def all_but_one_matrix(patch: pytest.MonkeyPatch) -> None:
    right = quantized.matrices
    patch.setattr(quantized, "matrices", lambda decoder: list(right(decoder))[1:])


def quantized_in_silence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(quantized, "none", quantized.int8)


REPLACED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, str, str]] = {
    "threaded decoding by plain": (plain_in_place_of_threaded, "decode", "threaded", "load: no call of threaded decoding"),
    "direct preprocessing by the processor": (
        processor_in_place_of_direct,
        "preprocess",
        "direct",
        "preprocess: call of transformers' processor: ",
    ),
    "sdpa by eager": (eager_in_place_of_sdpa, "attention", "sdpa", "vision: no fused attention"),
    "rendering with NumPy by the loop": (
        rendered_as("vectorised", "loop"),
        "render",
        "vectorised",
        "load: no call of rendering with NumPy",
    ),
    "the loop by rendering with NumPy": (rendered_as("loop", "vectorised"), "render", "loop", "; it ran as render=vectorised does"),
    "pooling first by last": (pooled_as("first", "last"), "pooling", "first", "vision: no affine layer after the pooling"),
    "pooling last by first": (pooled_as("last", "first"), "pooling", "last", "; it ran as pooling=first does"),
    "vision compile by eager": (eager_vision_in_place_of_compile, "vision", "compile", "vision: no compiled graph"),
    "vision compile by the same, not compiled": (used_layers_without_compile, "vision", "compile", "vision: no compiled graph"),
    "vision eager by what compile would run": (all_images_at_once, "vision", "eager", "vision: "),
    "static by dynamic": (dynamic_in_place_of("static"), "generate", "static", "generate: no call of the loop"),
    "static-generate by dynamic": (
        dynamic_in_place_of("static-generate"),
        "generate",
        "static-generate",
        "generate: no writes to a cache of fixed size",
    ),
    "static-compile by dynamic": (dynamic_in_place_of("static-compile"), "generate", "static-compile", "generate: no compiled graph"),
    "prefetch on by off": (loaded_on_demand, "prefetch", "on", "stream: no load in the prefetching thread"),
    "prefetch on by a thread that waits": (
        loaded_in_a_thread_on_demand,
        "prefetch",
        "on",
        "stream: no load before the answer to the sample before",
    ),
    "prefetch off by on": (loaded_ahead, "prefetch", "off", "; it ran as prefetch=on does"),
    "int8 by full weights": (full_weights_in_place_of("int8"), "quantization", "int8", "generate: no products with weights in int8"),
    "int8 but for one matrix": (all_but_one_matrix, "quantization", "int8", "expected (each layer and token)"),
    "full weights by int8": (quantized_in_silence, "quantization", "none", "generate: products with quantized weights: "),
    "the fixed cache by a growing one": (growing_cache_in_the_loop, "generate", "static", "generate: no writes to a cache of fixed size"),
}
"""What is replaced in silence: how, the part, the choice that is named, and what has to be told."""


@slow
@pytest.mark.parametrize(("case", "kind"), [(case, kind) for case, told in REPLACED.items() for kind in kinds_with(told[1])])
def test_what_is_replaced_in_silence_is_found_out(case: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced, part, choice, expected = REPLACED[case]
    replaced(monkeypatch)
    variant = f"baseline+{part}={choice}"
    told = inactive(variant, kind, observed(variant, kind))
    assert list(told) == [part]
    assert expected in told[part]


@slow
def test_drafts_that_nobody_makes_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "prompt_lookup", drafts.none)
    variant = "baseline+generate=static+draft=lookup-4"
    told = inactive(variant, "video", observed(variant, "video"))
    assert "generate: no call of the loop that verifies drafts" in told["draft"]
    assert told["draft"].endswith("; it ran as draft=none does")


@slow
def test_a_decoder_without_threads_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    no_frame_threads(monkeypatch)
    told = inactive("fast-decode", "video", observed("fast-decode", "video"))
    assert list(told) == ["decode"]
    assert told["decode"].startswith("load: no frame threads of FFmpeg")


@slow
def test_images_read_one_after_the_other_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    images_in_the_main_thread(monkeypatch)
    told = inactive("fast-decode", "event-images", observed("fast-decode", "event-images"))
    assert list(told) == ["decode"]
    assert told["decode"].startswith("load: no images read in a pool's threads")


@slow
@pytest.mark.parametrize("kind", KINDS)
def test_sdpa_that_falls_back_on_attention_written_out_is_found_out(kind: str) -> None:
    with sdpa_kernel(SDPBackend.MATH):
        found = observed("baseline", kind)
    assert list(inactive("baseline", kind, found)) == ["attention"]


@slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["environment", "stance"])
def test_compiling_that_is_switched_off_is_found_out(way: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile then returns what it was given, without a word."""
    if way == "environment":
        monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    with torch.compiler.set_stance("force_eager" if way == "stance" else "default"):
        told = inactive("optimized", kind, observed("optimized", kind))
    assert list(told) == ["vision", "generate"]
    assert "vision: no compiled graph" in told["vision"]
    assert told["generate"].endswith("it ran as generate=static does")


@slow
def test_a_graph_that_is_traced_and_not_compiled_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    told = inactive("optimized", "event-images", observed("optimized", "event-images"))
    assert list(told) == ["vision", "generate"]
    assert all("no code of the compiler" in text for text in told.values())


@slow
@pytest.mark.long
@pytest.mark.parametrize("kind", ["video", "events"])
def test_the_compiler_puts_sdpa_in_place_of_attention_written_out(kind: str) -> None:
    """torch._inductor.fx_passes.fuse_attention: nobody asked for it, and the variant's name does not tell."""
    told = inactive("fast-vision+attention=eager", kind, observed("fast-vision+attention=eager", kind))
    assert list(told) == ["attention"]
    assert re.search(r"vision: scaled_dot_product_attention: \d x aten::_scaled_dot_product_flash", told["attention"])


def draw_from(logits: torch.Tensor) -> torch.Tensor:
    # logits: [1, 1, vocabulary]
    return torch.multinomial(logits[:, -1].softmax(dim=-1), 1)


def sampling_loop(loop: loops.StaticLoop, embeddings: torch.Tensor, positions: torch.Tensor, cache: Any) -> Logits:
    language = loop._language
    hidden = language.decoder(inputs_embeds=embeddings, position_ids=positions, past_key_values=cache, use_cache=True)
    logits = language.head(hidden.last_hidden_state[:, -1:])
    return logits, draw_from(logits)


def gumbel_loop(loop: loops.StaticLoop, embeddings: torch.Tensor, positions: torch.Tensor, cache: Any) -> Logits:
    """The prefill is greedy; the steps draw, and inside a compiled graph only random seeds are left of that."""
    language = loop._language
    hidden = language.decoder(inputs_embeds=embeddings, position_ids=positions, past_key_values=cache, use_cache=True)
    logits = language.head(hidden.last_hidden_state[:, -1:])
    noise = -torch.log(-torch.log(torch.rand_like(logits))) if embeddings.shape[1] == 1 else 0
    return logits, torch.as_tensor((logits + noise).argmax(dim=-1))


@slow
@pytest.mark.parametrize("kind", KINDS)
def test_sampling_by_transformers_is_found_out(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = GenerationConfig
    monkeypatch.setattr(loops, "GenerationConfig", lambda **options: greedy(**options | {"do_sample": True}))
    told = inactive("baseline", kind, observed("baseline", kind))
    assert list(told) == ["decoding"]
    assert "random numbers: " in told["decoding"]


@slow
@pytest.mark.parametrize("drawing", [sampling_loop, gumbel_loop])
@pytest.mark.parametrize("choice", ["static", pytest.param("static-compile", marks=pytest.mark.long)])
def test_sampling_in_the_loop_is_found_out(choice: str, drawing: Callable[..., Logits], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops.StaticLoop, "_next", drawing)
    torch.compiler.reset()  # a step compiled by an earlier test would be taken for this one: no guard looks at methods
    variant = f"baseline+generate={choice}"
    told = inactive(variant, "event-images", observed(variant, "event-images"))
    torch.compiler.reset()
    assert list(told) == ["decoding"]
    assert "random numbers: " in told["decoding"]


def without_attention(attention: Any) -> None:
    """The residual alone goes on; keys and values are cached as before."""

    def forward(hidden_states: torch.Tensor, past_key_values: Any = None, **_: Any) -> tuple[torch.Tensor, None]:
        if past_key_values is not None:
            projected = [linear(hidden_states).unflatten(-1, (-1, attention.head_dim)) for linear in (attention.k_proj, attention.v_proj)]
            past_key_values.update(*(one.transpose(1, 2) for one in projected), attention.layer_idx)
        return torch.zeros_like(hidden_states), None

    attention.forward = forward


@slow
@pytest.mark.parametrize("kind", ["video", "event-images"])
@pytest.mark.parametrize(
    ("where", "variant", "told"),
    [
        ("vision", "baseline", {"vision": r"attention: \d+ x .*, \d+ expected \(each layer"}),
        ("vision", "baseline+vision=batched", {"attention": r"vision: fused attention: \d+ x ", "vision": r"\(each layer\)"}),
        pytest.param(
            *("vision", "baseline+vision=compile", {"attention": r"vision: fused attention: \d x .*\(each layer\)"}), marks=pytest.mark.long
        ),
        ("generate", "baseline", {"attention": r"\(each layer and token\)"}),
        ("generate", "baseline+generate=static", {"attention": r"\(each layer and token\)"}),
    ],
)
def test_attention_that_one_layer_leaves_out_is_missed(where: str, variant: str, told: dict[str, str], kind: str) -> None:
    """Each layer that runs shows its sign: the number that is demanded has to be the model's."""
    torch.compiler.reset()
    pipeline = build(parse(variant), workload(kind))
    layers = pipeline.tower.encoder.layers[: pipeline.used_layers] if where == "vision" else pipeline.decoder.layers
    without_attention(layers[-1].self_attn)
    found = gather(pipeline, "off", [input_of(kind)], NEW_TOKENS, USING)
    missing = inactive(variant, kind, found)
    assert set(told) <= set(missing)
    assert all(re.search(pattern, missing[part]) for part, pattern in told.items()), missing


def test_a_sign_inside_a_graph_that_transformers_compiles_is_told_and_not_held_against_it() -> None:
    """As recorded on a GPU: the prefill shows its operations, and of the steps, which are replayed, nothing is seen."""
    asked = "baseline+attention=sdpa+generate=transformers-static"
    prefill = {"op:aten::_scaled_dot_product_flash_attention": 4, "kernel:void pytorch_flash::flash_fwd_kernel<...>": 4}
    tower = {name: 4 for name in prefill}
    found = Observed({"vision": tower, "generate": prefill}, 8, 72, layers=LAYERS)

    def attention(variant: str, seen: Observed) -> Activation:
        return next(proof for proof in prove(parse(variant), "video-llava", "video", "cuda", seen) if proof.part == "attention")

    proof = attention(asked, found)
    assert proof.active
    told = "4 x aten::_scaled_dot_product_flash_attention, 288 expected (each layer and token): the others are inside a compiled graph"
    assert told in proof.evidence
    assert not attention("baseline+generate=static", found).active, "its steps are called one by one"
    no_prefill = replace(found, names={"vision": tower, "generate": dict.fromkeys(prefill, 3)})
    assert not attention(asked, no_prefill).active, "each layer of the prefill has to show it"
    other = replace(found, names={"vision": tower, "generate": prefill | {"kernel:triton_per_fused__softmax_0": 71}})
    assert not attention(asked, other).active, "what speaks against it still does"
    shown = replace(found, names={"vision": tower, "generate": dict.fromkeys(prefill, 288)})
    assert "inside" not in attention(asked, shown).evidence, "looked for by its kernel, and found"


@pytest.mark.long
def test_steps_that_transformers_compiles_by_itself_are_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so on a GPU only, unless it is asked to."""
    usual = GenerationConfig

    def compiling(**options: Any) -> GenerationConfig:
        config = usual(**options, compile_config=CompileConfig(mode="default", fullgraph=False))
        config.compile_config._compile_all_devices = True
        return config

    monkeypatch.setattr(loops, "GenerationConfig", compiling)
    variant = "baseline+generate=transformers-static"
    found = observed(variant, "event-images")
    regions = [calls for name, calls in found.names["generate"].items() if name.startswith("op:Torch-Compiled Region")]
    assert regions == [NEW_TOKENS - 1], "one, whose number depends on what was compiled before"
    assert inactive(variant, "event-images", found) == {}


LAYERS = {"vision": 4, "tower": 4, "generate": 4}
FLASH3 = "kernel:void cutlass::device_kernel<flash::enable_sm90<flash::FlashAttnFwdSm90<...>>>"
OURS = [f"kernel:{name}_kernel" for name in ("tower_attention", "shifted_norm", "quick_gelu")]
OF_COMPILER = "kernel:triton_poi_fused_0"


@pytest.mark.parametrize(
    ("kernels", "told"),
    [
        (OURS, {}),
        ([OF_COMPILER, FLASH3], {"vision": "it ran as vision=graph does"}),
        ([*OURS, FLASH3], {"vision": "attention in another kernel"}),
        ([*OURS, OF_COMPILER], {"vision": "Triton kernels of the compiler"}),
        (OURS[:1], {"vision": "no norms in a kernel of evbench"}),
    ],
)
def test_the_kernels_of_the_tower_are_looked_for_in_the_place_of_the_variant_s(kernels: list[str], told: dict[str, str]) -> None:
    tower = ["function:evbench.pipelines.compute.cuda_graph.Replayed.__call__", "runtime:cudaGraphLaunch"]
    found = Observed({"vision": dict.fromkeys([*tower, *kernels], 4), "generate": {FLASH3: 4}}, 8, NEW_TOKENS, layers=LAYERS)
    activations = prove(parse("optimized-h100"), "video-llava", "video", "cuda", found)
    missing = {proof.part: proof.evidence for proof in activations if not proof.active and proof.part in ("attention", "vision")}
    assert list(missing) == list(told)
    assert all(re.search(told[part], text) for part, text in missing.items())
    changed = prove(parse("optimized-h100+vision=graph"), "video-llava", "video", "cuda", found)
    active = {proof.part: proof.active for proof in changed}
    assert (active["attention"], active["vision"]) == (FLASH3 in kernels, kernels == [OF_COMPILER, FLASH3])


SUMS = {"kernel:all_reduce_kernel": 2 * 4 * (NEW_TOKENS - 1), "kernel:shared_sum_kernel": 2 * 4}
"""Of one GPU, for four layers."""


@pytest.mark.parametrize(
    ("choice", "seen", "told"),
    [
        ("tensor-2", {name: 2 * count for name, count in SUMS.items()} | {"range:prefill over 2 GPUs": 1}, None),
        ("tensor-2", SUMS | {"range:prefill over 2 GPUs": 1}, "32 x all_reduce_kernel, 64 expected (each layer and step)"),
        (
            "tensor-2",
            {name: 4 * count for name, count in SUMS.items()} | {"range:prefill over 4 GPUs": 1},
            "it ran as parallel=tensor-4 does",
        ),
        ("tensor-2", {}, "generate: no sum of a step in one kernel (looked for kernel:all_reduce_kernel); it ran as parallel=none does"),
        ("none", {}, None),
        ("none", SUMS, "sum of a step over several GPUs: 32 x all_reduce_kernel, which this choice does not do"),
    ],
)
def test_all_gpus_have_to_sum_up_in_each_layer(choice: str, seen: dict[str, int], told: str | None) -> None:
    found = Observed({"generate": {"op:aten::argmax": 1} | seen}, 8, NEW_TOKENS, layers=LAYERS)
    activations = prove(parse(f"optimized-gpu+parallel={choice}"), "video-llava", "video", "cuda", found)
    (proof,) = (proof for proof in activations if proof.part == "parallel")
    assert proof.active == (told is None)
    assert told is None or told in proof.evidence


MAPS, PICTURES, PAINTED = "kernel:values_of_maps_kernel", "kernel:pixel_values_kernel", "kernel:paint_kernel"


@pytest.mark.parametrize(
    ("render", "kernels", "told"),
    [
        ("triton", [MAPS], None),
        ("triton", [PICTURES], "no kernel for last events"),
        ("triton", [MAPS, PAINTED], "kernel that paints event images for it"),
        ("vectorised", [PICTURES], None),
        ("vectorised", [MAPS], "its kernel"),
    ],
)
def test_of_raw_events_on_the_gpu_the_kernel_for_last_events_is_looked_for(render: str, kernels: list[str], told: str | None) -> None:
    call = "function:evbench.pipelines.preprocess.replayed.FusedImages.__call__"
    found = Observed({"load": {}, "preprocess": dict.fromkeys([call, *kernels], 1)}, 5, NEW_TOKENS, layers=LAYERS)
    activations = prove(parse(f"optimized-gpu+render={render}"), "eventgpt", "events", "cuda", found)
    (proof,) = (proof for proof in activations if proof.part == "preprocess")
    assert proof.active == (told is None)
    assert told is None or told in proof.evidence


def test_an_answer_that_ended_early_has_fewer_steps() -> None:
    expected = Evidence("generate", "a step", "op:step$", "each step")
    found = Observed({"generate": {"op:step": 3}}, 1, 4, layers=LAYERS)
    assert unmet(expected, found) is None
    assert met(expected, found) == "generate: a step: 3 x step"
    templates = Observed({"generate": {f"op:{'a' * 500}step": 3}}, 1, 4, layers=LAYERS)
    assert met(replace(expected, names="op:a+step$"), templates) == f"generate: a step: 3 x {'a' * 120}..."
    assert unmet(expected, replace(found, new_tokens=5)) == "generate: a step: 3 x step, 4 expected (each step)"


@pytest.mark.parametrize(
    ("stage", "count", "least"),
    [
        ("vision", "each layer", 3),
        ("vision", "each layer, used or not", 4),
        ("vision", "each layer and frame", 3 * 5),
        ("generate", "each layer", 2),
        ("generate", "each layer and step", 2 * 6),
        ("generate", "each layer and token", 2 * 7),
    ],
)
def test_every_layer_of_the_model_counts_and_not_those_that_were_seen(stage: str, count: Count, least: int) -> None:
    expected = Evidence(stage, "attention", "op:attention$", count)

    def seen(times: int) -> Observed:
        return Observed({stage: {"op:attention": times}}, 5, 7, layers={"vision": 3, "tower": 4, "generate": 2})

    assert unmet(expected, seen(least)) is None
    assert unmet(expected, seen(least - 1)) == f"{stage}: attention: {least - 1} x attention, {least} expected ({count})"


def test_a_run_that_left_nothing_proves_nothing() -> None:
    for kind in KINDS:
        for device in ("cpu", "cuda"):
            for variant in (*PLAIN, *COMPILED):
                assert not any(
                    proof.active for proof in prove(parse(variant), MODEL_OF[kind], kind, device, Observed({}, 0, 0, layers=LAYERS))
                )


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(evidence).failed == 0


MANY = "evbench.pipelines.clips.Clips._load_many"
TOGETHER = "evbench.pipelines.load.dali.DaliDecoder._run_together"
ONE = "evbench.pipelines.video_llava.VideoLlava.load"


@pytest.mark.parametrize(
    ("seen", "fed"),
    [
        ([f"pool:{MANY}", f"pool:{TOGETHER}", f"pool:{MANY}", f"early:{MANY}"], "batched"),
        ([f"pool:{MANY}", f"pool:{TOGETHER}", f"pool:{MANY}"], None),
        ([f"pool:{MANY}", f"pool:{MANY}", f"early:{MANY}"], None),
        ([f"function:{MANY}", f"function:{TOGETHER}", f"early:{MANY}"], None),
        ([f"pool:{ONE}"] * 10 + [f"early:{ONE}"] * 9, "on"),
        ([f"pool:{ONE}"] * 9 + [f"early:{ONE}"] * 9, None),
        ([f"pool:{ONE}"] * 10, None),
        ([f"pool:{ONE}"] * 10 + [f"pool:{MANY}", f"early:{ONE}"], None),
        ([f"function:{ONE}"] * 10, "off"),
        ([f"function:{ONE}"] * 10 + [f"early:{ONE}"], None),
        ([f"function:{ONE}"] * 9 + [f"pool:{ONE}"], None),
    ],
)
def test_prefetching_is_known_by_the_threads_and_the_order_of_its_loads(seen: list[str], fed: str | None) -> None:
    found = Observed({STREAM: Counter(seen)}, 8, 2, 10, layers=LAYERS)
    active = []
    for name in PREFETCH.choices:
        told = told_inactive(change(parse("baseline"), {"prefetch": name}), "video", found)
        active += [] if "prefetch" in told else [name]
    assert active == ([] if fed is None else [fed])


def test_names_of_a_trace_belong_to_the_stage_that_they_start_in() -> None:
    def event(category: str, name: str, start: float) -> dict[str, Any]:
        return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": 5}

    found = trace_names(
        [
            event("user_annotation", "load", 9),  # of another tool
            event("user_annotation", "evbench/vision", 10),
            event("user_annotation", "evbench/generate", 20),
            event("cpu_op", "aten::mm", 9),
            event("cpu_op", "aten::mm", 10),
            event("kernel", "flash_fwd_kernel", 14),
            event("kernel", "flash_fwd_kernel", 24),
            event("cuda_runtime", "cudaGraphLaunch", 21),
            event("cuda_runtime", "cudaGraphLaunch", 22),
            event("gpu_memcpy", "Memcpy", 22),
            {"ph": "f", "cat": "ac2g", "id": 1, "ts": 22},
        ]
    )
    assert found == {
        "vision": {"op:aten::mm": 1, "kernel:flash_fwd_kernel": 1},
        "generate": {"kernel:flash_fwd_kernel": 1, "runtime:cudaGraphLaunch": 2},
    }


RECORDED = [
    pytest.param(name, side, id=f"{name}-{side}") for name in ("video-llava-7b", "eventgpt-7b") for side in ("baseline", "optimized")
]


def names_in_a_recorded_trace(name: str, side: Side) -> evidence.Names:
    """Of a trace in profiles/, or of one that is no longer kept there: its names stand in tests/recorded/."""
    if (trace := ROOT / "profiles" / "h200" / name / f"trace-{side}.json.gz").exists():
        return trace_names(chrome.read(trace).events)
    names: dict[str, dict[str, int]] = json.loads((ROOT / "tests" / "recorded" / f"{name}-{side}.json").read_text())
    return {stage: Counter(counts) for stage, counts in names.items()}


def layers_at_full_size(model: str) -> dict[str, int]:
    size = MODELS[model].presets["7b"]
    tower = size.vision["num_hidden_layers"]
    used = tower - 1 if model == "video-llava" else tower  # its features are of the last layer but one
    return {"vision": used, "tower": tower, "generate": size.text["num_hidden_layers"]}


@pytest.mark.parametrize(("name", "side"), RECORDED)
def test_traces_recorded_on_a_gpu_show_the_evidence_of_their_choices(name: str, side: Side) -> None:
    """Operations and kernels only: a trace holds no Python functions."""
    folder = ROOT / "profiles" / "h200" / name
    result = json.loads((folder / "result.json").read_text())[side]
    workload = results.read(folder).variants()[side].workload
    model, kind = workload.model, workload.kind
    recorded = {part: choice for part, choice in result["choices"].items() if part in PARTS}
    layers = layers_at_full_size(model)
    choices = {name: next(iter(part.choices)) for name, part in PARTS.items()} | recorded
    found = Observed(names_in_a_recorded_trace(name, side), result["workload"]["frames"], result["trace"]["new_tokens"], layers=layers)

    def in_a_trace(expected: tuple[Evidence, ...]) -> list[Evidence]:
        return [one for one in expected if re.match(r"\(?(op|kernel|runtime)", one.names) and applies(one, choices, kind, "cuda")]

    at_work = {part: choice for part, choice in recorded.items() if part in parts_with_effect(model, kind)}
    expected = [one for part, choice in at_work.items() for one in in_a_trace(evidence_of(model, part, choice))]
    assert [text for one in [*expected, *in_a_trace(GREEDY)] if (text := unmet(one, found)) is not None] == []
    assert any(met(one, found) for one in expected)
    for part in ("attention", "vision"):
        # That images are batched without a compiler, only Python functions tell; and sdpa may take the kernel of sdpa-flash.
        for other in set(PARTS[part].choices) - {recorded[part], "batched"} - ({"sdpa"} if recorded[part] == "sdpa-flash" else set()):
            assert any(unmet(one, found) for one in in_a_trace(evidence_of(model, part, other))), other


def test_the_functions_of_dali_are_called_as_its_evidence_says() -> None:
    from nvidia.dali.pipeline import Pipeline

    from evbench.pipelines.load.dali import DaliDecoder

    for function in (DaliDecoder.__call__, Pipeline.run):
        name = f"function:{function.__module__}.{function.__code__.co_qualname}"
        assert any(re.match(one.names, name) for one in DECODE.choices["dali"].evidence), name
    for called, name in ((video_llava.VideoLlava._load_many, MANY), (DaliDecoder._run_together, TOGETHER)):
        assert f"{called.__module__}.{called.__code__.co_qualname}" == name


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kind", "variant"), [*((kind, variant) for kind in KINDS for variant in (*PLAIN, *COMPILED) if taken(variant, kind)), *GPU_ONLY]
)
def test_every_choice_of_a_real_run_on_a_gpu_is_proven(kind: str, variant: str) -> None:
    asked = replace(workload(kind), device="cuda", dtype="bfloat16")
    path = input_of(kind)
    found = gather(build(parse(variant), asked), parse(variant)["prefetch"], [path], NEW_TOKENS, instruments("cuda"))
    assert [proof.evidence for proof in prove(parse(variant), MODEL_OF[kind], kind, "cuda", found) if not proof.active] == []


def test_the_stages_and_kinds_of_evidence_exist() -> None:
    assert {one.stage for one in all_evidence()} <= {*STAGES, STREAM}
    assert {kind for one in all_evidence() for kind in one.kinds} <= set(KINDS)
    for model, known in MODELS.items():
        assert all(evidence_of(model, name, choice) for name in known.parts for choice in PARTS[name].choices)
        assert all(choice in PARTS[name].choices for name, found in known.evidence.items() for choice in found)


def alternatives(pattern: str) -> list[str]:
    """The pattern without its groups of alternatives, once for each of them."""
    found = re.search(r"\(([^()]*\|[^()]*)\)", pattern)
    if found is None:
        return [pattern]
    return [one for option in found[1].split("|") for one in alternatives(pattern[: found.start()] + option + pattern[found.end() :])]


def functions_of_pipelines() -> set[str]:
    """Module and qualified name of every function, method and lambda, without importing them."""
    found: set[str] = set()

    def look(node: ast.AST, place: str, inside_function: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                name = f"{place}{'.<locals>' if inside_function else ''}.{getattr(child, 'name', '<lambda>')}"
                if not isinstance(child, ast.ClassDef):
                    found.add(name)
                look(child, name, not isinstance(child, ast.ClassDef))
            else:
                look(child, place, inside_function)

    for path in (ROOT / "pipelines").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        look(ast.parse(path.read_text(encoding="utf-8")), f"evbench.{module}", False)
    return found


def test_every_function_of_evbench_that_evidence_names_is_there() -> None:
    """A rename would silently break it: what is expected never to be called would be looked for in vain."""
    functions = functions_of_pipelines()
    named = {one for evidence in all_evidence() for one in alternatives(evidence.names)}
    checked = [one for one in named if re.match(r"(function|pool|early):evbench", one)]
    assert len(checked) > 30
    for one in checked:
        source, _, pattern = one.partition(":")
        assert any(re.match(pattern, name) for name in functions), f"{source}: nothing is called {pattern}"


@slow
def test_the_run_under_observation_says_the_same() -> None:
    pipeline = build(parse("baseline"), workload("event-images"))
    before, _ = run_stages(pipeline, sample.EVENTS, NEW_TOKENS)
    gather(pipeline, "on", [sample.EVENTS], NEW_TOKENS, USING)
    after, _ = run_stages(pipeline, sample.EVENTS, NEW_TOKENS)
    assert after == before
