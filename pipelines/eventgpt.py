"""EventGPT: the event images of an event camera and a question in, an answer out.

The network and its checkpoint layout are those of XduSyL/EventGPT:model/EventChatModel.py (CVPR 2025), as a module of evbench:
CLIP tower, projector, adaptor, pooling over time and space, LLaMA.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub import save_torch_state_dict
from torch import nn
from transformers import AutoTokenizer, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.kernels.gelu_means import gelu_means
from evbench.models import Preset
from evbench.pipelines import draft_heads, weights
from evbench.pipelines.checkpoints import checkpoint, presets
from evbench.pipelines.checkpoints.event_chat import parameter_name, released_name, tower_parameter_name
from evbench.pipelines.checkpoints.folder import SHARD_SIZE, parameter_count, read_config
from evbench.pipelines.checkpoints.grown import SEED, grow
from evbench.pipelines.checkpoints.network_shape import network_shape
from evbench.pipelines.checkpoints.renamed import load_renamed
from evbench.pipelines.checkpoints.sizes import require_sizes
from evbench.pipelines.clip_llama import ClipLlama, Network, converted
from evbench.pipelines.compute import attention
from evbench.pipelines.generate.language import require_room
from evbench.pipelines.load import event_files
from evbench.pipelines.load.decoders import reader, renderer
from evbench.pipelines.load.event_images import Images
from evbench.pipelines.preprocess.image_processor import image_processor, require_usual_steps
from evbench.pipelines.registry import EVENTGPT
from evbench.pipelines.vision.choices import POOLING
from evbench.pipelines.vision.pooling import Pooling, pool
from evbench.results import NetworkShape, Work, Workload

PROMPT = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
    "answers to the human's questions. USER: <ev_start><event><ev_end>\n{prompt} ASSISTANT:"
)
"""XduSyL/EventGPT:dataset/conversation.py. `<event>` is replaced by features; its neighbours are plain text to the tokenizer."""
RELEASED_TOWER = "clip-vit-large-patch14-336"
NOT_LLAMA = ("model_type", "architectures", "torch_dtype", "dtype", "transformers_version", "return_dict")
"""Fields of the released config.json that are not LlamaConfig's, or whose value is not the checkpoint's to choose."""


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


@dataclass(frozen=True)
class Inputs:
    """Pixel values and the question's two halves."""

    pixels: torch.Tensor
    """[images, 3, 336, 336] in the model's dtype, on its device."""
    before: torch.Tensor
    """[1, tokens] in front of the event features, beginning of text first."""
    after: torch.Tensor
    """[1, tokens] after them."""

    def values(self) -> torch.Tensor:
        return self.pixels

    def holding(self, values: torch.Tensor) -> Inputs:
        return dataclasses.replace(self, pixels=values)

    def prompt(self) -> tuple[int, ...]:
        return tuple(torch.cat([self.before, self.after], dim=1)[0].tolist())

    def features(self, visual: torch.Tensor) -> Features:
        return Features(visual, self)


@dataclass(frozen=True)
class Features:
    """The input of the language model."""

    visual: torch.Tensor
    """[1, images + 577, hidden]."""
    inputs: Inputs
    """That they are of."""

    def values(self) -> torch.Tensor:
        return self.visual[0]

    def holding(self, values: torch.Tensor) -> Features:
        return dataclasses.replace(self, visual=values[None])


