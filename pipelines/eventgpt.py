"""EventGPT: the event images of an event camera and a question in, an answer out.

The network and its checkpoint layout are those of XduSyL/EventGPT:model/EventChatModel.py (CVPR 2025), as a module of our own:
CLIP tower, projector, adaptor, pooling over time and space, LLaMA.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from evbench.errors import UserError
from evbench.pipelines import attention, checkpoint, presets
from evbench.pipelines.capture import Replayed
from evbench.pipelines.clip import FusedClip
from evbench.pipelines.dali_pixels import DaliValues
from evbench.pipelines.event_images import EventImages
from evbench.pipelines.events import Reader, read_plain, read_threaded
from evbench.pipelines.folder import read_config
from evbench.pipelines.generate import GENERATORS
from evbench.pipelines.language import LanguageModel
from evbench.pipelines.pixels import FusedValues, PixelValues, Recipe, exact_values, pixel_values, quantum
from evbench.results import Work, Workload
from evbench.stages import Answer, Mark
from evbench.variants import Variant

PROMPT = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
    "answers to the human's questions. USER: <ev_start><event><ev_end>\n{prompt} ASSISTANT:"
)
"""XduSyL/EventGPT:dataset/conversation.py. `<event>` is replaced by features; its neighbours are plain text to the tokenizer."""
CONTEXT = 2048
"""The released code cuts longer prompts there, and with them the question's end; here they are refused."""
RELEASED_TOWER = "clip-vit-large-patch14-336"
NOT_LLAMA = ("model_type", "architectures", "torch_dtype", "dtype", "transformers_version")
"""Fields of the released config.json that are not LlamaConfig's."""
IGNORED_KEYS = ("rotary_emb.inv_freq", "embeddings.position_ids")
"""Constants that older transformers versions stored."""


