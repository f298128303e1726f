"""The two networks in training, one class each: from scenes to pixel values, and from these to the inputs of the language model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig

from evbench.models import VIDEO_FRAMES
from evbench.pipelines import eventgpt, video_llava
from evbench.pipelines.checkpoints import checkpoint
from evbench.pipelines.checkpoints.presets import text_config, vision_config
from evbench.pipelines.load.event_images import SLICES
from evbench.pipelines.load.video import POLICIES
from evbench.pipelines.preprocess.image_processor import image_processor
from evbench.pipelines.preprocess.pixels import Recipe, pixel_values
from evbench.pipelines.vision.pooling import pool
from evbench.scenes.dataset import FRAMES_PER_SECOND
from evbench.training import batches
from evbench.training.batches import SECONDS, Batch, Studio

SPREAD = 0.05
"""Standard deviation of the initial weights of the language model."""


class Learner(Protocol):
    """A network, as the training loop uses it."""

    colours: bool
    """Whether it sees colour and the time of day, so that its captions name them."""
    llama: Any
    """The language model without its head. It takes inputs_embeds."""
    head: Any

    @property
    def model(self) -> nn.Module:
        """The whole network."""

    def draw(self, batch: Batch) -> torch.Tensor:
        """Pixel values as preprocessing returns them: [scenes, images, 3, edge, edge]."""

    def see(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Visual tokens [scenes, tokens, hidden], and hidden states [scenes, images, patches, hidden] for the auxiliary loss."""

    def shown(self, batch: Batch) -> torch.Tensor:
        """What each patch shows: [scenes, images, patches, traits]."""

    def prompt(self, question: str) -> tuple[list[int], list[int]]:
        """The prompt's tokens before the visual tokens, and those after them."""

    def layers(self) -> Iterable[nn.Module]:
        """The layers to compile."""

    def load(self, folder: Path) -> None:
        """Read the weights of a checkpoint folder. Raises UserError if they do not fit."""

    def save(self, folder: Path) -> None:
        """Write a checkpoint folder that `--weights` takes."""


