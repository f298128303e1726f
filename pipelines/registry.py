"""What there is to measure: the models, the kinds of input, and the parts of a pipeline with their choices.

The harness asks here, and nowhere else, what a model is. Nothing here imports torch or the code of a model: classes and functions stand
as "module:name".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from evbench.choices import Choice, Evidence, Part, PluginFile
from evbench.errors import UserError
from evbench.models import VIDEO_FRAMES, InputKind, Model, Preset, Unsupported
from evbench.pipelines.checkpoints.presets import text_config, vision_config
from evbench.pipelines.compute.choices import ATTENDED, ATTENTION, LAYER
from evbench.pipelines.generate.choices import CACHE, DRAFT, GENERATE, GREEDY, PARALLEL, PREFILL, QUANTIZATION
from evbench.pipelines.load.choices import DECODE, PREFETCH, RENDER
from evbench.pipelines.preprocess.choices import PREPROCESS, PROCESSOR
from evbench.pipelines.vision.choices import POOLING, VISION
from evbench.results import STAGES

PIPELINE = (DECODE, RENDER, PREPROCESS, ATTENTION, VISION, POOLING, GENERATE, PREFILL, DRAFT, QUANTIZATION, CACHE, PARALLEL, PREFETCH)
PARTS: dict[str, Part] = {part.name: part for part in PIPELINE}
"""In the order of the pipeline."""

KINDS: dict[str, InputKind] = {
    "video": InputKind(
        title="a video",
        option="--video",
        samples=("scene.mp4", "other-scene.mp4"),
        recognise="evbench.pipelines.load.samples:is_any",
        probe="evbench.pipelines.load.samples:probe_video",
        colours=True,
        policies=True,
        windowed=False,
    ),
    "event-images": InputKind(
        title="event images",
        option="--events",
        samples=("scene-events", "other-scene-events"),
        recognise="evbench.pipelines.load.samples:is_any",
        probe="evbench.pipelines.load.samples:probe_images",
        colours=False,
        policies=False,
        windowed=False,
    ),
    "events": InputKind(
        title="raw events",
        option="--events",
        samples=("scene-events", "other-scene-events"),
        recognise="evbench.pipelines.load.event_files:is_file_of_events",
        probe="evbench.pipelines.load.samples:probe_events",
        colours=False,
        policies=False,
        windowed=True,
    ),
}
"""Kinds of input (`evbench.results.Workload.kind`)."""

TEXT_7B = {"hidden": 4096, "layers": 32, "heads": 32, "intermediate": 11008}
VISION_7B = {"hidden": 1024, "layers": 24, "heads": 16, "intermediate": 4096}
# With transformers' initial spread of 0.02 such small models answer one token for ever, whatever they see; with this, tokens
# vary and follow the input.
TEXT_TINY = text_config(384, hidden=128, layers=4, heads=4, intermediate=352, spread=0.2)
VISION_TINY = {"hidden": 64, "layers": 4, "heads": 4, "intermediate": 256}

VIDEO_LLAVA_7B = Preset(text_config(32064, **TEXT_7B), vision_config(224, **VISION_7B), 7_366_279_168)
EVENTGPT_7B = Preset(text_config(32000, **TEXT_7B), vision_config(336, **VISION_7B), 7_079_684_096)

VIDEO_LLAVA = Model(
    title="Video-LLaVA",
    pipeline="evbench.pipelines.video_llava:VideoLlava",
    kinds=("video",),
    frames=VIDEO_FRAMES,
    parts=("decode", "preprocess", "attention", "vision", "generate", "prefill", "draft", "quantization", "cache", "parallel", "prefetch"),
    model_type="video_llava",
    trained={"small": "small-video-llava"},
    write_grown="evbench.pipelines.video_llava:write_grown",
    planned="evbench.pipelines.video_llava:planned",
    presets={
        "tiny": Preset(TEXT_TINY, vision_config(224, **VISION_TINY), 1_435_776),
        "7b": replace(VIDEO_LLAVA_7B, grown_from="small"),
        "7b-random": VIDEO_LLAVA_7B,
    },
    evidence={
        "vision": {
            "eager": (
                Evidence("vision", "call of transformers' encoder", r"function:transformers\.[\w.]+\.get_video_features$"),
                # Also of the layer that its features do not need.
                Evidence("vision", "layers that are not compiled", LAYER, "each layer, used or not"),
                Evidence("vision", "attention", ATTENDED, "each layer, used or not"),
            ),
        },
    },
    batches=True,
    traits=("vision tower", "unused tower layer", "class token"),
)

EVENTGPT = Model(
    title="EventGPT",
    pipeline="evbench.pipelines.eventgpt:EventGPT",
    kinds=("event-images", "events"),
    frames=None,
    parts=(
        "decode", "render", "preprocess", "attention", "vision", "pooling", "generate", "prefill", "draft", "quantization", "cache",
        "parallel", "prefetch",
    ),
    model_type="EventChat_llama",
    trained={"small": "small-eventgpt"},
    write_grown="evbench.pipelines.eventgpt:write_grown",
    planned="evbench.pipelines.eventgpt:planned",
    presets={
        "tiny": Preset(TEXT_TINY, vision_config(336, **VISION_TINY), 1_218_432),
        "7b": replace(EVENTGPT_7B, grown_from="small"),
        "7b-random": EVENTGPT_7B,
    },
    unsupported={
        "event_feature_adaptor": Unsupported(False, "network without the adaptor"),
        "mm_use_im_start_end": Unsupported(True, "prompt with tokens of its own around the events"),
        "mm_use_im_patch_token": Unsupported(True, "prompt with a token of its own for a patch"),
        "use_event_qformer": Unsupported(True, "Q-Former"),
    },
    evidence={
        "preprocess": {"processor": (Evidence("preprocess", "call of transformers' processor", PROCESSOR, "each frame"),)},
        "vision": {
            "eager": (
                Evidence("vision", "call for one image", r"function:evbench\.pipelines\.eventgpt\.EventGPTModel\.seen$", "each frame"),
                Evidence("vision", "layers that are not compiled", LAYER, "each layer and frame"),
                Evidence("vision", "attention", ATTENDED, "each layer and frame"),
            ),
        },
    },
    batches=True,
    traits=("vision tower",),
)  # fmt: skip

ENCODER = r"function:transformers\.[\w.]+\.get_(video|image)_features$"

ENCODED_ONCE = Evidence("generate", "call of transformers' encoder", ENCODER, "never")

SHOWN = ("internvl", "llava_next_video", "llava_onevision", "qwen2_5_vl", "qwen3_vl", "smolvlm", "video_llama_3")
"""model_type of those that tests run with --model auto, at small random size."""

AUTO_NAME = "auto"
"""Of the model that a checkpoint folder of transformers says itself."""
AUTO = Model(
    title="a video-language model of transformers",
    pipeline="evbench.pipelines.auto:Auto",
    kinds=("video",),
    frames=VIDEO_FRAMES,
    parts=("decode", "preprocess", "attention", "vision", "generate", "prefetch"),
    model_type=None,
    presets={},
    # What these do, transformers does for every model by one interface. The others know the layers of a tower or decoder.
    choices={
        "preprocess": ("processor", "processor-gpu"),
        "attention": ("eager", "sdpa"),
        "vision": ("eager", "compile-tower"),
        "generate": ("dynamic", "transformers-static", "static-generate"),
    },
    evidence={
        "vision": {
            "eager": (
                Evidence("vision", "call of transformers' encoder", ENCODER),
                Evidence("vision", "attention", ATTENDED, "each layer"),
                ENCODED_ONCE,
            ),
            "compile-tower": (Evidence("vision", "call of transformers' encoder", ENCODER), ENCODED_ONCE),
        },
    },
)

MODELS: dict[str, Model] = {"video-llava": VIDEO_LLAVA, "eventgpt": EVENTGPT, AUTO_NAME: AUTO}
OWN = "pipeline"
"""The part of a variant that is a pipeline of somebody else's. It is in PARTS while such a file is in use."""
OWN_MODEL = "own"
"""In the place of a model, in workloads of pipelines that stand in for no model of evbench. It is in no list of models."""
ANY = "any"
"""In the place of a model that a pipeline of somebody else's stands in for: each."""
MODEL_OF_ITS_OWN = Model(
    title="a pipeline of its own",
    pipeline="",
    kinds=("video",),
    frames=VIDEO_FRAMES,
    parts=(),
    model_type=None,
    presets={},
)
DEFAULT_MODEL = next(iter(MODELS))
SHIPPED: dict[str, Model] = {name: model for name, model in MODELS.items() if model.preset_names()}
"""Those that run without a checkpoint folder."""


