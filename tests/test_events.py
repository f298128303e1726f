from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evbench import sample
from evbench.errors import UserError
from evbench.pipelines import events


def test_both_readers_return_the_images_in_order() -> None:
    plain, threaded = events.read_plain(sample.EVENTS), events.read_threaded(sample.EVENTS)
    assert len(plain.pixels) == 5
    for index, (one, other) in enumerate(zip(plain.pixels, threaded.pixels, strict=True)):
        assert np.array_equal(one, other)
        assert np.array_equal(one, np.array(Image.open(sample.EVENTS / f"{index}.png")))


def test_files_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 0, 2):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
    assert [int(image[0, 0, 0]) for image in events.read_plain(tmp_path).pixels] == [0, 2, 9, 10]
    assert events.probe(tmp_path / "9.png")[0] == 1


def test_numbers_inside_names_count_and_hidden_files_do_not(tmp_path: Path) -> None:
    for number in (13, 1, 10, 4, 7):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"event_{number}.png")
    (tmp_path / "._event_1.png").write_bytes(b"left by a file manager")
    assert [int(image[0, 0, 0]) for image in events.read_plain(tmp_path).pixels] == [1, 4, 7, 10, 13]


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "1"])
def test_other_8_bit_pngs_are_read_as_rgb(mode: str, tmp_path: Path) -> None:
    Image.open(sample.EVENTS / "0.png").convert(mode).save(tmp_path / "0.png")
    (image,) = events.read_plain(tmp_path).pixels
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
            for index in range(events.LIMIT + 1):
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
        events.probe(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    if case == "truncated":
        for read in (events.read_plain, events.read_threaded):
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
        events.probe(tmp_path)
    Image.new("RGBA", (6, 4), (255, 0, 0, 255)).save(tmp_path / "0.png")
    assert events.probe(tmp_path) == (1, 4, 6)


def test_damaged_chunks_of_a_png_are_told_with_the_file(tmp_path: Path) -> None:
    whole = bytearray((sample.EVENTS / "0.png").read_bytes())
    file = tmp_path / "0.png"
    for place in range(8, 60):
        damaged = bytes([*whole[:place], whole[place] ^ 0x21, *whole[place + 1 :]])
        for content in (damaged, bytes(whole[:place])):
            file.write_bytes(content)
            try:
                events.probe(tmp_path)
            except UserError as error:
                assert str(file) in str(error)


def test_a_folder_that_is_named_as_a_picture_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / "b.png")
    assert events.probe(tmp_path) == (1, 4, 6)
