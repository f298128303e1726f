"""Video-LLaVA, the Hugging Face port: frames of a clip, eight by default, and a question in, an answer out.

The port differs from the original network: it has no temporal attention between frames (PKU-YuanGroup/Video-LLaVA issue 223).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import (
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
    VideoLlavaImageProcessor,
    VideoLlavaProcessor,
    VideoLlavaVideoProcessor,
)

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.models import Preset
from evbench.pipelines import draft_heads, weights
from evbench.pipelines.checkpoints import checkpoint, presets
from evbench.pipelines.checkpoints.checkpoint import used_layers
from evbench.pipelines.checkpoints.folder import SHARD_SIZE, read_config, require_usual_names, weight_files
from evbench.pipelines.checkpoints.grown import SEED, grow
from evbench.pipelines.checkpoints.network_shape import network_shape
from evbench.pipelines.clip_llama import ClipLlama, Network, converted
from evbench.pipelines.clips import Clips
from evbench.pipelines.compute import attention
from evbench.pipelines.generate.language import require_room
from evbench.pipelines.load.video import Frames
from evbench.pipelines.registry import VIDEO_LLAVA
from evbench.results import NetworkShape, Work, Workload


@dataclass(frozen=True)
class Inputs:
    """What the processor makes of frames and question."""

    pixels: torch.Tensor
    """[1, frames, 3, 224, 224] in the model's dtype, on its device."""
    tokens: torch.Tensor
    """[1, prompt] int64; one `<video>` id for each visual token."""
    beside: Any = None
    """What was made for a drafting model of another kind of input in the same stage. None without one."""

    def values(self) -> torch.Tensor:
        return self.pixels[0]

    def holding(self, values: torch.Tensor) -> Inputs:
        return dataclasses.replace(self, pixels=values[None])

    def prompt(self) -> tuple[int, ...]:
        return tuple(self.tokens[0].tolist())

    def features(self, visual: torch.Tensor) -> Features:
        return Features(visual, self)


@dataclass(frozen=True)
class Features:
    """The input of the language model."""

    visual: torch.Tensor
    """[frames, 257, hidden]: projected; the class token of each frame is kept."""
    inputs: Inputs
    """That they are of."""
    beside: Any = None
    """The features of a drafting model of another kind of input. None without one."""

    def values(self) -> torch.Tensor:
        return self.visual

    def holding(self, values: torch.Tensor) -> Features:
        return dataclasses.replace(self, visual=values)


class VideoLlava(Clips, ClipLlama):
    """The four stages of Video-LLaVA, each as the variant chooses it."""

    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "load": ("frame", "row", "column", "channel"),
        "preprocess": ("frame", "channel", "row", "column"),
        "vision": ("frame", "token", "feature"),
        "generate": ("position", "token"),
    }

    def __init__(self, variant: Variant, workload: Workload, dtype: str | None = None) -> None:
        """`dtype` to compute in another type than the workload's, with the same weights."""
        model, self._processor = _make(variant, workload)
        counted, workload = converted(model, workload, dtype)
        network = Network(
            model=model,
            vision=Vision(model),
            used_layers=used_layers(model.config),
            preprocessing=Preprocessing(self._processor, workload),
            language=model,
            decoder=model.model.language_model,
            head=model.lm_head,
            tokenizer=self._processor.tokenizer,
            vision_config=model.config.vision_config,
            text_config=model.config.text_config,
        )
        Clips.__init__(self, variant, workload)
        ClipLlama.__init__(self, variant, workload, counted, network)

    def prompt_tokens(self, inputs: Inputs) -> int:
        return inputs.tokens.shape[1]

    def embeddings(self, features: Features) -> torch.Tensor:
        """Text embeddings with the visual features in the places of `<video>`: [1, prompt, hidden]."""
        tokens = features.inputs.tokens
        embedded = self.model.get_input_embeddings()(tokens)
        places = (tokens == self.model.config.video_token_id).unsqueeze(-1)
        return torch.as_tensor(embedded.masked_scatter(places, features.visual.to(embedded.dtype)))


class Preprocessing:
    """Frames and question -> Inputs: see evbench.pipelines.preprocess.preprocessors.Tokenized."""

    def __init__(self, processor: Any, workload: Workload) -> None:
        self._processor, self._device, self._dtype = processor, workload.device, getattr(torch, workload.dtype)
        self.image_processor = processor.video_processor

    def published(self, frames: Frames, prompt: str, /, **options: Any) -> Inputs:
        clip = frames.values()
        clip = clip.permute(0, 3, 1, 2) if isinstance(clip, torch.Tensor) else clip
        found = self._processor(text=question(prompt), videos=clip, return_tensors="pt", **options)
        return Inputs(found["pixel_values_videos"].to(self._device, self._dtype), found["input_ids"].to(self._device))

    def tokens(self, prompt: str, frames: int, /) -> torch.Tensor:
        """The question, with one `<video>` for each visual token: [1, prompt]."""
        video: int = self._processor.video_token_id
        ids: list[int] = self._processor.tokenizer(question(prompt))["input_ids"]
        place = ids.index(video)
        visual = [video] * (places_per_frame(self._processor) * frames)
        return torch.tensor([[*ids[:place], *visual, *ids[place + 1 :]]], device=self._device)

    def inputs(self, pixels: torch.Tensor, tokens: torch.Tensor, /) -> Inputs:
        return Inputs(pixels[None], tokens)