class VideoLearner:
    """Video-LLaVA: eight frames."""

    colours = True

    def __init__(self, tokenizer: Any, text: dict[str, Any], vision: dict[str, Any], studio: Studio, device: str) -> None:
        self._studio = studio
        specials = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<image>", "<video>")}
        with torch.device(device):
            self.model = video_llava.untrained(text, vision, specials, "sdpa")
        self.llama, self.head = self.model.model.language_model, self.model.lm_head
        self._processor = video_llava.processor(tokenizer, vision["patch_size"])
        self._processor.video_processor.size = {"shortest_edge": vision["image_size"]}
        self._processor.video_processor.crop_size = {"height": vision["image_size"], "width": vision["image_size"]}
        self._video = specials["<video>"]
        self._edge, self._patches = vision["image_size"], vision["image_size"] // vision["patch_size"]
        self._vision = video_llava.Vision(self.model)
        recipe = Recipe.of(self._processor.video_processor)
        self._mean, self._std = (torch.tensor(value, device=device)[:, None, None] * 255 for value in (recipe.mean, recipe.std))
        count = round(SECONDS * FRAMES_PER_SECOND)
        self._seconds = [torch.tensor(choose(count, VIDEO_FRAMES), device=device) / FRAMES_PER_SECOND for choose in POLICIES.values()]

    def draw(self, batch: Batch) -> torch.Tensor:
        frames = self._studio.frames(batch.packed, self._moments(batch), self._edge)
        return (frames.round() - self._mean) / self._std

    def see(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = _apart(self._vision.features(self._vision.hidden_states(pixels.flatten(0, 1))), pixels)  # [scenes, frames, 257, hidden]
        return features.flatten(1, 2), features[:, :, 1:]

    def shown(self, batch: Batch) -> torch.Tensor:
        return batches.patch_traits(batch, self._moments(batch) - SECONDS / 2, self._patches)

    def _moments(self, batch: Batch) -> torch.Tensor:
        """[scenes, frames] seconds: the scenes take turns with the ways to choose frames, most of them evbench's own."""
        return torch.stack([self._seconds[index % 4 == 3] for index in range(len(batch.traits))])

    def prompt(self, question: str) -> tuple[list[int], list[int]]:
        ids: list[int] = self._processor.tokenizer(video_llava.question(question))["input_ids"]
        place = ids.index(self._video)
        return ids[:place], ids[place + 1 :]

    def layers(self) -> Iterable[nn.Module]:
        return [*self.model.model.video_tower.encoder.layers, *self.llama.layers]

    def load(self, folder: Path) -> None:
        self.model.load_state_dict(video_llava.from_folder(folder, "sdpa", "cpu", torch.float32)[0].state_dict())

    def save(self, folder: Path) -> None:
        # The image tower is not trained, and not used for a video. A copy at least fits the frames of these scenes.
        self.model.model.image_tower.load_state_dict(self.model.model.video_tower.state_dict())
        video_llava.save(self.model, self._processor, folder)


class EventLearner:
    """EventGPT: five event images."""

    colours = False

    def __init__(self, tokenizer: Any, text: dict[str, Any], vision: dict[str, Any], studio: Studio, device: str) -> None:
        self._tokenizer, self._studio, self._device = tokenizer, studio, device
        with torch.device(device):
            self.model = eventgpt.EventGPTModel(CLIPVisionConfig(**vision), LlamaConfig(**text), "sdpa")
        self.llama, self.head = self.model.language.model, self.model.language.lm_head
        self._recipe = Recipe.of(image_processor(vision["image_size"]))
        self._patches = vision["image_size"] // vision["patch_size"]

    def draw(self, batch: Batch) -> torch.Tensor:
        images = self._studio.event_images(batch.packed)
        flat = images.flatten(0, 1).permute(0, 2, 3, 1)
        return _apart(pixel_values(flat, self._recipe, self._device, torch.float32), images)

    def see(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = _apart(self.model.features(pixels.flatten(0, 1)), pixels)  # [scenes, images, 577, hidden]
        return torch.cat([pool(one) for one in features]), features[:, :, 1:]

    def shown(self, batch: Batch) -> torch.Tensor:
        middles = (torch.arange(SLICES, device=self._device) + 0.5) / SLICES * SECONDS
        return batches.patch_traits(batch, middles[None] - SECONDS / 2, self._patches)

    def prompt(self, question: str) -> tuple[list[int], list[int]]:
        return eventgpt.prompt_halves(self._tokenizer, question)

    def layers(self) -> Iterable[nn.Module]:
        return [*self.model.visual_tower.encoder.layers, *self.llama.layers]

    def load(self, folder: Path) -> None:
        self.model.load_state_dict(eventgpt.from_folder(folder, "sdpa", "cpu", torch.float32)[0].state_dict())

    def save(self, folder: Path) -> None:
        eventgpt.save(self.model, self._tokenizer, folder)


def _apart(flat: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """[scenes * images, ...] -> [scenes, images, ...]."""
    return flat.view(*like.shape[:2], *flat.shape[1:])


LEARNERS: dict[str, Callable[..., Learner]] = {"video-llava": VideoLearner, "eventgpt": EventLearner}
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "video-llava": {
        "text": {"hidden": 256, "layers": 4, "heads": 2, "intermediate": 256},
        "vision": {"image": 224, "hidden": 256, "layers": 5, "heads": 4, "intermediate": 128},
    },
    "eventgpt": {
        "text": {"hidden": 256, "layers": 4, "heads": 2, "intermediate": 512},
        "vision": {"image": 336, "hidden": 256, "layers": 6, "heads": 4, "intermediate": 256},
    },
}
"""What fits into 12 MB of bfloat16 and can be grown to 7 billion: widths that divide those of the released models, heads of their size.
Video-LLaVA carries two towers, and uses the last layer of neither."""


def new(
    model: str,
    tokenizer: Any,
    sizes: dict[str, dict[str, Any]],
    device: str,
    seed: int,
    *,
    compiled: bool,
    event_steps: int | None = None,
) -> Learner:
    """A network with random weights. `event_steps`: of its studio."""
    torch.manual_seed(seed)
    text, vision = text_config(len(tokenizer), **sizes["text"], spread=SPREAD), vision_config(**sizes["vision"])
    studio = Studio(device, seed, compiled=compiled, event_steps=event_steps)
    learner = LEARNERS[model](tokenizer, text, vision, studio, device)
    for layer in learner.layers() if compiled else ():
        layer.compile(dynamic=False)
    return learner


def parameter_count(learner: Learner) -> int:
    return checkpoint.parameter_count(learner.model)


def convert(learner: Learner, dtype: torch.dtype) -> None:
    """Its weights to a type. Not its buffers: in bfloat16 the frequencies of rotary embeddings are others."""
    for parameter in learner.model.parameters():
        parameter.data = parameter.data.to(dtype)
