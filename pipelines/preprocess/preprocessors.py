"""How loaded images and the question become a model's input: by the Hugging Face processor, or by one of evbench's ways around it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch

from evbench.choices import Variant
from evbench.colours import Affine
from evbench.pipelines.preprocess.choices import PREPROCESS
from evbench.pipelines.preprocess.dali_pixels import DaliValues
from evbench.pipelines.preprocess.pixels import Pixels, PixelValues, Recipe, exact_values, pixel_values
from evbench.pipelines.preprocess.replayed import FusedImages
from evbench.results import Workload


class Images(Protocol):
    """What `load` returns: video frames or event images, in order of time."""

    def __len__(self) -> int: ...

    def each(self) -> Sequence[Pixels]:
        """Every image, [height, width, 3] RGB uint8."""

    def batches(self) -> Iterator[Pixels]:
        """Neighbours of one size together: [images, height, width, 3] RGB uint8."""

    def raw_batches(self) -> Iterator[tuple[Pixels, Affine | None]]:
        """Batches in the form that needs no further work: as the decoder made them, with the repair of their colours that is still due;
        or of event images that are not painted the last events, [images, height, width] int32."""


class Published(Protocol):
    """A model with a processor of transformers."""

    def published(self, images: Any, prompt: str, /, **options: Any) -> Any:
        """The model's input as the released code makes it, with transformers' processor. options: of its call."""


class Tokenized(Published, Protocol):
    """A model, as far as preprocessing needs it that goes around the processor."""

    @property
    def image_processor(self) -> Any:
        """transformers' image or video processor."""

    def tokens(self, prompt: str, images: int, /) -> Any:
        """The question's token ids, on the model's device, for so many images."""

    def inputs(self, pixels: torch.Tensor, tokens: Any, /) -> Any:
        """The model's input, of pixel values [images, 3, height, width] and what `tokens` returned."""


Preprocess = Callable[[Any, str], Any]
"""(images, prompt) -> the model's input."""


def preprocessor(model: Tokenized, variant: Variant, workload: Workload) -> Preprocess:
    """Preprocessing as the variant chooses it. Raises UserError if it cannot do what the model's processor does."""
    preprocess: Preprocess = PREPROCESS.implementation(variant["preprocess"])(model, workload)
    return preprocess


def processor(model: Published, workload: Workload) -> Preprocess:
    """Images and question through the Hugging Face processor, as the documentation of the model does it."""
    return model.published


def processor_gpu(model: Published, workload: Workload) -> Preprocess:
    """The Hugging Face processor, told to work on the model's device."""
    return functools.partial(model.published, device=workload.device)


def direct(model: Tokenized, workload: Workload) -> Preprocess:
    """The processor's numbers without its copies. Placeholders of the prompt are tokenized once and repeated, not spelled out."""
    return _by(pixel_values, model, workload)


def exact(model: Tokenized, workload: Workload) -> Preprocess:
    """In double precision, without rounding between the steps: for the reference."""
    return _by(exact_values, model, workload)


def triton(model: Tokenized, workload: Workload) -> Preprocess:
    """One kernel from the decoder's bytes, or from last events; the question's tokens are kept from the sample before."""
    values = fused_values(Recipe.of(model.image_processor), workload.device, getattr(torch, workload.dtype))
    return _joined(model, values, functools.cache(model.tokens))


def dali(model: Tokenized, workload: Workload) -> Preprocess:
    """An NVIDIA DALI pipeline; the question's tokens are kept from the sample before."""
    values = DaliValues(Recipe.of(model.image_processor), workload.device, getattr(torch, workload.dtype))
    return _joined(model, lambda images: values(images.each()), functools.cache(model.tokens))


def fused_values(recipe: Recipe, device: str, dtype: torch.dtype) -> Callable[[Images], torch.Tensor]:
    """Images -> [images, 3, crop, crop]: each batch of one size written to its place; event images are not painted for it."""
    fused = FusedImages(recipe, device, dtype, replays=device == "cuda")
    return lambda images: fused(len(images), list(images.raw_batches()))


def _by(values: PixelValues, model: Tokenized, workload: Workload) -> Preprocess:
    recipe, dtype = Recipe.of(model.image_processor), getattr(torch, workload.dtype)

    def of_images(images: Images) -> torch.Tensor:
        pixels = [values(batch, recipe, workload.device, dtype) for batch in images.batches()]
        return pixels[0] if len(pixels) == 1 else torch.cat(pixels)

    return _joined(model, of_images, model.tokens)


def _joined(model: Tokenized, values: Callable[[Images], torch.Tensor], tokens: Callable[[str, int], Any]) -> Preprocess:
    return lambda images, prompt: model.inputs(values(images), tokens(prompt, len(images)))
