"""Scenes as files, made in this process: `evbench scenes make` would start workers for them."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from pathlib import Path

from evbench.inputs import sample
from evbench.pipelines.load import beside
from evbench.scenes import dataset
from evbench.scenes.index import INDEX
from evbench.scenes.world import imagine

_FOLDER = tempfile.TemporaryDirectory(prefix="evbench-test-clips-")


def make_scenes(folder: Path, seed: int, count: int, seconds: float, width: int, height: int) -> Path:
    """The folder, with a scene's clip, events and event images for each entry of its index."""
    spec = dataset.DatasetSpec(folder, seed, count, seconds, width, height)
    dataset.open_folder(spec)
    entries = [dataset.make_one(spec, index) for index in range(count)]
    (folder / INDEX).write_text(json.dumps(entries), encoding="utf-8")
    return folder


@functools.cache
def small_clip(number: int) -> Path:
    """A clip of 320x240 of one second, as `evbench scenes make` writes it. Beside it are event images, of another scene."""
    dataset.write_clip(path := Path(_FOLDER.name) / f"{number}.mp4", imagine(12, number), 1.0, 320, 240)
    shutil.copytree(sample.EVENTS if number % 2 == 0 else sample.OTHER_EVENTS, beside.places(path)[0])
    return path
