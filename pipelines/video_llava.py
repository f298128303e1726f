"""Video-LLaVA, the Hugging Face port: eight frames of a clip and a question in, an answer out.

The port differs from the original network: it has no temporal attention between frames (PKU-YuanGroup/Video-LLaVA issue 223).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
    VideoLlavaImageProcessor,
    VideoLlavaProcessor,
    VideoLlavaVideoProcessor,
)

from evbench.errors import UserError
from evbench.pipelines import attention
from evbench.pipelines.capture import Replayed
from evbench.pipelines.checkpoints import checkpoint, presets
from evbench.pipelines.checkpoints.folder import read_config, weight_files
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.loops import GENERATORS
from evbench.pipelines.load.decoders import decoder
from evbench.pipelines.load.video import DecodeMany, Frames
from evbench.pipelines.preprocess.dali_pixels import DaliValues
from evbench.pipelines.preprocess.pixels import FusedValues, PixelValues, Recipe, exact_values, pixel_values, quantum
from evbench.pipelines.preprocess.question import kept
from evbench.pipelines.vision.clip import FusedClip, Steps, kernel_steps, torch_steps
from evbench.results import Work, Workload
from evbench.stages import Generation, Mark
from evbench.variants.choices import Variant


@dataclass(frozen=True)
class Inputs:
    """What the processor makes of frames and question."""

    pixels: torch.Tensor
    """[1, frames, 3, 224, 224] in the model's dtype, on its device."""
    tokens: torch.Tensor
    """[1, prompt] int64; one `<video>` id for each visual token."""

    def values(self) -> torch.Tensor:
        return self.pixels[0]

    def holding(self, values: torch.Tensor) -> Inputs:
        return dataclasses.replace(self, pixels=values[None])

    def prompt(self) -> tuple[int, ...]:
        return tuple(self.tokens[0].tolist())


@dataclass(frozen=True)
class Features:
    """What the language model is given."""

    visual: torch.Tensor
    """[frames, 257, hidden]: projected; the class token of each frame is kept."""
    tokens: torch.Tensor
    """[1, prompt]."""

    def values(self) -> torch.Tensor:
        return self.visual

    def holding(self, values: torch.Tensor) -> Features:
        return dataclasses.replace(self, visual=values)


Preprocess = Callable[[Frames, str], Inputs]
Encode = Callable[[torch.Tensor], torch.Tensor]
"""[1, frames, 3, height, width] -> [frames, tokens, hidden]."""


class VideoLlava:
    """The four stages of Video-LLaVA, each done as the variant chose."""

    def __init__(self, variant: Variant, workload: Workload, dtype: str | None = None) -> None:
        """`dtype` to compute in another type than the workload's, with the same weights."""
        self.model, self._processor = _make(variant, workload)
        self.parameters = checkpoint.parameter_count(self.model)
        self.weights_fingerprint = checkpoint.fingerprint(self.model)
        if dtype is not None:
            self.model.to(getattr(torch, dtype))
            workload = dataclasses.replace(workload, dtype=dtype)
        self._workload = workload
        self.image_processor = self._processor.video_processor
        self.quantum = quantum(self.image_processor)
        self.tower, self.used_layers = self.model.model.video_tower, _used_layers(self.model)
        self.decoder = self.model.model.language_model
        self._decode = decoder(variant.decode)
        self._decode_many: DecodeMany | None = getattr(self._decode, "many", None)
        self.load_many = None if self._decode_many is None else self._load_many
        self._preprocess = PREPROCESSORS[variant.preprocess](self._processor, workload)
        attention.require(variant.attention, self._heads(), workload.device, getattr(torch, workload.dtype))
        self._encode = ENCODERS[variant.vision](self.model, variant)
        end_token = self._processor.tokenizer.eos_token_id
        self._language = LanguageModel(self.model, self.decoder, self.model.lm_head, end_token, workload.stop_at_end)
        self._generate = GENERATORS[variant.generate](self._language, variant)

    def load(self, path: Path, /) -> tuple[Frames, Work]:
        frames = self._decode(path, self._workload.frames, self._workload.frame_policy)
        return frames, _loading(frames)

    def _load_many(self, paths: Sequence[Path], /) -> list[tuple[Frames, Work]]:
        assert self._decode_many is not None
        several = self._decode_many(paths, self._workload.frames, self._workload.frame_policy)
        return [(frames, _loading(frames)) for frames in several]

    @torch.inference_mode()
    def preprocess(self, loaded: Frames, /) -> tuple[Inputs, Work]:
        inputs = self._preprocess(loaded, self._workload.prompt)
        self._language.require_room(inputs.tokens.shape[1], self._workload.new_tokens)
        return inputs, Work(pixel_shape=tuple(inputs.pixels.shape), prompt_tokens=inputs.tokens.shape[1])

    @torch.inference_mode()
    def vision(self, inputs: Inputs, /) -> tuple[Features, Work]:
        visual = self._encode(inputs.pixels)
        work = Work(visual_tokens=visual.shape[0] * visual.shape[1], dtype=checkpoint.dtype_name(visual.dtype), attention=self._attention())
        return Features(visual, inputs.tokens), work

    @torch.inference_mode()
    def generate(self, features: Features, new_tokens: int, mark: Mark, /) -> tuple[Generation, Work]:
        tokens = self._generate(self._fuse(features), new_tokens, mark)
        text = self._processor.tokenizer.decode(tokens, skip_special_tokens=True)
        work = Work(new_tokens=len(tokens), stop=self._language.stop_reason(tokens), dtype=checkpoint.dtype_name(features.visual.dtype))
        return Generation(tuple(tokens), text), work

    @torch.inference_mode()
    def teacher_forced_logits(self, features: Features, tokens: Sequence[int], /) -> torch.Tensor:
        return self._generate.teacher_forced_logits(self._fuse(features), tokens)

    def _fuse(self, features: Features) -> torch.Tensor:
        """Text embeddings with the visual features in the places of `<video>`: [1, prompt, hidden]."""
        embeddings = self.model.get_input_embeddings()(features.tokens)
        places = (features.tokens == self.model.config.video_token_id).unsqueeze(-1)
        return torch.as_tensor(embeddings.masked_scatter(places, features.visual.to(embeddings.dtype)))

    def _attention(self) -> str:
        return checkpoint.attention_name(self.model.config.vision_config, self.model.config.text_config)

    def _heads(self) -> list[tuple[int, int, int]]:
        return checkpoint.heads(self.model.config.vision_config, self.model.config.text_config)


