"""EventGPT: the event images of an event camera and a question in, an answer out.

The network and its checkpoint layout are those of XduSyL/EventGPT:model/EventChatModel.py (CVPR 2025), as a module of our own:
CLIP tower, projector, adaptor, pooling over time and space, LLaMA.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from evbench.errors import UserError
from evbench.kernels.gelu_means import gelu_means
from evbench.pipelines import attention
from evbench.pipelines.capture import Replayed
from evbench.pipelines.checkpoints import checkpoint, presets
from evbench.pipelines.checkpoints.folder import CONSTANTS, read_config
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.loops import GENERATORS
from evbench.pipelines.load import decoders, event_files
from evbench.pipelines.load.decoders import RENDERERS
from evbench.pipelines.load.event_images import Images, Pixels
from evbench.pipelines.load.event_painter import EventMaps
from evbench.pipelines.preprocess.dali_pixels import DaliValues
from evbench.pipelines.preprocess.pixels import FusedValues, PixelValues, Recipe, exact_values, pixel_values, quantum
from evbench.pipelines.preprocess.question import kept
from evbench.pipelines.vision.clip import FusedClip, Steps, kernel_steps, torch_steps
from evbench.results import Work, Workload
from evbench.stages import Generation, Mark
from evbench.variants.choices import Variant

PROMPT = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
    "answers to the human's questions. USER: <ev_start><event><ev_end>\n{prompt} ASSISTANT:"
)
"""XduSyL/EventGPT:dataset/conversation.py. `<event>` is replaced by features; its neighbours are plain text to the tokenizer."""
CONTEXT = 2048
"""The released code cuts longer prompts there, and with them the question's end; here they are refused."""
RELEASED_TOWER = "clip-vit-large-patch14-336"
NOT_LLAMA = ("model_type", "architectures", "torch_dtype", "dtype", "transformers_version", "return_dict")
"""Fields of the released config.json that are not LlamaConfig's, or whose value is not the checkpoint's to choose."""
STEPS = (
    "do_resize", "do_center_crop", "do_rescale", "do_normalize",
    "resample", "size", "crop_size", "rescale_factor", "image_mean", "image_std",
)  # fmt: skip
"""Fields of an image processor that change the pixel values."""


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
        """[images, 3, height, width] -> [images, tokens, hidden]."""
        return self.projected(self.seen(pixels))

    def seen(self, pixels: torch.Tensor) -> torch.Tensor:
        """[images, 3, height, width] -> [images, tokens, hidden of the tower]: last layer, class token kept, no final norm."""
        return torch.as_tensor(self.visual_tower(pixel_values=pixels).last_hidden_state)

    def projected(self, hidden: torch.Tensor) -> torch.Tensor:
        """[images, tokens, hidden of the tower] -> [images, tokens, hidden]."""
        return torch.as_tensor(self.feature_adaptor(self.visual_projector(hidden)))


def pool(features: torch.Tensor, gelu: bool = False) -> torch.Tensor:
    """Temporal tokens, one per image, then spatial tokens, one per patch: [images, tokens, hidden] -> [1, images + tokens, hidden].

    Args:
        gelu: whether an activation comes in front.
    """
    if gelu:
        features = nn.functional.gelu(features)
    temporal = features.mean(dim=1)
    spatial = features.mean(dim=0)
    return torch.cat([temporal, spatial])[None]


Map = Callable[[torch.Tensor], torch.Tensor]
Pool = Callable[[torch.Tensor, bool], torch.Tensor]
"""As `pool`."""


class Pooling(Protocol):
    """What is done to the tower's tokens, with the pooling between the two steps."""

    gelu: bool
    """Whether the projector's activation is left to the pooling."""

    def tokens(self, seen: torch.Tensor, /) -> torch.Tensor:
        """[images, tokens, hidden of the tower] -> [images, tokens, hidden]."""

    def pooled(self, means: torch.Tensor, /) -> torch.Tensor:
        """[1, images + tokens, hidden] -> the same: what the language model is given."""


