"""Any video-language model of transformers, over the interface that its models have in common.

The processor makes pixel values and prompt tokens, and `get_video_features` (or `get_image_features`, where a video is a row of images)
visual features. `generate` gets the pixel values, and where the model asks for their features it is given those that are there: it puts
them among the embeddings of the prompt, and counts positions, as its own code does. Later versions of transformers divide the work so by
themselves (huggingface/transformers:src/transformers/generation/utils.py, `_prepare_multimodal_encoder_kwargs_for_generation`).
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jinja2 import TemplateError
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput
from transformers.video_utils import VideoMetadata

from evbench.choices import Variant
from evbench.errors import UserError, first_line
from evbench.pipelines.checkpoints import checkpoint
from evbench.pipelines.clip_llama import converted
from evbench.pipelines.clips import Clips
from evbench.pipelines.generate.language import LanguageModel
from evbench.pipelines.generate.loops import generator
from evbench.pipelines.interface import encoder, from_folder, lacking
from evbench.pipelines.load.video import Frames
from evbench.pipelines.preprocess.pixels import quantum
from evbench.pipelines.preprocess.preprocessors import processor as by_processor
from evbench.pipelines.preprocess.preprocessors import processor_gpu
from evbench.pipelines.vision.encoders import compile_tower
from evbench.results import Work, Workload
from evbench.stages import Generation, Sampler

PIXELS = {"pixel_values_videos": "video", "pixel_values": "image"}
"""What processors call pixel values -> what transformers calls such input."""
FEATURES = ("pooler_output", "deepstack_features")
"""Fields of an encoder's output that language models read: tensors [..., hidden], or several of them. The second is of Qwen3-VL: features
of earlier layers, for the first layers of the language model."""
PREPROCESSORS = {"processor": by_processor, "processor-gpu": processor_gpu, "exact": by_processor}
"""No processor computes in double precision. The reference takes its values as they are, before they are rounded to the model's type."""
TOWERS: Mapping[str, Callable[[Any], None]] = {"eager": lambda tower: None, "compile-tower": compile_tower}
"""Choice of `vision` -> what is done to the tower."""
PROVEN_TOKENS = 8
"""At most, of the two answers that are compared when a folder is loaded."""
NEAR_TIE = 0.125
"""Nats between two tokens of which either may be taken: on a GPU, attention that is not repeatable decides."""


@dataclass(frozen=True)
class Inputs:
    """What the processor makes of frames and question."""

    fields: Mapping[str, torch.Tensor]
    """Its tensors by their names, on the model's device; pixel values in the model's dtype. `input_ids` is [1, prompt] int64."""
    name: str
    """Of the pixel values: a key of PIXELS. They are [..., frames, 3, height, width], or [..., patches, 3 * numbers of a channel]."""

    @property
    def pixels(self) -> torch.Tensor:
        return self.fields[self.name]

    def values(self) -> torch.Tensor:
        """[frames, 3, height, width] or [patches, 3, numbers of a channel, 1]."""
        if self.pixels.ndim > 3:
            return self.pixels.flatten(0, -4)
        patches = self.pixels.flatten(0, -2)
        return patches.reshape(len(patches), 3, -1, 1)

    def holding(self, values: torch.Tensor) -> Inputs:
        return dataclasses.replace(self, fields={**self.fields, self.name: values.reshape(self.pixels.shape)})

    def prompt(self) -> tuple[int, ...]:
        return tuple(self.fields["input_ids"][0].tolist())


@dataclass(frozen=True)
class Features:
    """The input of the language model."""

    output: ModelOutput
    """Of the encoder: FEATURES and nothing else."""
    inputs: Inputs

    def values(self) -> torch.Tensor:
        """[visual tokens, hidden], one part behind the other."""
        return torch.cat([part.flatten(0, -2) for part in tensors(self.output)])

    def holding(self, values: torch.Tensor) -> Features:
        left = iter(torch.split(values, [part.shape[:-1].numel() for part in tensors(self.output)]))
        fields = {name: replaced(field, left) for name, field in self.output.items()}
        return dataclasses.replace(self, output=type(self.output)(**fields))

    @property
    def encoded(self) -> ModelOutput:
        """What it is given then."""
        return self.output