def _loading(frames: Frames) -> Work:
    height, width = frames.pixels.shape[1:3]
    return Work(frame_indices=frames.indices, frame_seconds=frames.seconds, frame_height=height, frame_width=width, decoder=frames.decoder)


def as_processor(processor: Any, workload: Workload) -> Preprocess:
    """Frames and question through the Hugging Face processor, as its documentation does it."""

    def preprocess(frames: Frames, prompt: str) -> Inputs:
        clip = frames.values()
        clip = clip.permute(0, 3, 1, 2) if isinstance(clip, torch.Tensor) else clip
        made = processor(text=question(prompt), videos=clip, return_tensors="pt")
        dtype = getattr(torch, workload.dtype)
        return Inputs(made["pixel_values_videos"].to(workload.device, dtype), made["input_ids"].to(workload.device))

    return preprocess


def direct(processor: Any, workload: Workload) -> Preprocess:
    """The same numbers without the copies. `<video>` is tokenized once and repeated, not written out 2,056 times."""
    return _with(pixel_values, processor, workload)


def exact(processor: Any, workload: Workload) -> Preprocess:
    """The same without rounding: for the reference."""
    return _with(exact_values, processor, workload)


def fused(processor: Any, workload: Workload) -> Preprocess:
    """One kernel, which mends the colours too; and the question's tokens as they were made for the last sample."""
    values = FusedValues(Recipe.of(processor.video_processor), workload.device, getattr(torch, workload.dtype))
    return _asking(lambda frames: values(frames.pixels, frames.repair), kept(functools.partial(_tokens, processor, workload.device)))


def by_dali(processor: Any, workload: Workload) -> Preprocess:
    """An NVIDIA DALI pipeline; the question's tokens likewise."""
    values = DaliValues(Recipe.of(processor.video_processor), workload.device, getattr(torch, workload.dtype))
    return _asking(lambda frames: values(frames.values()), kept(functools.partial(_tokens, processor, workload.device)))


def _asking(values: Callable[[Frames], torch.Tensor], tokens: Callable[[str, int], torch.Tensor]) -> Preprocess:
    return lambda frames, prompt: Inputs(values(frames)[None], tokens(prompt, len(frames.indices)))


def _with(values: PixelValues, processor: Any, workload: Workload) -> Preprocess:
    recipe, dtype = Recipe.of(processor.video_processor), getattr(torch, workload.dtype)
    tokens = functools.partial(_tokens, processor, workload.device)
    return _asking(lambda frames: values(frames.values(), recipe, workload.device, dtype), tokens)


def _tokens(processor: Any, device: str, prompt: str, frames: int) -> torch.Tensor:
    """The question, with one `<video>` for each visual token: [1, prompt]."""
    ids: list[int] = processor.tokenizer(question(prompt))["input_ids"]
    place = ids.index(processor.video_token_id)
    visual = [processor.video_token_id] * (places_per_frame(processor) * frames)
    return torch.tensor([[*ids[:place], *visual, *ids[place + 1 :]]], device=device)


