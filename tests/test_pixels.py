"""The direct path against the Hugging Face processors, on odd shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor, VideoLlavaVideoProcessor

from evbench.errors import UserError
from evbench.pipelines.preprocess.pixels import Recipe, pixel_values


def noise(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(1080, 1440), (480, 640), (640, 272), (225, 401), (224, 224), (97, 31), (33, 300)])
@pytest.mark.parametrize("frames", [1, 8])
def test_video_pixels_equal_the_processor(height: int, width: int, frames: int) -> None:
    processor = VideoLlavaVideoProcessor()
    clip = noise(frames, height, width, 3)
    expected = processor(clip, return_tensors="pt")["pixel_values_videos"][0]
    made = pixel_values(clip, Recipe.of(processor), "cpu", torch.float32)
    assert made.shape == expected.shape == (frames, 3, 224, 224)
    quantum = 1 / 255 / min(processor.image_std)
    difference = (made - expected).abs()
    assert difference.max() <= quantum * 1.001, "at most one step of the uint8 that the resize returns"
    assert (difference > 1e-6).float().mean() < 0.001


@pytest.mark.parametrize(("height", "width"), [(480, 640), (336, 336), (481, 333)])
def test_event_pixels_equal_the_processor(height: int, width: int) -> None:
    processor = CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    images = noise(5, height, width, 3)
    expected = torch.stack([processor(image, return_tensors="pt")["pixel_values"][0] for image in images])
    made = pixel_values(torch.from_numpy(images), Recipe.of(processor), "cpu", torch.float32)
    assert (made - expected).abs().max() <= 1.001 / 255 / min(processor.image_std)


def test_the_type_is_that_of_the_model() -> None:
    made = pixel_values(noise(1, 30, 40, 3), Recipe.of(VideoLlavaVideoProcessor()), "cpu", torch.bfloat16)
    assert made.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "change", [{"do_resize": False}, {"do_normalize": False}, {"resample": 2}, {"size": {"height": 224, "width": 224}}]
)
def test_a_processor_that_does_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="use preprocess=processor"):
        Recipe.of(VideoLlavaVideoProcessor(**change))