@dataclass(frozen=True)
class Unencoded:
    """The input of a language model whose features cannot be computed apart: what preprocessing made."""

    inputs: Inputs

    def values(self) -> torch.Tensor:
        """[frames or patches, their numbers]."""
        return self.inputs.values().flatten(1)

    def holding(self, values: torch.Tensor) -> Unencoded:
        return Unencoded(self.inputs.holding(values))

    @property
    def encoded(self) -> ModelOutput | None:
        """Nothing yet."""
        return None


def tensors(nested: Any) -> list[torch.Tensor]:
    """Of an output of transformers, a list or a tuple, at whatever depth: for each video, or for each layer and video."""
    if isinstance(nested, torch.Tensor):
        return [nested]
    return [one for part in (nested.values() if isinstance(nested, ModelOutput) else nested) for one in tensors(part)]


def replaced(nested: Any, values: Iterator[torch.Tensor]) -> Any:
    """The same lists and tuples with other tensors in their order, each in the shape of the one that it replaces."""
    if isinstance(nested, torch.Tensor):
        return next(values).reshape(nested.shape)
    return type(nested)([replaced(part, values) for part in nested])


class HandedOver:
    """In the place of a model's encoder, whenever the model calls it: gives what has been encoded, once, and encodes where nothing has."""

    def __init__(self, model: Any, modality: str) -> None:
        """Raises UserError if it has no such encoder."""
        self.encode = encoder(model, modality)
        self.output: ModelOutput | None = None
        functools.update_wrapper(self, self.encode)  # transformers reads from its signature which fields are the encoder's
        setattr(model.base_model, self.encode.__name__, self)

    def __call__(self, *given: Any, **named: Any) -> Any:
        output, self.output = self.output, None
        return self.encode(*given, **named) if output is None else output


@dataclass(frozen=True)
class AutoLanguage(LanguageModel):
    """A language model that gets token ids, and what the encoder made or will make."""

    encoders: Mapping[str, HandedOver]
    """Modality -> the encoder that the model calls."""

    def inputs(self, prompt: Features | Unencoded) -> Mapping[str, Any]:
        for one in self.encoders.values():
            one.output = prompt.encoded
        return prompt.inputs.fields

    def logits_at_once(self, prompt: Features | Unencoded, fed: Sequence[int]) -> torch.Tensor:
        given = dict(self.inputs(prompt))
        shape = given["input_ids"].shape
        behind = {"input_ids": list(fed), "attention_mask": [1] * len(fed)}
        for name, field in given.items():
            # [1, prompt], a number for each token. Of types of tokens, text is 0.
            if isinstance(field, torch.Tensor) and field.shape == shape:
                given[name] = torch.cat([field, field.new_tensor([behind.get(name, [0] * len(fed))])], dim=1)
        logits = self.whole(**given, use_cache=False, logits_to_keep=1 + len(fed)).logits  # [1, 1 + fed, vocabulary]
        return torch.as_tensor(logits[0, -1 - len(fed) :, None])


