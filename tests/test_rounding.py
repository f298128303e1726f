"""How FFmpeg rounds, against a clip that it converts."""

from __future__ import annotations

import av
import numpy as np
import pytest

from evbench.colours import BT601, BT709, to_rgb
from evbench.inputs import sample
from evbench.pipelines.load.rounding import rounding


def test_it_is_that_of_a_real_clip() -> None:
    with av.open(str(sample.CLIP)) as container:
        frame = next(container.decode(video=0))
    assert (frame.format.name, int(frame.colorspace), int(frame.color_range)) == ("yuv420p", 1, 1)
    planes = [np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width] for plane in frame.planes]
    luma, *chroma = (plane.astype(np.float64) for plane in planes)
    coded = np.stack([(luma - 16) * 255 / 219, *((plane.repeat(2, 0).repeat(2, 1) - 128) * 255 / 224 for plane in chroma)], axis=-1)
    right, made = coded @ to_rgb(*BT709).T, frame.to_ndarray(format="rgb24")
    inside = ((right > 8) & (right < 247)).all(axis=-1)
    assert inside.mean() > 0.5
    assert np.abs((made - right)[inside].mean(axis=0) - rounding("yuv420p", BT709, 1, full=False)).max() < 0.2


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv420p10le"])
def test_it_is_downwards_and_small(pixel_format: str) -> None:
    for matrix, colorspace in ((BT601, 6), (BT709, 1)):
        found = rounding(pixel_format, matrix, colorspace, full=pixel_format == "yuvj420p")
        assert ((found < 0) & (found > -2.5)).all()