class PoolingLast:
    """As published: everything is done to every token, and nothing is left to do behind the pooling."""

    gelu = False

    def __init__(self, model: EventGPTModel) -> None:
        self._model = model

    def tokens(self, seen: torch.Tensor, /) -> torch.Tensor:
        return self._model.projected(seen)

    def pooled(self, means: torch.Tensor, /) -> torch.Tensor:
        return means


class PoolingFirst:
    """What stands behind the projector's activation is affine, and so is a mean: they may change places.

    adaptor(second(x)) = A (W x + b) + a = (A W) x + (A b + a). One matrix then, for 582 tokens in the place of two for 2,885.
    """

    gelu = True

    def __init__(self, model: EventGPTModel) -> None:
        """Keeps a matrix of its own: what is done to the weights afterwards is not heeded."""
        projector: Any = model.visual_projector
        self._first, _, second = projector
        adaptor = model.feature_adaptor
        with torch.no_grad():
            matrix, shift = adaptor.weight.double(), adaptor.bias.double()
            self._weight = (matrix @ second.weight.double()).to(adaptor.weight.dtype)
            self._bias = (matrix @ second.bias.double() + shift).to(adaptor.bias.dtype)

    def tokens(self, seen: torch.Tensor, /) -> torch.Tensor:
        return torch.as_tensor(self._first(seen))

    def pooled(self, means: torch.Tensor, /) -> torch.Tensor:
        return nn.functional.linear(means, self._weight, self._bias)


POOLINGS: dict[str, Callable[[EventGPTModel], Pooling]] = {"last": PoolingLast, "first": PoolingFirst}


def one_by_one(model: EventGPTModel, pooling: Pooling) -> Map:
    """The images one by one, as the released code does it."""
    return lambda pixels: pool(torch.cat([pooling.tokens(model.seen(image[None])) for image in pixels]), pooling.gelu)


def batched(model: EventGPTModel, pooling: Pooling) -> Map:
    """All images at once: no image sees another before the pooling."""
    return lambda pixels: pool(pooling.tokens(model.seen(pixels)), pooling.gelu)


def replayed(model: EventGPTModel, pooling: Pooling, steps: Steps, pool: Pool) -> Map:
    """The same with fused projections, as a CUDA graph."""
    tower = FusedClip(model.visual_tower, len(model.visual_tower.encoder.layers), steps)
    return Replayed(lambda pixels: pool(pooling.tokens(tower(pixels)), pooling.gelu))


ENCODERS: dict[str, Callable[[EventGPTModel, Pooling, Variant], Map]] = {
    "eager": lambda model, pooling, _: one_by_one(model, pooling),
    "batched": lambda model, pooling, _: batched(model, pooling),
    "compile": lambda model, pooling, _: torch.compile(batched(model, pooling), fullgraph=True, dynamic=False),
    "graph": lambda model, pooling, variant: replayed(
        model, pooling, torch_steps(model.visual_tower, attention.ATTEND[variant.attention]), pool
    ),
    "fused": lambda model, pooling, _: replayed(model, pooling, kernel_steps(model.visual_tower), gelu_means),
}
"""Functions of [images, 3, height, width], up to the pooling: [1, images + tokens, hidden]."""