class Auto(Clips):
    """The four stages of a model that transformers knows, each as the variant chooses it."""

    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "load": ("frame", "row", "column", "channel"),
        "preprocess": ("frame or patch", "channel", "row", "column"),
        "vision": ("token", "feature"),
        "generate": ("position", "token"),
    }

    def __init__(self, variant: Variant, workload: Workload, dtype: str | None = None) -> None:
        """`dtype` to compute in another type than the workload's, with the same weights.

        Raises:
            UserError: the folder is damaged, transformers lacks what the stages or choices need of such a model, or its answer does not
                depend on the pictures.
        """
        super().__init__(variant, workload)
        assert workload.weights is not None
        folder = Path(workload.weights)
        self.model, processor = from_folder(folder, variant, workload)
        counted, self._workload = converted(self.model, workload, dtype)
        self.parameters, self.weights_fingerprint = counted.parameters, counted.fingerprint
        self.tower, self.decoder = self.model.get_encoder("video"), self.model.get_decoder()
        self.image_processor, self.tokenizer = processor.video_processor, processor.tokenizer
        config = self.model.config
        TOWERS[variant["vision"]](self.tower)
        self._configs = config.vision_config, config.get_text_config()
        with checkpoint.loading(folder):
            self.used_layers = checkpoint.used_layers(config)
            self.tower_layers, self.decoder_layers = map(checkpoint.layer_count, self._configs)
            self.quantum = quantum(self.image_processor)
        self._preprocess = PREPROCESSORS[variant["preprocess"]](Preprocessing(processor, self._workload), self._workload)
        head = self.model.get_output_embeddings()
        self._encoders: dict[str, HandedOver] = {}
        end = self.tokenizer.eos_token_id
        self._language = AutoLanguage(self.model, self.decoder, head, end, workload.stop_at_end, self._encoders)
        self._generate = generator(self._language, variant)
        with checkpoint.loading(folder):
            self._apart = self._leads_to_the_same()

    @torch.inference_mode()
    def preprocess(self, loaded: Frames, /) -> tuple[Inputs, Work]:
        inputs: Inputs = self._preprocess(loaded, self._workload.prompt)
        prompt = inputs.fields["input_ids"].shape[1]
        self._language.require_room(prompt, self._workload)
        return inputs, Work(pixel_shape=tuple(inputs.pixels.shape), prompt_tokens=prompt)

    @torch.inference_mode()
    def vision(self, inputs: Inputs, /) -> tuple[Features | Unencoded, Work]:
        if self._apart:
            return self._encoded(inputs)
        attention = checkpoint.attention_name(*self._configs)
        return Unencoded(inputs), Work(encoded_in="generate", dtype=self._workload.dtype, attention=attention)

    def _encoded(self, inputs: Inputs) -> tuple[Features, Work]:
        encode = self._encoder(PIXELS[inputs.name])
        taken = inspect.signature(encode).parameters
        # Some models call the pixel values of a video there as those of an image.
        renamed = {} if inputs.name in taken else {inputs.name: "pixel_values"}
        given = {renamed.get(name, name): field for name, field in inputs.fields.items()}
        output = encode(**{name: field for name, field in given.items() if name in taken}, return_dict=True)
        if not isinstance(output, ModelOutput):
            raise lacking(type(self.model), f"ModelOutput that {encode.__name__} returns, but a {type(output).__name__}")
        # Some put them into an output that has no such field, as an attribute.
        kept = {name: field for name in FEATURES if (field := getattr(output, name, None)) is not None}
        if FEATURES[0] not in kept:
            raise lacking(type(self.model), f"{FEATURES[0]} in what {encode.__name__} returns ({', '.join(output)})")
        has_fields = kept.keys() <= {field.name for field in dataclasses.fields(output)}
        features = Features((type(output) if has_fields else BaseModelOutputWithPooling)(**kept), inputs)
        of_last = tensors(kept[FEATURES[0]])
        tokens = sum(part.shape[:-1].numel() for part in of_last)
        names = checkpoint.dtype_name(of_last[0].dtype), checkpoint.attention_name(*self._configs)
        return features, Work(visual_tokens=tokens, dtype=names[0], attention=names[1])

    def _encoder(self, modality: str) -> Callable[..., Any]:
        """Raises UserError if the model has none."""
        if modality not in self._encoders:
            self._encoders[modality] = HandedOver(self.model, modality)
        return self._encoders[modality].encode

    @torch.inference_mode()
    def generate(self, features: Features | Unencoded, new_tokens: int, sampler: Sampler, /) -> tuple[Generation, Work]:
        tokens = self._generate(features, new_tokens, sampler)
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        prompt = features.inputs.fields["input_ids"].shape[1]
        work = Work(prompt_tokens=prompt, new_tokens=len(tokens), stop=self._language.stop_reason(tokens))
        return Generation(tuple(tokens), text), work

    @torch.inference_mode()
    def _leads_to_the_same(self) -> bool:
        """Whether features that are computed apart lead to the tokens of the model as a whole, so that vision is a stage of its own.

        Raises:
            UserError: the answer is the same whatever the pictures are.
        """
        inputs, _ = self.preprocess(noise(self._workload))
        features, whole = self._encoded(inputs)[0], Unencoded(inputs)
        tokens = min(PROVEN_TOKENS, self._workload.new_tokens)
        split, fused, other = Sampler(keep={0}), Sampler(keep=range(tokens)), Sampler(keep={0})
        apart = self._generate(features, tokens, split)
        taken = all(one.output is None for one in self._encoders.values())
        together = self._generate(whole, tokens, fused)
        # One that ends earlier has ended with another token.
        place = next((place for place, (one, both) in enumerate(zip(apart, together, strict=False)) if one != both), None)
        same = taken and (place is None or float(fused.kept[place][0, together[place]] - fused.kept[place][0, apart[place]]) <= NEAR_TIE)
        seen = features if same else whole
        self._generate(seen.holding(-seen.values()), 1, other)
        if torch.equal((split if same else fused).kept[0], other.kept[0]):
            reason = f"{type(self.model).__name__} answers the same whatever the visual features are"
            raise UserError(f"--weights {self._workload.weights}: {reason}; use the processor and chat template of these weights")
        return same