class EventGPTModel(nn.Module):
    """The whole network."""

    def __init__(self, vision: CLIPVisionConfig, text: LlamaConfig, implementation: str) -> None:
        super().__init__()
        hidden = text.hidden_size
        self.visual_tower = CLIPVisionModel._from_config(vision, attn_implementation=implementation)
        self.visual_projector = nn.Sequential(nn.Linear(vision.hidden_size, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.feature_adaptor = nn.Linear(hidden, hidden)
        self.language = LlamaForCausalLM._from_config(text, attn_implementation=implementation)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """[images, 3, height, width] -> [images, tokens, hidden]: last layer, class token kept, no final norm."""
        return self.projected(self.visual_tower(pixel_values=pixels).last_hidden_state)

    def projected(self, hidden: torch.Tensor) -> torch.Tensor:
        """[images, tokens, hidden of the tower] -> [images, tokens, hidden]."""
        return torch.as_tensor(self.feature_adaptor(self.visual_projector(hidden)))


def pool(features: torch.Tensor) -> torch.Tensor:
    """Temporal tokens, one per image, then spatial tokens, one per patch: [images, tokens, hidden] -> [1, images + tokens, hidden]."""
    temporal = features.mean(dim=1)
    spatial = features.mean(dim=0)
    return torch.cat([temporal, spatial])[None]


def as_published(model: EventGPTModel) -> Callable[[torch.Tensor], torch.Tensor]:
    """The images one by one through tower, projector and adaptor, as the released code does it."""

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        return pool(torch.cat([model.features(image[None]) for image in pixels]))

    return encode


def batched(model: EventGPTModel) -> Callable[[torch.Tensor], torch.Tensor]:
    """All images at once: no image sees another before the pooling."""
    return lambda pixels: pool(model.features(pixels))


def replayed(model: EventGPTModel, choice: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same with fused projections and compiled layers, as a CUDA graph. `choice` is one of attention."""
    layers = len(model.visual_tower.encoder.layers)
    tower = FusedClip(model.visual_tower, layers, attention.ATTEND[choice], compiled=True)
    return Replayed(lambda pixels: pool(model.projected(tower(pixels))))


ENCODERS: dict[str, Callable[[EventGPTModel, Variant], Callable[[torch.Tensor], torch.Tensor]]] = {
    "eager": lambda model, _: as_published(model),
    "batched": lambda model, _: batched(model),
    "compile": lambda model, _: torch.compile(batched(model), fullgraph=True, dynamic=False),
    "graph": lambda model, variant: replayed(model, variant.attention),
}
READERS: dict[str, Reader] = {"plain": read_plain, "threaded": read_threaded}


@dataclass(frozen=True)
class Inputs:
    """Pixel values and the question's two halves."""

    pixels: torch.Tensor
    """[images, 3, 336, 336] in the model's dtype, on its device."""
    before: torch.Tensor
    """[1, tokens] in front of the event features, beginning of text first."""
    after: torch.Tensor
    """[1, tokens] behind them."""

    def values(self) -> torch.Tensor:
        return self.pixels

    def holding(self, values: torch.Tensor) -> Inputs:
        return dataclasses.replace(self, pixels=values)

    def prompt(self) -> tuple[int, ...]:
        return tuple(torch.cat([self.before, self.after], dim=1)[0].tolist())


@dataclass(frozen=True)
class Features:
    """What the language model is given."""

    visual: torch.Tensor
    """[1, images + 577, hidden]."""
    before: torch.Tensor
    after: torch.Tensor

    def values(self) -> torch.Tensor:
        return self.visual[0]

    def holding(self, values: torch.Tensor) -> Features:
        return dataclasses.replace(self, visual=values[None])


class EventGPT:
    """The four stages of EventGPT, each done as the variant chose."""

    def __init__(self, variant: Variant, workload: Workload, dtype: str | None = None) -> None:
        """`dtype` to compute in another type than the workload's, with the same weights."""
        self.model, self._processor, self._tokenizer = _make(variant, workload)
        self.parameters = checkpoint.parameter_count(self.model)
        self.weights_fingerprint = checkpoint.fingerprint(self.model)
        if dtype is not None:
            self.model.to(getattr(torch, dtype))
            workload = dataclasses.replace(workload, dtype=dtype)
        self._workload = workload
        self.image_processor = self._processor
        self.quantum = quantum(self.image_processor)
        self.tower = self.model.visual_tower
        self.used_layers = len(self.tower.encoder.layers)
        self.decoder = self.model.language.model
        self._read = READERS[variant.decode]
        self.load_many: Callable[[Sequence[Path]], list[tuple[EventImages, Work]]] | None = None  # each image is a file of its own
        self._pixels = PREPROCESSORS[variant.preprocess](self._processor, workload)
        heads = checkpoint.heads(self.tower.config, self.model.language.config)
        attention.require(variant.attention, heads, workload.device, getattr(torch, workload.dtype))
        self._encode = ENCODERS[variant.vision](self.model, variant)
        llama, end_token = self.model.language, self._tokenizer.eos_token_id
        self._language = LanguageModel(llama, llama.model, llama.lm_head, end_token, workload.stop_at_end)
        self._generate = GENERATORS[variant.generate](self._language, variant)

    def load(self, path: Path, /) -> tuple[EventImages, Work]:
        images = self._read(path)
        height, width = images.pixels[0].shape[:2]
        indices = tuple(range(len(images.pixels)))
        return images, Work(frame_indices=indices, frame_height=height, frame_width=width, decoder=images.decoder)

    @torch.inference_mode()
    def preprocess(self, loaded: EventImages, /) -> tuple[Inputs, Work]:
        before, after = self._halves()
        pixels = self._pixels(loaded)
        visual = len(pixels) + checkpoint.tokens_per_image(self.model.visual_tower.config)
        prompt = before.shape[1] + visual + after.shape[1]
        if prompt > CONTEXT:
            raise UserError(f"the prompt has {prompt} tokens and EventGPT takes {CONTEXT}; give a shorter --prompt")
        self._language.require_room(prompt, self._workload.new_tokens)
        return Inputs(pixels, before, after), Work(pixel_shape=tuple(pixels.shape))

    @torch.inference_mode()
    def vision(self, inputs: Inputs, /) -> tuple[Features, Work]:
        visual = self._encode(inputs.pixels)
        work = Work(visual_tokens=visual.shape[1], dtype=checkpoint.dtype_name(visual.dtype), attention=self._attention())
        return Features(visual, inputs.before, inputs.after), work

    @torch.inference_mode()
    def generate(self, features: Features, new_tokens: int, mark: Mark, /) -> tuple[Answer, Work]:
        embeddings = self._fuse(features)
        tokens = self._generate(embeddings, new_tokens, mark)
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        stop = self._language.stop_reason(tokens)
        return Answer(tuple(tokens), text), Work(prompt_tokens=embeddings.shape[1], new_tokens=len(tokens), stop=stop)

    @torch.inference_mode()
    def force(self, features: Features, tokens: Sequence[int], /) -> torch.Tensor:
        return self._generate.force(self._fuse(features), tokens)

    def _fuse(self, features: Features) -> torch.Tensor:
        """The question with the event features in its middle: [1, prompt, hidden]."""
        embed = self.model.language.get_input_embeddings()
        return torch.cat([embed(features.before), features.visual, embed(features.after)], dim=1)

    def _halves(self) -> tuple[torch.Tensor, torch.Tensor]:
        before, after = prompt_halves(self._tokenizer, self._workload.prompt)
        device = self._workload.device
        return torch.tensor([before], device=device), torch.tensor([after], device=device)

    def _attention(self) -> str:
        return checkpoint.attention_name(self.model.visual_tower.config, self.model.language.config)


def prompt_halves(tokenizer: Any, prompt: str) -> tuple[list[int], list[int]]:
    """The tokens in front of the event features, beginning of text first, and those behind them."""
    first, second = PROMPT.format(prompt=prompt).split("<event>")
    return tokenizer(first)["input_ids"], tokenizer(second, add_special_tokens=False)["input_ids"]


def as_processor(processor: Any, workload: Workload) -> Callable[[EventImages], torch.Tensor]:
    """Each image through the Hugging Face processor, as the released code does it."""
    dtype = getattr(torch, workload.dtype)

    def preprocess(images: EventImages) -> torch.Tensor:
        made = [processor(image, return_tensors="pt")["pixel_values"][0] for image in images.pixels]
        return torch.stack(made).to(workload.device, dtype)

    return preprocess


def direct(processor: Any, workload: Workload) -> Callable[[EventImages], torch.Tensor]:
    """All images at once."""
    return _with(pixel_values, processor, workload)


def exact(processor: Any, workload: Workload) -> Callable[[EventImages], torch.Tensor]:
    """The same without rounding: for the reference."""
    return _with(exact_values, processor, workload)


def fused(processor: Any, workload: Workload) -> Callable[[EventImages], torch.Tensor]:
    """All images in one kernel."""
    values = FusedValues(Recipe.of(processor), workload.device, getattr(torch, workload.dtype))
    return lambda images: values(_stacked(images))


def by_dali(processor: Any, workload: Workload) -> Callable[[EventImages], torch.Tensor]:
    """All images in an NVIDIA DALI pipeline."""
    values = DaliValues(Recipe.of(processor), workload.device, getattr(torch, workload.dtype))
    return lambda images: values(_stacked(images))


def _stacked(images: EventImages) -> torch.Tensor:
    """[images, height, width, 3] uint8."""
    return torch.stack([torch.from_numpy(image) for image in images.pixels])


def _with(values: PixelValues, processor: Any, workload: Workload) -> Callable[[EventImages], torch.Tensor]:
    recipe = Recipe.of(processor)
    dtype = getattr(torch, workload.dtype)

    return lambda images: values(_stacked(images), recipe, workload.device, dtype)


PREPROCESSORS: dict[str, Callable[[Any, Workload], Callable[[EventImages], torch.Tensor]]] = {
    "processor": as_processor,
    "direct": direct,
    "dali": by_dali,
    "triton": fused,
    "exact": exact,
}


def _make(variant: Variant, workload: Workload) -> tuple[EventGPTModel, Any, Any]:
    dtype = getattr(torch, workload.dtype)
    folder = presets.checkpoint_folder(workload)
    if folder is not None:
        return _from_folder(folder, attention.implementation(variant.attention), workload, dtype)
    preset = presets.PRESETS["eventgpt"][str(workload.preset)]
    vision, text = CLIPVisionConfig(**preset["vision"]), LlamaConfig(**preset["text"])
    with checkpoint.seeded(workload.seed or 0, workload.device, dtype):
        model = EventGPTModel(vision, text, attention.implementation(variant.attention))
    return model.eval(), image_processor(vision.image_size), presets.byte_tokenizer(text.vocab_size, {})


def image_processor(size: int) -> Any:
    return CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def _from_folder(folder: Path, implementation: str, workload: Workload, dtype: torch.dtype) -> tuple[EventGPTModel, Any, Any]:
    config = read_config(folder, "eventgpt")
    with checkpoint.loading(folder):
        tower = _tower_folder(folder, config)
        vision = _tower_config(folder, tower, config)
        text = LlamaConfig(**{name: value for name, value in config.items() if name not in NOT_LLAMA})
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with checkpoint.seeded(0, workload.device, dtype):
            model = EventGPTModel(vision, text, implementation)
    load_weights(model, folder, tower)
    return model.eval(), image_processor(vision.image_size), tokenizer


def _tower_folder(folder: Path, config: dict[str, Any]) -> Path | None:
    """The local folder that `mm_visual_tower` names, beside or inside the checkpoint; None if there is none."""
    name = str(config.get("mm_visual_tower", ""))
    places = (folder / name, folder.resolve().parent / Path(name).name, Path(name))
    return next((place for place in places if name and (place / "config.json").is_file()), None)


def _tower_config(folder: Path, tower: Path | None, config: dict[str, Any]) -> CLIPVisionConfig:
    if tower is not None:
        return CLIPVisionConfig.from_pretrained(tower, local_files_only=True)
    name = config.get("mm_visual_tower")
    if Path(str(name)).name == RELEASED_TOWER:
        return CLIPVisionConfig(**presets.PRESETS["eventgpt"]["7b"]["vision"])
    raise UserError(
        f"--weights {folder}: config.json names the vision tower {name!r}, which is no local folder; put it beside the checkpoint"
    )


def load_weights(model: EventGPTModel, folder: Path, tower: Path | None) -> None:
    """Read the released layout into `model`. The tower's weights are in the checkpoint, or in the folder `tower`.

    Raises:
        UserError: a weight is missing, unknown, or of another shape.
    """
    own = dict(model.named_parameters())
    missing = set(own)
    unknown: list[str] = []
    mismatched: list[tuple[str, Any, Any]] = []

    def take(source: Path, rename: Callable[[str], str | None]) -> None:
        for stored, tensor in checkpoint.tensors(source):
            name = rename(stored)
            if name is None or stored.endswith(IGNORED_KEYS):
                continue
            missing.discard(name)
            if name not in own:
                unknown.append(stored)
            elif own[name].shape != tensor.shape:
                mismatched.append((stored, tensor.shape, own[name].shape))
            else:
                with torch.no_grad():
                    own[name].copy_(tensor)

    take(folder, own_name)
    if tower is not None and any(name.startswith("visual_tower.") for name in missing):
        take(tower, _tower_name)
    checkpoint.refuse_mismatch(folder, sorted(map(released_name, missing)), unknown, mismatched)


def own_name(released: str) -> str:
    """Key of the released checkpoint -> parameter of EventGPTModel."""
    for prefix in ("visual_projector.", "feature_adaptor."):
        if released.startswith(f"model.{prefix}"):
            return released.removeprefix("model.")
    if released.startswith("model.visual_tower.visual_tower."):
        # transformers 4 keeps the tower under .vision_model, transformers 5 does not
        return "visual_tower." + released.removeprefix("model.visual_tower.visual_tower.").removeprefix("vision_model.")
    return f"language.{released}"


def released_name(own: str) -> str:
    """Parameter of EventGPTModel -> key of the released checkpoint."""
    if own.startswith("visual_tower."):
        return "model.visual_tower.visual_tower.vision_model." + own.removeprefix("visual_tower.")
    return own.removeprefix("language.") if own.startswith("language.") else f"model.{own}"


def _tower_name(stored: str) -> str | None:
    """Key of a CLIP checkpoint -> parameter of EventGPTModel; None for its text half and what the tower does not use."""
    if stored.startswith(("text_model.", "text_projection", "visual_projection", "logit_scale")):
        return None
    return "visual_tower." + stored.removeprefix("vision_model.")