class EventGPT(ClipLlama):
    """The four stages of EventGPT, each as the variant chooses it."""

    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "load": ("event image", "row", "column", "channel"),
        "preprocess": ("event image", "channel", "row", "column"),
        "vision": ("token", "feature"),
        "generate": ("position", "token"),
    }
    context: ClassVar[int | None] = 2048
    """The released code cuts longer prompts there, and with them the question's end; here they are refused."""

    def __init__(self, variant: Variant, workload: Workload, dtype: str | None = None) -> None:
        """`dtype` to compute in another type than the workload's, with the same weights."""
        model, processor, tokenizer = _make(variant, workload)
        counted, workload = converted(model, workload, dtype)
        network = Network(
            model=model,
            vision=Vision(model, POOLING.implementation(variant["pooling"])(model), workload.batch),
            used_layers=model.visual_tower.config.num_hidden_layers,
            preprocessing=Preprocessing(processor, tokenizer, workload),
            language=model.language,
            decoder=model.language.model,
            head=model.language.lm_head,
            tokenizer=tokenizer,
            vision_config=model.visual_tower.config,
            text_config=model.language.config,
        )
        self._load = loader(variant, workload)
        self.load_many: Callable[[Sequence[Path]], list[tuple[Images, Work]]] | None = None  # a sample is a call by itself
        super().__init__(variant, workload, counted, network)

    def event_images(self, path: Path) -> Images:
        """What `load` returns of a sample, for a stage of another model."""
        return self._load(path)[0]

    def load(self, path: Path, /) -> tuple[Images, Work]:
        images, work = self._load(path)
        height, width = images.largest()
        indices = tuple(range(len(images)))
        return images, work.merged(Work(frame_indices=indices, frame_height=height, frame_width=width, decoder=images.decoder))

    @functools.cached_property
    def _tokens_per_image(self) -> int:
        return checkpoint.tokens_per_image(self.tower.config)

    def prompt_tokens(self, inputs: Inputs) -> int:
        visual = len(inputs.pixels) + self._tokens_per_image
        return inputs.before.shape[1] + visual + inputs.after.shape[1]

    def embeddings(self, features: Features) -> torch.Tensor:
        """The question with the event features in its middle: [1, prompt, hidden]."""
        embed, inputs = self.decoder.get_input_embeddings(), features.inputs
        return torch.cat([embed(inputs.before), features.visual, embed(inputs.after)], dim=1)


def loader(variant: Variant, workload: Workload) -> Callable[[Path], tuple[Images, Work]]:
    """How the variant gets the event images of a sample: from files, or rendered from raw events, which the work counts.

    Raises UserError for a wrong file.
    """
    window = workload.window
    if window is None:
        read = reader(variant["decode"], workload.device)
        return lambda path: (read(path), Work())
    render = renderer(variant["render"], workload.device)

    def load(path: Path) -> tuple[Images, Work]:
        stream = event_files.read(path, window)
        return render(stream, window.size), Work(events=len(stream.t), events_microseconds=int(stream.t[-1] - stream.t[0]))

    return load


class Preprocessing:
    """Event images and question -> Inputs: see evbench.pipelines.preprocess.preprocessors.Tokenized."""

    def __init__(self, processor: Any, tokenizer: Any, workload: Workload) -> None:
        self.image_processor, self._tokenizer = processor, tokenizer
        self._device, self._dtype = workload.device, getattr(torch, workload.dtype)

    def published(self, images: Images, prompt: str, /, **options: Any) -> Inputs:
        """Each image through the Hugging Face processor, as the released code does it.

        With another backend: transformers 5 resizes by torchvision, the transformers 4 of the released code did by PIL. On an event image
        the values are up to 0.015 apart, one 8-bit level.
        """
        # Without input_data_format, an image of 3 rows or 1 would be read as one whose channels come first.
        process = functools.partial(self.image_processor, return_tensors="pt", input_data_format="channels_last", **options)
        pixels = torch.stack([process(image)["pixel_values"][0] for image in images.each()])
        return self.inputs(pixels.to(self._device, self._dtype), self.tokens(prompt, len(images)))

    def tokens(self, prompt: str, images: int, /) -> tuple[torch.Tensor, torch.Tensor]:
        """The question's halves, [1, tokens] each."""
        before, after = prompt_halves(self._tokenizer, prompt)
        return torch.tensor([before], device=self._device), torch.tensor([after], device=self._device)

    def inputs(self, pixels: torch.Tensor, tokens: tuple[torch.Tensor, torch.Tensor], /) -> Inputs:
        return Inputs(pixels, *tokens)