class Preprocessing:
    """Frames and question -> Inputs: see evbench.pipelines.preprocess.preprocessors.Published."""

    def __init__(self, processor: Any, workload: Workload) -> None:
        self._processor, self._device, self._dtype = processor, workload.device, getattr(torch, workload.dtype)

    def published(self, frames: Frames, prompt: str, /, **options: Any) -> Inputs:
        clip = torch.as_tensor(frames.values()).permute(0, 3, 1, 2)  # [frames, 3, height, width] uint8
        found = self._processor(
            text=[question(self._processor, prompt)],
            videos=[clip],
            video_metadata=[metadata(frames)],
            do_sample_frames=False,  # which frames a model gets is evbench's to say
            return_tensors="pt",
            **options,
        )
        names = [name for name in PIXELS if name in found]
        if len(names) != 1:
            raise ValueError(f"the processor makes {' and '.join(found)} of a video, and pixel values are called {' or '.join(PIXELS)}")
        fields = {name: field.to(self._device) for name, field in found.items() if isinstance(field, torch.Tensor)}
        return Inputs({**fields, names[0]: fields[names[0]].to(self._dtype)}, names[0])


def question(processor: Any, prompt: str) -> str:
    """A video and the question, as the model's chat template puts them. transformers fills it in inside of Jinja's sandbox.

    Raises:
        UserError: it is none, or refuses that.
    """
    content = [{"type": "video"}, {"type": "text", "text": prompt}]
    try:
        return str(processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False))
    except TemplateError as error:
        reason = f"the chat template beside the weights takes no video and question ({first_line(error)})"
        raise UserError(f"{reason}; copy chat_template.jinja again") from error


def metadata(frames: Frames) -> VideoMetadata:
    """What processors ask of a video: those that put times into the prompt compute them of indices and rate."""
    if len(frames) == 1:
        raise UserError("the processor asks for the rate of the frames, and --frames 1 has none; give 2 or more")
    seconds = frames.seconds[-1] - frames.seconds[0]
    if seconds <= 0:
        raise UserError("all frames of the clip are of one time, and the processor asks for their rate; give a longer clip")
    rate = (frames.indices[-1] - frames.indices[0]) / seconds
    total = frames.indices[-1] + 1  # no more of the clip is known to have been read
    height, width = frames.pixels.shape[1:3]
    return VideoMetadata(
        total_num_frames=total, fps=rate, width=width, height=height, duration=total / rate, frames_indices=list(frames.indices)
    )


def noise(workload: Workload) -> Frames:
    """Frames of no clip, of the size of the first sample."""
    sample, count = workload.samples[0], workload.frames
    pixels = torch.randint(256, (count, sample.height, sample.width, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Frames(pixels.numpy(), tuple(range(count)), tuple(float(index) for index in range(count)), "none")