def encoder(model: EventGPTModel, variant: Variant) -> Map:
    """[images, 3, height, width] -> [1, images + tokens, hidden]."""
    pooling = POOLINGS[variant.pooling](model)
    means = ENCODERS[variant.vision](model, pooling, variant)
    return lambda pixels: pooling.pooled(means(pixels))


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
        self._load = loader(variant, workload)
        self.load_many: Callable[[Sequence[Path]], list[tuple[Images, Work]]] | None = None  # a sample is a call of its own
        self._preprocess = PREPROCESSORS[variant.preprocess](self._processor, self._tokenizer, workload)
        heads = checkpoint.heads(self.tower.config, self.model.language.config)
        attention.require(variant.attention, heads, workload.device, getattr(torch, workload.dtype))
        self._encode = encoder(self.model, variant)
        llama, end_token = self.model.language, self._tokenizer.eos_token_id
        self._language = LanguageModel(llama, llama.model, llama.lm_head, end_token, workload.stop_at_end)
        self._generate = GENERATORS[variant.generate](self._language, variant)

    def load(self, path: Path, /) -> tuple[Images, Work]:
        images, work = self._load(path)
        height, width = images.largest()
        indices = tuple(range(len(images)))
        made = Work(frame_indices=indices, frame_height=height, frame_width=width, decoder=images.decoder)
        return images, work.merged(made)

    @torch.inference_mode()
    def preprocess(self, loaded: Images, /) -> tuple[Inputs, Work]:
        inputs = self._preprocess(loaded, self._workload.prompt)
        visual = len(inputs.pixels) + checkpoint.tokens_per_image(self.model.visual_tower.config)
        prompt = inputs.before.shape[1] + visual + inputs.after.shape[1]
        if prompt > CONTEXT:
            raise UserError(f"the prompt has {prompt} tokens and EventGPT takes {CONTEXT}; give a shorter --prompt")
        self._language.require_room(prompt, self._workload.new_tokens)
        return inputs, Work(pixel_shape=tuple(inputs.pixels.shape))

    @torch.inference_mode()
    def vision(self, inputs: Inputs, /) -> tuple[Features, Work]:
        visual = self._encode(inputs.pixels)
        work = Work(visual_tokens=visual.shape[1], dtype=checkpoint.dtype_name(visual.dtype), attention=self._attention())
        return Features(visual, inputs.before, inputs.after), work

    @torch.inference_mode()
    def generate(self, features: Features, new_tokens: int, mark: Mark, /) -> tuple[Generation, Work]:
        embeddings = self._fuse(features)
        tokens = self._generate(embeddings, new_tokens, mark)
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        stop = self._language.stop_reason(tokens)
        return Generation(tuple(tokens), text), Work(prompt_tokens=embeddings.shape[1], new_tokens=len(tokens), stop=stop)

    @torch.inference_mode()
    def teacher_forced_logits(self, features: Features, tokens: Sequence[int], /) -> torch.Tensor:
        return self._generate.teacher_forced_logits(self._fuse(features), tokens)

    def _fuse(self, features: Features) -> torch.Tensor:
        """The question with the event features in its middle: [1, prompt, hidden]."""
        embed = self.model.language.get_input_embeddings()
        return torch.cat([embed(features.before), features.visual, embed(features.after)], dim=1)

    def _attention(self) -> str:
        return checkpoint.attention_name(self.model.visual_tower.config, self.model.language.config)


def loader(variant: Variant, workload: Workload) -> Callable[[Path], tuple[Images, Work]]:
    """How the variant gets the event images of a sample: out of files, or of the events in one, of which the work tells.

    Raises UserError for a wrong file.
    """
    window = workload.window
    if window is None:
        read = decoders.reader(variant.decode, workload.device)
        return lambda path: (read(path), Work())
    render = RENDERERS[variant.render](workload.device)

    def load(path: Path) -> tuple[Images, Work]:
        stream = event_files.read(path, window)
        return render(stream, window.size), Work(events=len(stream.t), events_microseconds=int(stream.t[-1] - stream.t[0]))

    return load


Preprocess = Callable[[Images, str], Inputs]


def as_processor(processor: Any, tokenizer: Any, workload: Workload) -> Preprocess:
    """Each image through the Hugging Face processor, as the released code does it.

    With another backend: transformers 5 resizes by torchvision, the transformers 4 of the released code did by PIL. On an event image the
    values are up to 0.015 apart, a level of a picture.
    """
    dtype = getattr(torch, workload.dtype)

    def values(images: Images) -> torch.Tensor:
        # Told, for a picture of 3 rows or 1 would be taken for one whose colours come first.
        ask = functools.partial(processor, return_tensors="pt", input_data_format="channels_last")
        made = [ask(image)["pixel_values"][0] for image in images.pixels]
        return torch.stack(made).to(workload.device, dtype)

    return _asking(values, functools.partial(_halves, tokenizer, workload.device))


def direct(processor: Any, tokenizer: Any, workload: Workload) -> Preprocess:
    """All images at once."""
    return _with(pixel_values, processor, tokenizer, workload)


def exact(processor: Any, tokenizer: Any, workload: Workload) -> Preprocess:
    """The same without rounding: for the reference."""
    return _with(exact_values, processor, tokenizer, workload)


