from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from evbench.errors import UserError
from evbench.inputs import sample
from evbench.pipelines.load import png


def test_both_readers_return_the_images_in_order() -> None:
    plain, threaded = png.read_plain(sample.EVENTS), png.read_threaded(sample.EVENTS)
    assert len(plain.pixels) == 5
    for index, (one, other) in enumerate(zip(plain.pixels, threaded.pixels, strict=True)):
        assert np.array_equal(one, other)
        assert np.array_equal(one, np.array(Image.open(sample.EVENTS / f"{index}.png")))


def test_files_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 0, 2):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
    assert [int(image[0, 0, 0]) for image in png.read_plain(tmp_path).pixels] == [0, 2, 9, 10]
    assert png.probe(tmp_path / "9.png")[0] == 1


def test_numbers_inside_names_count_and_hidden_files_do_not(tmp_path: Path) -> None:
    for number in (13, 1, 10, 4, 7):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"event_{number}.png")
    (tmp_path / "._event_1.png").write_bytes(b"left by a file manager")
    assert [int(image[0, 0, 0]) for image in png.read_plain(tmp_path).pixels] == [1, 4, 7, 10, 13]


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "1"])
def test_other_8_bit_pngs_are_read_as_rgb(mode: str, tmp_path: Path) -> None:
    Image.open(sample.EVENTS / "0.png").convert(mode).save(tmp_path / "0.png")
    (image,) = png.read_plain(tmp_path).pixels
    assert image.shape == (480, 640, 3)
    assert len(np.unique(image)) > 1


