"""A contact sheet: what a person needs to check captions against frames."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from evbench.pipelines.load.png import read_plain
from evbench.pipelines.load.video import decode_plain

CELL = (300, 225)
MARGIN, LINE, LETTERS = 8, 19, 215
FRAMES = 3
EVENT_IMAGES = (0, -1)
SOFTWARE = "evbench scenes show"
BEGINNING = 256
"""Bytes of a file in which a text that is put into it stands."""


def draw_sheet(folder: Path, entries: list[dict[str, Any]]) -> Image.Image:
    """A band for each scene: first, middle and last frame as decoded from the MP4, first and last event image, and what is said of them.

    Raises:
        UserError: a file of the set is missing or damaged.
    """
    width = MARGIN + (FRAMES + len(EVENT_IMAGES)) * (CELL[0] + MARGIN)
    bands = [_band(folder, entry, width) for entry in entries]
    sheet = Image.new("RGB", (width, sum(band.height for band in bands)), "white")
    top = 0
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height
    return sheet


def save_sheet(sheet: Image.Image, file: Path) -> None:
    """As a PNG that says what wrote it. Raises OSError."""
    said = PngInfo()
    said.add_text("Software", SOFTWARE)
    sheet.save(file, pnginfo=said)


def is_sheet(file: Path) -> bool:
    """Whether it was written by `save_sheet`, and may be replaced."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return f"Software\0{SOFTWARE}".encode() in opened.read(BEGINNING)


def _band(folder: Path, entry: dict[str, Any], width: int) -> Image.Image:
    frames = decode_plain(folder / entry["mp4_data"], FRAMES, "inclusive")
    events = [read_plain(folder / entry["event_image"][index]).pixels[0] for index in EVENT_IMAGES]
    video, detail, seen = entry["conversations"][1], entry["conversations"][3], entry["event_conversations"][1]
    shown = f"{entry['id']} at {', '.join(f'{seconds:.2f}' for seconds in frames.seconds)} s, and its first and last event image"
    said = [f"Video: {video['value']}", f"In detail: {detail['value']}", f"Events: {seen['value']}"]
    lines = [line for text in (shown, *said) for line in textwrap.wrap(text, LETTERS, subsequent_indent="    ")]
    band = Image.new("RGB", (width, CELL[1] + 3 * MARGIN + LINE * len(lines)), "white")
    for place, frame in enumerate([*frames.pixels, *events]):
        small = ImageOps.contain(Image.fromarray(frame), CELL, Image.Resampling.LANCZOS)
        band.paste(small, (MARGIN + place * (CELL[0] + MARGIN), MARGIN))
    pen, font = ImageDraw.Draw(band), ImageFont.load_default(size=14)
    for number, line in enumerate(lines):
        pen.text((MARGIN, CELL[1] + 2 * MARGIN + number * LINE), line, fill="black", font=font)
    return band