def model_of(name: str) -> Model:
    """Raises UserError if there is no such model, as a result of another version may have it."""
    if name == OWN_MODEL:
        return MODEL_OF_ITS_OWN
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}; this evbench knows {', '.join(MODELS)}")
    return MODELS[name]


def parts_with_effect(model: str, kind: str) -> dict[str, Part]:
    """Name -> part, of those that such a model does with such input. For others a choice has no effect.

    Raises:
        UserError: there is no such model, as a result of another version may have it.
    """
    parts = model_of(model).parts
    return {name: part for name, part in PARTS.items() if name in parts and part.has_effect(kind)}


def has(model: str, part: str, choice: str) -> bool:
    """Whether a model has a choice of a part that it has. One of a plug-in, if it has the one that this changes."""
    return model_of(model).has(part, PARTS[part].entries[choice].over or choice)


def lossy(choices: Mapping[str, str], model: str) -> dict[str, str]:
    """Part -> choice, of those that change outputs of such a model by design. One of a plug-in does if the one that it changes does."""
    found = {}
    for part, choice in choices.items():
        entries = PARTS[part].entries if part in PARTS and part in model_of(model).parts else {}
        entry = entries.get(choice)
        if entry is not None and entries[entry.over or choice].loses_as:
            found[part] = choice
    return found


