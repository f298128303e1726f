"""Event images by DALI against PIL. DALI unpacks PNG on the CPU, here as on a GPU; there the pixels end in its memory."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from evbench.errors import UserError
from evbench.inputs import sample
from evbench.pipelines.load import decoders, png
from evbench.pipelines.load.dali_images import DaliImages
from evbench.pipelines.preprocess.dali_pixels import DaliValues
from evbench.pipelines.preprocess.image_processor import image_processor
from evbench.pipelines.preprocess.pixels import Recipe, exact_values, quantum
from tests.devices import DEVICE

pytest.importorskip("nvidia.dali")
pytestmark = pytest.mark.device


def noise(mode: str = "RGB", height: int = 37, width: int = 51) -> Image.Image:
    levels = np.random.default_rng(len(mode)).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    return Image.fromarray(levels[..., 0] if mode == "L" else levels, mode)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    return exif


def brighter() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (30000).to_bytes(4, "big"))
    return info


SAVED: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "RGB": (noise(), {}),
    "1x1": (noise("RGB", 1, 1), {}),
    "grey": (noise("L"), {}),
    "palette": (noise().convert("P"), {}),
    "1 bit": (noise("L").convert("1"), {}),
    "alpha": (noise("RGBA"), {}),
    "grey with alpha": (noise("LA"), {}),
    "palette with alpha": (noise().convert("P"), {"transparency": 3}),
    "a colour that is transparent": (noise(), {"transparency": (255, 255, 255)}),
    "another gamma": (noise(), {"pnginfo": brighter()}),
    "turned by its camera": (noise(), {"exif": turned()}),
}


def read(path: Path) -> list[np.ndarray]:
    pictures = DaliImages(DEVICE)(path).pixels
    assert all(isinstance(picture, torch.Tensor) and picture.device.type == DEVICE for picture in pictures)
    return [torch.as_tensor(picture).cpu().numpy() for picture in pictures]


def require_those_of_pil(path: Path) -> None:
    for one, other in zip(read(path), png.read_plain(path).pixels, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", SAVED)
def test_every_kind_of_png_is_read_as_pil_reads_it(name: str, tmp_path: Path) -> None:
    picture, options = SAVED[name]
    picture.save(tmp_path / "0.png", **options)
    require_those_of_pil(tmp_path)


def test_the_images_of_a_sample_are_those_of_pil_also_where_they_differ_in_size(tmp_path: Path) -> None:
    require_those_of_pil(sample.EVENTS)
    for number, (picture, options) in enumerate(SAVED.values()):
        picture.save(tmp_path / f"{number}.png", **options)
    require_those_of_pil(tmp_path)


@pytest.mark.parametrize(("colours", "bits"), [(2, 1), (4, 2), (12, 4)])
def test_a_small_palette_is_refused(colours: int, bits: int, tmp_path: Path) -> None:
    noise().quantize(colours).save(tmp_path / "0.png", bits=bits)
    with pytest.raises(UserError, match=rf"0\.png has a palette of {bits} bits, and DALI gets such wrong on a GPU; use decode=threaded"):
        DaliImages(DEVICE)(tmp_path)


def test_a_pipeline_serves_several_samples_and_what_it_made_stays() -> None:
    decode = DaliImages(DEVICE)
    made = [decode(path) for path in (sample.EVENTS, sample.OTHER_EVENTS)]
    for one, path in zip(made, (sample.EVENTS, sample.OTHER_EVENTS), strict=True):
        assert np.array_equal(torch.as_tensor(one.values()).cpu().numpy(), png.read_plain(path).values())
    assert len(decode._pipelines) == 1


def png_bytes(levels: np.ndarray, colours: int) -> bytes:
    """A PNG of 16 bits: [height, width, channels] -> its bytes. `colours` as in its header."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = levels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("channels", "colours"), [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_16_bits_are_refused_by_every_reader(channels: int, colours: int, tmp_path: Path) -> None:
    """PIL would take the upper 8, and DALI round."""
    (tmp_path / "0.png").write_bytes(png_bytes(np.random.default_rng(0).integers(0, 2**16, (5, 7, channels)), colours))
    for choice in ("plain", "threaded", "dali"):
        with pytest.raises(UserError, match=r"0\.png has more than 8 bits per channel"):
            decoders.reader(choice, DEVICE)(tmp_path)


def damaged(content: bytes, way: str) -> bytes:
    middle = len(content) // 2
    return {
        "cut off": content[:middle],
        "a bit flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "no picture": b"\x89PNG\r\n\x1a\n",
        "empty": b"",
        "a wrong checksum": content[:-16] + bytes([content[-16] ^ 1]) + content[-15:],
        "no end": content[:-12],
    }[way]


@pytest.mark.parametrize("way", ["cut off", "a bit flipped", "no picture", "empty", "a wrong checksum"])
def test_a_damaged_image_is_named(way: str, tmp_path: Path) -> None:
    decode = DaliImages(DEVICE)
    for number in range(3):
        noise().save(tmp_path / f"{number}.png")
    whole = (tmp_path / "1.png").read_bytes()
    decode(tmp_path)
    (tmp_path / "1.png").write_bytes(damaged(whole, way))
    with pytest.raises(UserError, match=r"/1\.png[ :]") as caught:
        decode(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "1.png").write_bytes(whole)
    assert np.array_equal(torch.as_tensor(decode(tmp_path).values()).cpu().numpy(), png.read_plain(tmp_path).values()), "and it goes on"


def test_an_image_that_only_dali_refuses_is_told_with_a_reader_that_does_not(tmp_path: Path) -> None:
    for number in range(3):
        noise().save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(damaged((tmp_path / "1.png").read_bytes(), "no end"))
    assert png.read_plain(tmp_path)
    with pytest.raises(UserError, match=r"/1\.png: DALI cannot decode it .*; use decode=threaded"):
        DaliImages(DEVICE)(tmp_path)


def test_pictures_of_several_sizes_go_through_one_pipeline() -> None:
    processor = image_processor(32)
    recipe = Recipe.of(processor)
    pictures = [np.array(noise("RGB", *size)) for size in ((37, 51), (64, 33), (40, 40), (37, 51))]
    values = DaliValues(recipe, DEVICE, torch.float32)
    made = values(pictures).cpu()
    assert made.shape == (4, 3, 32, 32)
    exact = torch.cat([exact_values(picture[None], recipe, "cpu", torch.float32) for picture in pictures])
    # DALI rounds to 8 bits between rows and columns, as the processor does.
    assert (made - exact).abs().mean() < 0.5 * quantum(processor)
    assert torch.equal(made[0], made[3])
    assert torch.equal(values(np.stack(pictures[:1] * 4)).cpu()[0], made[0]), "whatever is beside it"
    assert len(values._pipelines) == 1
