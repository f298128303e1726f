"""A contact sheet: what a person needs to check captions against pictures."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from evbench.pipelines.events import read_plain
from evbench.pipelines.video import decode_plain

CELL = (300, 225)
MARGIN, LINE, LETTERS = 8, 19, 215
FRAMES = 3
EVENT_IMAGES = (0, -1)


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


def _band(folder: Path, entry: dict[str, Any], width: int) -> Image.Image:
    lines = [
        line
        for who, turns in (("Video: ", "conversations"), ("Events: ", "event_conversations"))
        for line in textwrap.wrap(who + entry[turns][1]["value"], LETTERS, subsequent_indent="    ")
    ]
    band = Image.new("RGB", (width, CELL[1] + 3 * MARGIN + LINE * len(lines)), "white")
    frames = decode_plain(folder / entry["mp4_data"], FRAMES, "inclusive").pixels
    events = read_plain((folder / entry["event_image"][0]).parent).pixels
    for place, picture in enumerate([*frames, *(events[index] for index in EVENT_IMAGES)]):
        small = Image.fromarray(picture).resize(CELL, Image.Resampling.LANCZOS)
        band.paste(small, (MARGIN + place * (CELL[0] + MARGIN), MARGIN))
    pen, font = ImageDraw.Draw(band), ImageFont.load_default(size=14)
    for number, line in enumerate(lines):
        pen.text((MARGIN, CELL[1] + 2 * MARGIN + number * LINE), line, fill="black", font=font)
    return band