def fused(processor: Any, tokenizer: Any, workload: Workload) -> Preprocess:
    """All images in one kernel, unpainted ones too; and the question's tokens as they were made for the last sample."""
    values = fused_values(Recipe.of(processor), workload.device, getattr(torch, workload.dtype))
    return _asking(values, kept(functools.partial(_halves, tokenizer, workload.device)))


def fused_values(recipe: Recipe, device: str, dtype: torch.dtype) -> Callable[[Images], torch.Tensor]:
    """Images -> [images, 3, crop, crop]: neighbours of one size together, each to its place; none is painted for it."""
    values = FusedValues(recipe, device, dtype)

    def all_values(images: Images) -> torch.Tensor:
        made, start = values.room(len(images)), 0
        for frames in images.runs() if isinstance(images, EventMaps) else _runs(images.pixels):
            values(frames, into=made[start : start + len(frames)])
            start += len(frames)
        return made

    return all_values


def by_dali(processor: Any, tokenizer: Any, workload: Workload) -> Preprocess:
    """All images in an NVIDIA DALI pipeline; the question's tokens likewise."""
    values = DaliValues(Recipe.of(processor), workload.device, getattr(torch, workload.dtype))
    return _asking(lambda images: values(images.pixels), kept(functools.partial(_halves, tokenizer, workload.device)))


def _with(values: PixelValues, processor: Any, tokenizer: Any, workload: Workload) -> Preprocess:
    recipe, dtype = Recipe.of(processor), getattr(torch, workload.dtype)

    def all_values(images: Images) -> torch.Tensor:
        return _by_size(lambda frames: values(frames, recipe, workload.device, dtype), images)

    return _asking(all_values, functools.partial(_halves, tokenizer, workload.device))


def _asking(values: Callable[[Images], torch.Tensor], halves: Callable[[str], tuple[torch.Tensor, torch.Tensor]]) -> Preprocess:
    return lambda images, prompt: Inputs(values(images), *halves(prompt))


def _by_size(values: Callable[[torch.Tensor], torch.Tensor], images: Images) -> torch.Tensor:
    """Images of one size together, as `values` takes them: [images, height, width, 3] uint8 -> [images, 3, crop, crop]."""
    made = [values(frames) for frames in _runs(images.pixels)]
    return made[0] if len(made) == 1 else torch.cat(made)


def _runs(pictures: Sequence[Pixels | torch.Tensor]) -> Iterator[torch.Tensor]:
    """Neighbours of one size together: [images, height, width, 3] uint8."""
    for _, alike in groupby(map(torch.as_tensor, pictures), key=lambda picture: picture.shape):
        yield torch.stack(list(alike))


PREPROCESSORS: dict[str, Callable[[Any, Any, Workload], Preprocess]] = {
    "processor": as_processor,
    "direct": direct,
    "dali": by_dali,
    "triton": fused,
    "exact": exact,
}


def prompt_halves(tokenizer: Any, prompt: str) -> tuple[list[int], list[int]]:
    """The tokens in front of the event features, beginning of text first, and those behind them."""
    first, second = PROMPT.format(prompt=prompt).split("<event>")
    return tokenizer(first)["input_ids"], tokenizer(second, add_special_tokens=False)["input_ids"]