def places_per_frame(processor: Any) -> int:
    """How many `<video>` the processor puts into the prompt for a frame: one for each patch, and one for the class token."""
    crop = processor.video_processor.crop_size
    patches = (crop["height"] // processor.patch_size) * (crop["width"] // processor.patch_size)
    return int(patches + processor.num_additional_image_tokens)


class Vision:
    """Tower and projector: see evbench.pipelines.vision.encoders.VisionModel.

    Features are of layer -2, the output of the last layer but one: the last is left out by all choices but vision=eager.
    """

    def __init__(self, model: Any) -> None:
        self._model, self.tower = model, model.model.video_tower
        self._layers = self.tower.encoder.layers[: used_layers(model.config)]

    @property
    def used_layers(self) -> int:
        """Raises UserError if the features are of several layers."""
        chosen = self._model.config.vision_feature_layer
        if not isinstance(chosen, int):
            raise UserError(f"only vision=eager takes more than one vision_feature_layer, and config.json has {chosen}; choose that")
        return len(self._layers)

    def published(self, pixels: torch.Tensor, /) -> torch.Tensor:
        """transformers' get_video_features: every layer of the tower runs, and the output of the last but one is used."""
        return torch.as_tensor(self._model.model.get_video_features(pixel_values_videos=pixels, return_dict=True).pooler_output)

    def hidden_states(self, images: torch.Tensor, /) -> torch.Tensor:
        hidden = self.tower.pre_layrnorm(self.tower.embeddings(images))
        for layer in self._layers:
            hidden = layer(hidden, attention_mask=None)
        return torch.as_tensor(hidden)

    def features(self, hidden: torch.Tensor, kernels: bool = False, /) -> torch.Tensor:
        return torch.as_tensor(self._model.model.multi_modal_projector(hidden))

    def finish(self, features: torch.Tensor, /) -> torch.Tensor:
        return features


def planned(workload: Workload) -> tuple[NetworkShape, Work]:
    """The shape of the network and what a run does, by the configs and the tokenizer alone: no weights are read or made.

    Raises UserError if the checkpoint folder is damaged, or prompt and answer are too long for the model.
    """
    config, processor = _described(workload)
    vision, weight_bytes = config.vision_config, getattr(torch, workload.dtype).itemsize
    shape = network_shape(vision, config.text_config, used_layers(config), weight_bytes)
    tokens = Preprocessing(processor, dataclasses.replace(workload, device="cpu")).tokens(workload.prompt, workload.frames)
    require_room(config.text_config.max_position_embeddings, tokens.shape[1], workload)
    return shape, Work(
        pixel_shape=(1, workload.frames, 3, vision.image_size, vision.image_size),
        visual_tokens=workload.frames * shape.vision_tokens,
        prompt_tokens=tokens.shape[1],
        new_tokens=workload.new_tokens,
        dtype=workload.dtype,
    )


def _described(workload: Workload) -> tuple[Any, Any]:
    """The configuration of the whole model, and its processor."""
    folder = weights.checkpoint_folder(workload)
    if folder is not None:
        with checkpoint.loading(folder, logged=False):
            config = VideoLlavaConfig.from_pretrained(folder, local_files_only=True)
            return config, VideoLlavaProcessor.from_pretrained(folder, local_files_only=True)
    preset = weights.preset(workload)
    made = _config(preset.text, preset.vision, special_tokens(preset.text["vocab_size"]))
    if (trained := weights.trained_folder(workload.model, preset)) is not None:
        return made, VideoLlavaProcessor.from_pretrained(trained, local_files_only=True)
    return made, _made_processor(preset)


def question(prompt: str) -> str:
    return f"USER: <video>\n{prompt} ASSISTANT:"


def _make(variant: Variant, workload: Workload) -> tuple[Any, Any]:
    dtype = getattr(torch, workload.dtype)
    folder, implementation = weights.checkpoint_folder(workload), attention.implementation(variant["attention"])
    if folder is not None:
        return from_folder(folder, implementation, workload.device, dtype)
    preset = weights.preset(workload)
    if (trained := weights.trained_folder(workload.model, preset)) is not None:
        return _grown(trained, preset, implementation, workload.device, dtype, SEED)
    with checkpoint.seeded(workload.seed or 0, workload.device, dtype):
        model = untrained(preset.text, preset.vision, special_tokens(preset.text["vocab_size"]), implementation)
    return model.eval(), _made_processor(preset)


def _made_processor(preset: Preset) -> Any:
    """Of random weights."""
    vocabulary = preset.text["vocab_size"]
    return processor(presets.byte_tokenizer(vocabulary, special_tokens(vocabulary)), preset.vision["patch_size"])


def _grown(trained: Path, size: Preset, implementation: str, device: str, dtype: torch.dtype, seed: int) -> tuple[Any, Any]:
    """The network of that size that computes what the trained one does, and the trained one's processor."""
    small, processor = from_folder(trained, implementation, device, torch.float32)
    specials = {"<image>": small.config.image_token_id, "<video>": small.config.video_token_id}
    with checkpoint.seeded(seed, device, dtype):
        large = untrained(size.text, size.vision, specials, implementation)
    configs = small.config, large.config
    (text, larger_text), (vision, larger_vision) = ([getattr(of, name) for of in configs] for name in ("text_config", "vision_config"))
    never = processor.tokenizer.unk_token_id
    unused = vision.num_hidden_layers - used_layers(small.config)
    grow(
        small,
        large,
        text=text,
        vision=vision,
        larger_text=larger_text,
        larger_vision=larger_vision,
        never=never,
        seed=seed,
        unused_vision_layers=unused,
    )
    return large.eval(), processor


def write_grown(trained: Path, size: Preset, folder: Path, device: str, dtype: str, seed: int) -> None:
    """Write a grown network as a checkpoint folder in the layout of the hub."""
    model, processor = _grown(trained, size, "sdpa", device, getattr(torch, dtype), seed)
    save(model, processor, folder)
    draft_heads.write_grown(trained, folder, model.config.text_config, device, getattr(torch, dtype), seed)


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write a checkpoint folder that transformers and `--weights` take."""
    model.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    processor.save_pretrained(folder)


def special_tokens(vocabulary: int) -> dict[str, int]:
    """Ids of the added tokens: after the 32,000 of LLaMA in the released model, almost the last ones in a small one."""
    first = 32000 if vocabulary > 32000 else vocabulary - 4
    return {"<image>": first, "<video>": first + 1, "<pad>": first + 2}


def untrained(text: Mapping[str, Any], vision: Mapping[str, Any], specials: dict[str, int], implementation: str) -> Any:
    """The network with random weights, in torch's default type and on its default device.

    Args:
        text, vision: arguments for transformers' configurations.
        specials: ids of `<image>` and `<video>`.
    """
    return VideoLlavaForConditionalGeneration._from_config(_config(text, vision, specials), attn_implementation=implementation)


def _config(text: Mapping[str, Any], vision: Mapping[str, Any], specials: dict[str, int]) -> VideoLlavaConfig:
    return VideoLlavaConfig(
        text_config=dict(text),
        vision_config=dict(vision),
        image_token_index=specials["<image>"],
        video_token_index=specials["<video>"],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )


def processor(tokenizer: Any, patch_size: int) -> Any:
    """The released model's processor, with another tokenizer."""
    return VideoLlavaProcessor(VideoLlavaImageProcessor(), VideoLlavaVideoProcessor(), tokenizer, patch_size=patch_size)


def from_folder(folder: Path, implementation: str, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The network of a checkpoint folder, and its processor. Raises UserError if the folder is damaged."""
    read_config(folder, "video-llava", VIDEO_LLAVA)
    require_usual_names(weight_files(folder))
    model = checkpoint.pretrained(VideoLlavaForConditionalGeneration, folder, implementation, dtype)
    with checkpoint.loading(folder):
        processor = VideoLlavaProcessor.from_pretrained(folder, local_files_only=True)
        require_fit(model, processor)
    _ask_for_fields(model)
    return model.eval().to(device), processor


def _ask_for_fields(model: Any) -> None:
    """Whatever config.json has for `return_dict`: transformers' own code fails where a part of the model gives a plain tuple."""
    for module in model.modules():
        if hasattr(module, "config"):
            module.config.return_dict = True


def require_fit(model: Any, processor: Any) -> None:
    """Raises ValueError unless the processor puts one `<video>` into the prompt for each visual token of the model.

    Otherwise features would be dropped, or none be inserted, without a word.
    """
    if processor.video_token_id != model.config.video_token_id:
        raise ValueError(f"the tokenizer's <video> is {processor.video_token_id} and the model's is {model.config.video_token_id}")
    places, tokens = places_per_frame(processor), checkpoint.tokens_per_image(model.config.vision_config)
    if places != tokens:
        raise ValueError(f"the processor puts {places} places for a frame into the prompt, and the model makes {tokens} tokens of one")
    used_layers(model.config)