class Vision:
    """Tower, projector, adaptor and pooling: see evbench.pipelines.vision.encoders.VisionModel."""

    def __init__(self, model: EventGPTModel, pooling: Pooling, batch: int = 1) -> None:
        """`batch`: samples whose images come together, equally many of each."""
        self._model, self._pooling, self._batch = model, pooling, batch
        self.tower = model.visual_tower
        self.used_layers = model.visual_tower.config.num_hidden_layers

    def published(self, images: torch.Tensor, /) -> torch.Tensor:
        """The images one by one, as the released code does it."""
        tokens = [self._pooling.tokens(self._model.seen(image[None])) for image in images]
        return self._pooled_apart(pool, torch.cat(tokens))

    def hidden_states(self, images: torch.Tensor, /) -> torch.Tensor:
        """All images at once: no image sees another before the pooling."""
        return self._model.seen(images)

    def features(self, hidden: torch.Tensor, kernels: bool, /) -> torch.Tensor:
        """[images, tokens, hidden of the tower] -> [batch, images of one + tokens, hidden], up to the pooling."""
        return self._pooled_apart(gelu_means if kernels else pool, self._pooling.tokens(hidden))

    def _pooled_apart(self, means: Callable[[torch.Tensor, bool], torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
        """Each sample's images by themselves."""
        of_samples = [means(images, self._pooling.gelu) for images in tokens.chunk(self._batch)]
        return of_samples[0] if self._batch == 1 else torch.cat(of_samples)

    def finish(self, means: torch.Tensor, /) -> torch.Tensor:
        return self._pooling.pooled(means)


def prompt_halves(tokenizer: Any, prompt: str) -> tuple[list[int], list[int]]:
    """The tokens in front of the event features, beginning of text first, and those after them."""
    first, second = PROMPT.format(prompt=prompt).split("<event>")
    return tokenizer(first)["input_ids"], tokenizer(second, add_special_tokens=False)["input_ids"]


def planned(workload: Workload) -> tuple[NetworkShape, Work]:
    """The shape of the network and what a run does, by the configs and the tokenizer alone: no weights are read or made.

    Raises UserError if the checkpoint folder is damaged, or prompt and answer are too long for the model.
    """
    vision, text, tokenizer = _described(workload)
    shape = network_shape(vision, text, vision.num_hidden_layers, getattr(torch, workload.dtype).itemsize)
    visual = workload.frames + shape.vision_tokens
    prompt = visual + sum(map(len, prompt_halves(tokenizer, workload.prompt)))
    require_room(text.max_position_embeddings, prompt, workload)
    return shape, Work(
        pixel_shape=(workload.frames, 3, vision.image_size, vision.image_size),
        visual_tokens=visual,
        prompt_tokens=prompt,
        new_tokens=workload.new_tokens,
        dtype=workload.dtype,
    )


def _described(workload: Workload) -> tuple[CLIPVisionConfig, LlamaConfig, Any]:
    """The configurations of tower and language model, and the tokenizer."""
    folder = weights.checkpoint_folder(workload)
    if folder is not None:
        config = read_config(folder, "eventgpt", EVENTGPT)
        with checkpoint.loading(folder, logged=False):
            return _tower_config(folder, _tower_folder(folder, config), config), _text_config(config), _tokenizer(folder)
    preset = weights.preset(workload)
    trained, text = weights.trained_folder(workload.model, preset), LlamaConfig(**preset.text)
    tokenizer = presets.byte_tokenizer(text.vocab_size, {}) if trained is None else _tokenizer(trained)
    return CLIPVisionConfig(**preset.vision), text, tokenizer


def _text_config(config: dict[str, Any]) -> LlamaConfig:
    """From the released config.json."""
    return LlamaConfig(**{name: value for name, value in config.items() if name not in NOT_LLAMA})


def _tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _make(variant: Variant, workload: Workload) -> tuple[EventGPTModel, Any, Any]:
    dtype = getattr(torch, workload.dtype)
    folder, implementation = weights.checkpoint_folder(workload), attention.implementation(variant["attention"])
    if folder is not None:
        return from_folder(folder, implementation, workload.device, dtype)
    preset = weights.preset(workload)
    if (trained := weights.trained_folder(workload.model, preset)) is not None:
        return _grown(trained, preset, implementation, workload.device, dtype, SEED)
    vision, text = CLIPVisionConfig(**preset.vision), LlamaConfig(**preset.text)
    with checkpoint.seeded(workload.seed or 0, workload.device, dtype):
        model = EventGPTModel(vision, text, implementation)
    return model.eval(), image_processor(vision.image_size), presets.byte_tokenizer(text.vocab_size, {})


def _grown(trained: Path, size: Preset, implementation: str, device: str, dtype: torch.dtype, seed: int) -> tuple[EventGPTModel, Any, Any]:
    """The network of that size that computes what the trained one does, with the trained one's processor and tokenizer."""
    small, processor, tokenizer = from_folder(trained, implementation, device, torch.float32)
    vision, text = CLIPVisionConfig(**size.vision), LlamaConfig(**size.text)
    with checkpoint.seeded(seed, device, dtype):
        large = EventGPTModel(vision, text, implementation)
    trained_text, trained_vision, never = small.language.config, small.visual_tower.config, tokenizer.unk_token_id
    grow(small, large, text=trained_text, vision=trained_vision, larger_text=text, larger_vision=vision, never=never, seed=seed)
    return large.eval(), processor, tokenizer


def write_grown(trained: Path, size: Preset, folder: Path, device: str, dtype: str, seed: int) -> None:
    """Write a grown network as a checkpoint folder in the layout of the released one."""
    model, _, tokenizer = _grown(trained, size, "sdpa", device, getattr(torch, dtype), seed)
    save(model, tokenizer, folder)
    draft_heads.write_grown(trained, folder, model.language.config, device, getattr(torch, dtype), seed)


def save(model: EventGPTModel, tokenizer: Any, folder: Path) -> None:
    """Write a checkpoint folder that `--weights` takes. The tower's weights stand with the others, its configuration in a folder inside."""
    tower = folder / "vision_tower"
    tower.mkdir(parents=True, exist_ok=True)
    model.visual_tower.config.to_json_file(tower / "config.json")
    config = json.loads(model.language.config.to_json_string()) | {
        "model_type": EVENTGPT.model_type,
        "architectures": ["EventChatModel"],
        "mm_visual_tower": tower.name,
        "event_feature_adaptor": True,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    named = {released_name(name): value for name, value in model.state_dict().items()}
    save_torch_state_dict(named, folder, max_shard_size=SHARD_SIZE)
    tokenizer.save_pretrained(folder)


def from_folder(folder: Path, implementation: str, device: str, dtype: torch.dtype) -> tuple[EventGPTModel, Any, Any]:
    """The network of a checkpoint folder, its image processor and its tokenizer. Raises UserError if the folder is damaged."""
    config = read_config(folder, "eventgpt", EVENTGPT)
    with checkpoint.loading(folder):
        tower = _tower_folder(folder, config)
        vision, text, tokenizer = _tower_config(folder, tower, config), _text_config(config), _tokenizer(folder)
        require_tokenizer_fits(folder, tokenizer, text)
        if tower is not None:
            require_usual_steps(tower, vision.image_size)
        with checkpoint.seeded(0, device, dtype):
            model = EventGPTModel(vision, text, implementation)
    load_weights(model, folder, tower)
    checkpoint.require_finite(folder, model)
    return model.eval(), image_processor(vision.image_size), tokenizer


def require_tokenizer_fits(folder: Path, tokenizer: Any, text: LlamaConfig) -> None:
    """Raises UserError unless the prompt is the one that the released model gets, and every id has an embedding.

    A smaller vocabulary than the model's fits: embeddings are padded.
    """
    before, after = prompt_halves(tokenizer, "")
    begins = {text.bos_token_id, tokenizer.bos_token_id} - {None}
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if set(after) <= {tokenizer.unk_token_id}:
        reason = "the tokenizer finds no tokens in the prompt"
    elif largest >= text.vocab_size:
        reason = f"the tokenizer's largest id is {largest} and config.json has a vocab_size of {text.vocab_size}"
    elif tokenizer.eos_token_id is None:
        reason = "the tokenizer has no eos_token, at which answers end"
    elif before[0] not in begins:
        reason = f"the tokenizer puts no bos_token in front of the prompt, which begins with {tokenizer.convert_ids_to_tokens(before[0])!r}"
    else:
        return
    raise UserError(f"--weights {folder}: {reason}; copy the tokenizer's files of this checkpoint again")


def _tower_folder(folder: Path, config: dict[str, Any]) -> Path | None:
    """The local folder that `mm_visual_tower` names, beside or inside the checkpoint; None if there is none."""
    name = str(config.get("mm_visual_tower", ""))
    places = (folder / name, folder.resolve().parent / Path(name).name, Path(name))
    return next((place for place in places if name and (place / "config.json").is_file()), None)


def _tower_config(folder: Path, tower: Path | None, config: dict[str, Any]) -> CLIPVisionConfig:
    if tower is not None:
        stored = parameter_count(folder) + (parameter_count(tower) if any(tower.glob("*.safetensors")) else 0)
        require_sizes(tower / "config.json", json.loads((tower / "config.json").read_text(encoding="utf-8")), stored)
        return CLIPVisionConfig.from_pretrained(tower, local_files_only=True, return_dict=True)
    name = config.get("mm_visual_tower")
    if Path(str(name)).name == RELEASED_TOWER:
        return CLIPVisionConfig(**EVENTGPT.presets["7b"].vision)
    raise UserError(
        f"--weights {folder}: config.json names the vision tower {name!r}, which is no local folder; put it beside the checkpoint"
    )


def load_weights(model: EventGPTModel, folder: Path, tower: Path | None) -> None:
    """Read the released layout into `model`. The tower's weights are in the checkpoint, or all of them in the folder `tower`.

    Raises:
        UserError: a weight is missing, unknown, stored twice, or of another shape or type.
    """
    fallback = () if tower is None else (("visual_tower.", tower, tower_parameter_name),)
    load_renamed(model, folder, parameter_name, released_name, fallback)