def places_per_frame(processor: Any) -> int:
    """How many `<video>` the processor puts into the prompt for a frame: one for each patch, and one for the class token."""
    crop = processor.video_processor.crop_size
    patches = (crop["height"] // processor.patch_size) * (crop["width"] // processor.patch_size)
    return int(patches + processor.num_additional_image_tokens)


PREPROCESSORS: dict[str, Callable[[Any, Workload], Preprocess]] = {
    "processor": as_processor,
    "direct": direct,
    "dali": by_dali,
    "triton": fused,
    "exact": exact,
}


def as_published(model: Any) -> Encode:
    """transformers' get_video_features: every layer of the tower runs, and the output before the last is taken."""

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(model.model.get_video_features(pixel_values_videos=pixels, return_dict=True).pooler_output)

    return encode


def used_layers(model: Any) -> Encode:
    """The same features from the layers that they need. Layer -2 of n is the output of layer n-1, so the last is left out."""
    tower, used = model.model.video_tower, _one_depth(model)

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        hidden = tower.pre_layrnorm(tower.embeddings(pixels.flatten(0, 1)))
        for layer in tower.encoder.layers[:used]:
            hidden = layer(hidden, attention_mask=None)
        return torch.as_tensor(model.model.multi_modal_projector(hidden))

    return encode


def _one_depth(model: Any) -> int:
    """The same. Raises UserError if the features are of several layers."""
    if not isinstance(model.config.vision_feature_layer, int):
        told = model.config.vision_feature_layer
        raise UserError(f"only vision=eager takes more than one vision_feature_layer, and config.json has {told}; choose that")
    return _used_layers(model)


def _used_layers(model: Any) -> int:
    """How many layers of the tower the features need. Raises IndexError if the tower has fewer."""
    chosen = model.config.vision_feature_layer
    states = range(len(model.model.video_tower.encoder.layers) + 1)  # hidden state 0 is the embedding
    return max(states[layer] for layer in ([chosen] if isinstance(chosen, int) else chosen))


def replayed(model: Any, steps: Steps) -> Encode:
    """The same with fused projections, as a CUDA graph."""
    tower = FusedClip(model.model.video_tower, _one_depth(model), steps)
    return Replayed(lambda pixels: torch.as_tensor(model.model.multi_modal_projector(tower(pixels.flatten(0, 1)))))


ENCODERS: dict[str, Callable[[Any, Variant], Encode]] = {
    "eager": lambda model, _: as_published(model),
    "batched": lambda model, _: used_layers(model),
    "compile": lambda model, _: torch.compile(used_layers(model), fullgraph=True, dynamic=False),
    "graph": lambda model, variant: replayed(model, torch_steps(model.model.video_tower, attention.ATTEND[variant.attention])),
    "fused": lambda model, _: replayed(model, kernel_steps(model.model.video_tower)),
}


def question(prompt: str) -> str:
    return f"USER: <video>\n{prompt} ASSISTANT:"


def _make(variant: Variant, workload: Workload) -> tuple[Any, Any]:
    dtype = getattr(torch, workload.dtype)
    folder = presets.checkpoint_folder(workload)
    if folder is not None:
        return _from_folder(folder, attention.implementation(variant.attention), workload.device, dtype)
    preset = presets.PRESETS["video-llava"][str(workload.preset)]
    vocabulary = preset["text"]["vocab_size"]
    specials = presets.special_tokens(vocabulary)
    with checkpoint.seeded(workload.seed or 0, workload.device, dtype):
        model = untrained(preset["text"], preset["vision"], specials, attention.implementation(variant.attention))
    return model.eval(), processor(presets.byte_tokenizer(vocabulary, specials), preset["vision"]["patch_size"])


def untrained(text: dict[str, Any], vision: dict[str, Any], specials: dict[str, int], implementation: str) -> Any:
    """The network with random weights, in torch's default type and on its default device.

    Args:
        text, vision: arguments for transformers' configurations.
        specials: ids of `<image>` and `<video>`.
    """
    config = VideoLlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=specials["<image>"],
        video_token_index=specials["<video>"],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    return VideoLlavaForConditionalGeneration._from_config(config, attn_implementation=implementation)


def processor(tokenizer: Any, patch_size: int) -> Any:
    """The released model's processor, with another tokenizer."""
    return VideoLlavaProcessor(VideoLlavaImageProcessor(), VideoLlavaVideoProcessor(), tokenizer, patch_size=patch_size)


def _from_folder(folder: Path, implementation: str, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    read_config(folder, "video-llava")
    weight_files(folder)
    with checkpoint.loading(folder):
        model, info = VideoLlavaForConditionalGeneration.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=implementation,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # reported below, with both shapes
            output_loading_info=True,
        )
    checkpoint.refuse_mismatch(folder, sorted(info["missing_keys"]), sorted(info["unexpected_keys"]), sorted(info["mismatched_keys"]))
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

    Otherwise features would be dropped, or none be put in, without a word.
    """
    if processor.video_token_id != model.config.video_token_id:
        raise ValueError(f"the tokenizer's <video> is {processor.video_token_id} and the model's is {model.config.video_token_id}")
    places, tokens = places_per_frame(processor), checkpoint.tokens_per_image(model.config.vision_config)
    if places != tokens:
        raise ValueError(f"the processor puts {places} places for a frame into the prompt, and the model makes {tokens} tokens of one")
    _used_layers(model)