def loses_as(choices: Mapping[str, str], model: str) -> dict[str, str]:
    """Part -> hidden choice with which a reference loses the same as these choices. Empty if they lose nothing."""
    return {part: PARTS[part].entries[choice].loses_as for part, choice in built_in(lossy(choices, model)).items()}


def without_rounding(losing: Mapping[str, str]) -> dict[str, str]:
    """Of the hidden choices of a reference, by part, those that round no more than weights. Others round what is computed, as keys and
    values are."""
    return {part: choice for part, choice in losing.items() if PARTS[part].entries[choice].cache_value_bytes is None}


def layer_weight_bytes(choices: Mapping[str, str], model: str) -> float | None:
    """Of a weight in the language model's layers, if these choices quantize it. None if they do not."""
    entries = (PARTS[part].entries[choice] for part, choice in built_in(lossy(choices, model)).items())
    return min((entry.layer_weight_bytes for entry in entries if entry.layer_weight_bytes is not None), default=None)


def cache_value_bytes(choices: Mapping[str, str], model: str) -> float | None:
    """Of a number in the language model's KV cache, if these choices quantize it. None if they do not."""
    entries = (PARTS[part].entries[choice] for part, choice in built_in(lossy(choices, model)).items())
    return min((entry.cache_value_bytes for entry in entries if entry.cache_value_bytes is not None), default=None)


def tokens_per_pass(choices: Mapping[str, str]) -> int:
    """Of the language model, at most, with these choices, of which some may be known no more."""
    return max((PARTS[part].entries[choice].tokens_per_pass for part, choice in built_in(_known(choices)).items()), default=1)


def gpus(choices: Mapping[str, str]) -> int:
    """That a variant of these choices, of which some may be known no more, works on where it works on GPUs."""
    return max((PARTS[part].entries[choice].gpus for part, choice in built_in(_known(choices)).items()), default=1)


def _known(choices: Mapping[str, str]) -> dict[str, str]:
    return {part: choice for part, choice in choices.items() if part in PARTS and choice in PARTS[part].entries}


def built_in(choices: Mapping[str, str]) -> dict[str, str]:
    """Part -> choice, each one of a plug-in as the choice of evbench that it changes."""
    return {part: PARTS[part].entries[choice].over or choice for part, choice in choices.items()}


def plug_in(file: PluginFile, added: Mapping[str, Mapping[str, Choice]]) -> None:
    """Add the choices of a file to the parts, in the place of those that it had before.

    Args:
        added: part -> name -> choice.
    """
    PARTS.setdefault(OWN, Part(OWN, STAGES, {}))
    for name, part in PARTS.items():
        kept = {choice: entry for choice, entry in part.entries.items() if entry.plugin is None or entry.plugin.path != file.path}
        PARTS[name] = replace(part, entries={**kept, **added.get(name, {})})
    if not PARTS[OWN].entries:
        del PARTS[OWN]


def evidence_of(model: str, part: str, choice: str) -> tuple[Evidence, ...]:
    """What a run of the model shows if a choice was really used."""
    entry, of_model = PARTS[part].entries[choice], model_of(model).evidence.get(part, {})
    if entry.plugin is None:
        return (*entry.evidence, *of_model.get(choice, ()))
    # What the model asks of other stages holds whatever does this one.
    return (*entry.evidence, *(one for one in of_model.get(entry.over, ()) if one.stage not in PARTS[part].stages))


def all_evidence() -> tuple[Evidence, ...]:
    """Of every choice and model, and of greedy decoding."""
    of_choices = (one for part in PARTS.values() for choice in part.entries.values() for one in choice.evidence)
    of_models = (one for model in MODELS.values() for part in model.evidence.values() for found in part.values() for one in found)
    return (*GREEDY, *of_choices, *of_models)