def _halves(tokenizer: Any, device: str, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The same on the device: [1, tokens] each."""
    before, after = prompt_halves(tokenizer, prompt)
    return torch.tensor([before], device=device), torch.tensor([after], device=device)


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
        require_tokenizer_fits(folder, tokenizer, text)
        if tower is not None:
            _require_usual_steps(tower, vision.image_size)
        with checkpoint.seeded(0, workload.device, dtype):
            model = EventGPTModel(vision, text, implementation)
    load_weights(model, folder, tower)
    return model.eval(), image_processor(vision.image_size), tokenizer


def require_tokenizer_fits(folder: Path, tokenizer: Any, text: LlamaConfig) -> None:
    """Raises UserError unless the prompt is what the released model was given, and every id has an embedding.

    A smaller vocabulary than the model's fits: embeddings are padded.
    """
    before, after = prompt_halves(tokenizer, "")
    begins = {text.bos_token_id, tokenizer.bos_token_id} - {None}
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if set(after) <= {tokenizer.unk_token_id}:
        told = "the tokenizer finds no tokens in the prompt"
    elif largest >= text.vocab_size:
        told = f"the tokenizer's largest id is {largest} and config.json has a vocab_size of {text.vocab_size}"
    elif tokenizer.eos_token_id is None:
        told = "the tokenizer has no eos_token, at which answers end"
    elif before[0] not in begins:
        told = f"the tokenizer puts no bos_token in front of the prompt, which begins with {tokenizer.convert_ids_to_tokens(before[0])!r}"
    else:
        return
    raise UserError(f"--weights {folder}: {told}; copy the tokenizer's files of this checkpoint again")


def _require_usual_steps(tower: Path, edge: int) -> None:
    """Raises UserError if the tower comes with an image processor that does something else than evbench: the released code asks that."""
    file = tower / "preprocessor_config.json"
    if not file.is_file():
        return
    told, usual = CLIPImageProcessor.from_pretrained(tower, local_files_only=True), image_processor(edge)
    for step in STEPS:
        asked, done = _comparable(getattr(told, step)), _comparable(getattr(usual, step))
        if asked != done:
            raise UserError(f"{file} asks for {step} {asked}, and evbench has {done} for this tower; copy the tower's folder again")


def _comparable(value: Any) -> Any:
    """A field of an image processor, without its last digits and without the sizes that it does not tell."""
    if isinstance(value, (list, tuple)):
        return [_comparable(part) for part in value]
    if isinstance(value, float):
        return round(value, 6)
    return dict(value) if isinstance(value, Iterable) else value


def _tower_folder(folder: Path, config: dict[str, Any]) -> Path | None:
    """The local folder that `mm_visual_tower` names, beside or inside the checkpoint; None if there is none."""
    name = str(config.get("mm_visual_tower", ""))
    places = (folder / name, folder.resolve().parent / Path(name).name, Path(name))
    return next((place for place in places if name and (place / "config.json").is_file()), None)


def _tower_config(folder: Path, tower: Path | None, config: dict[str, Any]) -> CLIPVisionConfig:
    if tower is not None:
        return CLIPVisionConfig.from_pretrained(tower, local_files_only=True, return_dict=True)
    name = config.get("mm_visual_tower")
    if Path(str(name)).name == RELEASED_TOWER:
        return CLIPVisionConfig(**presets.PRESETS["eventgpt"]["7b"]["vision"])
    raise UserError(
        f"--weights {folder}: config.json names the vision tower {name!r}, which is no local folder; put it beside the checkpoint"
    )


def load_weights(model: EventGPTModel, folder: Path, tower: Path | None) -> None:
    """Read the released layout into `model`. The tower's weights are in the checkpoint, or all of them in the folder `tower`.

    Raises:
        UserError: a weight is missing, unknown, stored twice, or of another shape or type.
    """
    own = dict(model.named_parameters())
    found: dict[str, str] = {}
    unknown: list[str] = []
    mismatched: list[tuple[str, Any, Any]] = []

    def take(source: Path, rename: Callable[[str], str | None]) -> None:
        for stored, tensor in checkpoint.tensors(source):
            name = rename(stored)
            if name is None or stored.endswith(CONSTANTS):
                continue
            if name in found:
                raise UserError(f"{source} holds {found[name]} and {stored}, which are one weight; remove one of them")
            found[name] = stored
            if name not in own:
                unknown.append(stored)
            elif own[name].shape != tensor.shape:
                mismatched.append((stored, tensor.shape, own[name].shape))
            else:
                with torch.no_grad():
                    own[name].copy_(tensor)

    take(folder, own_name)
    # A tower that is there in part is damaged: filled up from the folder, it might be of two models.
    if tower is not None and not any(name.startswith("visual_tower.") for name in found):
        take(tower, _tower_name)
    checkpoint.refuse_mismatch(folder, sorted(map(released_name, own.keys() - found.keys())), unknown, mismatched)


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