def broken(folder: Path, case: str) -> Path:
    match case:
        case "missing":
            return folder / "none"
        case "empty folder":
            return folder
        case "empty file":
            (folder / "0.png").touch()
        case "jpeg":
            Image.new("RGB", (4, 4)).save(folder / "0.png", format="JPEG")
        case "sizes":
            Image.new("RGB", (4, 4)).save(folder / "0.png")
            Image.new("RGB", (4, 5)).save(folder / "1.png")
        case "16 bits":
            Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(folder / "0.png")
        case "dangling link":
            (folder / "0.png").symlink_to(folder / "gone.png")
        case "truncated":
            content = (sample.EVENTS / "0.png").read_bytes()
            (folder / "0.png").write_bytes(content[: len(content) // 2])
        case "many":
            for index in range(png.LIMIT + 1):
                Image.new("RGB", (4, 4)).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("missing", "no such file or folder"),
        ("empty folder", "holds no PNG"),
        ("empty file", "is empty"),
        ("jpeg", "is no PNG image"),
        ("sizes", "differ in size"),
        ("truncated", "damaged PNG"),
        ("16 bits", "more than 8 bits per channel"),
        ("dangling link", "points to nothing"),
        ("many", "holds 65 PNGs"),
    ],
)
def test_broken_event_images_are_refused_in_one_line(case: str, told: str, tmp_path: Path) -> None:
    path = broken(tmp_path, case)
    with pytest.raises(UserError) as caught:
        png.probe(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    if case == "truncated":
        for read in (png.read_plain, png.read_threaded):
            with pytest.raises(UserError, match=told):
                read(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_pictures_that_show_what_is_behind_them_are_refused(mode: str, tmp_path: Path) -> None:
    picture = Image.new("RGBA", (6, 4), (255, 0, 0, 255))
    if mode == "P":
        picture.convert("RGB").convert("P").save(tmp_path / "0.png", transparency=bytes([0] * 256))
    else:
        picture.putpixel((2, 3), (0, 0, 0, 254))
        picture.convert(mode).save(tmp_path / "0.png")
    with pytest.raises(
        UserError, match=r"0\.png is transparent in places, and a model is given colours only; render event images on white"
    ):
        png.probe(tmp_path)
    Image.new("RGBA", (6, 4), (255, 0, 0, 255)).save(tmp_path / "0.png")
    assert png.probe(tmp_path) == (1, 4, 6)


def test_damaged_chunks_of_a_png_are_told_with_the_file(tmp_path: Path) -> None:
    whole = bytearray((sample.EVENTS / "0.png").read_bytes())
    file = tmp_path / "0.png"
    for place in range(8, 60):
        damaged = bytes([*whole[:place], whole[place] ^ 0x21, *whole[place + 1 :]])
        for content in (damaged, bytes(whole[:place])):
            file.write_bytes(content)
            try:
                png.probe(tmp_path)
            except UserError as error:
                assert str(file) in str(error)


def test_a_folder_that_is_named_as_a_picture_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / "b.png")
    assert png.probe(tmp_path) == (1, 4, 6)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bytes(
    size: tuple[int, int], kind: tuple[int, int], rows: bytes, *, interlaced: bool = False, before: bytes = b"", parts: int = 1
) -> bytes:
    """A PNG whose chunks and checksums are all right, whatever is in them.

    Args:
        size: width and height.
        kind: bits of a channel, and type of colours.
        before: chunks that come before those of the picture.
        parts: chunks that the picture is split into.
    """
    header, packed = struct.pack(">IIBBBBB", *size, *kind, 0, 0, interlaced), zlib.compress(rows)
    edges = [len(packed) * part // parts for part in range(parts + 1)]
    picture = b"".join(chunk(b"IDAT", packed[edges[part] : edges[part + 1]]) for part in range(parts))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + picture + chunk(b"IEND", b"")


KINDS = {(1, 0): 1, (4, 0): 4, (8, 0): 8, (8, 2): 24, (1, 3): 1, (8, 3): 8, (8, 4): 16, (8, 6): 32}
"""Bits of a channel and type of colours -> bits of a pixel."""
COLOURS = chunk(b"PLTE", bytes(range(256)) * 3)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        png.probe(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_png_that_lacks_rows_is_damaged(kind: tuple[int, int], tmp_path: Path) -> None:
    """PIL leaves them black without a word."""
    width, height, file = 37, 20, tmp_path / "0.png"
    row = b"\0" + b"\xff" * ((width * KINDS[kind] + 7) // 8)
    colours = COLOURS if kind[1] == 3 else b""
    for parts in (1, 4):
        for rows in (row * height, row * height + b"more"):
            file.write_bytes(png_bytes((width, height), kind, rows, before=colours, parts=parts))
            assert png.probe(tmp_path) == (1, height, width)
        for length in (0, 1, len(row) * height // 4, len(row) * (height - 1), len(row) * height - 1):
            file.write_bytes(png_bytes((width, height), kind, (row * height)[:length], before=colours, parts=parts))
            assert f"{file} is a damaged PNG (its rows end early, after {length:,} of {len(row) * height:,} bytes)" in refusal(tmp_path)


def interlaced(picture: npt.NDArray[np.uint8]) -> bytes:
    """The rows of an Adam7 PNG: the passes as the standard draws them, in a pattern of 8x8 pixels."""
    pattern = ("16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777")
    height, width = picture.shape[:2]
    rows = b""
    for number in "1234567":
        for row in range(height):
            if columns := [column for column in range(width) if pattern[row % 8][column % 8] == number]:
                rows += b"\0" + picture[row, columns].tobytes()
    return rows


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 1), (9, 10), (64, 48)])
def test_an_interlaced_png_that_lacks_rows_is_damaged(size: tuple[int, int], tmp_path: Path) -> None:
    width, height = size
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    rows, file = interlaced(picture), tmp_path / "0.png"
    file.write_bytes(png_bytes(size, (8, 2), rows, interlaced=True))
    assert png.probe(tmp_path) == (1, height, width)
    assert np.array_equal(png.read_plain(tmp_path).pixels[0], picture)
    for length in (len(rows) // 4, len(rows) - 1):
        file.write_bytes(png_bytes(size, (8, 2), rows[:length], interlaced=True))
        assert "is a damaged PNG (its rows end early" in refusal(tmp_path)


def test_a_png_whose_header_is_not_the_one_of_its_picture_is_damaged(tmp_path: Path) -> None:
    file, row = tmp_path / "0.png", b"\0" + bytes(8 * 3)
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 6, 0, 0, 0))
    part = chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 2, 0, 0, 1, 1, 0, 0))
    for before, told in ((second, "its chunks are out of order"), (part, "its picture is not of the size that its header gives")):
        file.write_bytes(png_bytes((8, 8), (8, 2), row * 8, before=before))
        assert f"{file} is a damaged PNG ({told})" in refusal(tmp_path)


def test_a_png_that_lacks_its_palette_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png_bytes((4, 4), (8, 3), bytes(4 * 5)))
    told = f"{tmp_path / '0.png'} is a damaged PNG (it has no palette); render it again"
    assert refusal(tmp_path) == told
    with pytest.raises(UserError) as caught:
        png.read_plain(tmp_path)
    assert str(caught.value) == told


def test_pictures_that_are_much_longer_than_wide_are_refused(tmp_path: Path) -> None:
    """Of 4096x1 pixels a model's input would have 1,376,256x336."""
    for width, height in ((32, 1), (3, 96)):
        Image.new("RGB", (width, height)).save(tmp_path / "0.png")
        assert png.probe(tmp_path) == (1, height, width)
    for width, height in ((4096, 1), (33, 1), (3, 97)):
        Image.new("RGB", (width, height)).save(tmp_path / "0.png")
        told = f"has {width}x{height} pixels, and no side may be more than 32 times the other; render event images of the whole sensor"
        assert refusal(tmp_path) == f"{tmp_path / '0.png'} {told}"
