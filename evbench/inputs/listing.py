"""The samples of --data: scenes, a list of clips and events in JSON, or the files of a folder.

A list has an entry for each sample, with the keys of the one-second set that EventGPT was timed on (xifan-zhang's benchmark):

    id, split, event_data, video_data, mp4_data, event_image, conversations

A file lies where its key says, seen from the list's folder or from the key's own folder in it: `event_data` in `event_npy`, `mp4_data` in
`mp4`, `event_image` in `event_image`. Entries whose files lie in one folder, such as `street_00/000000.npy` and `street_00/000001.npy`, are
windows of one sequence. A list may come from anybody: it is checked before it is believed, and names no file outside of its folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from evbench.errors import UserError, first_line
from evbench.pipelines.load import png
from evbench.pipelines.load.event_readers import READERS
from evbench.scenes import index as scenes

CLIPS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts")
"""Endings of files that are taken for clips. By --video any file is."""
MOST_FILES = 200_000
"""That a folder is searched through for samples."""
LONGEST_ID = 200
"""Characters."""
SHOWN = 5
"""Names in a message, of many."""


@dataclass(frozen=True)
class Selection:
    """Which samples of a folder are used."""

    split: str | None = None
    """Only those of it. None: of all."""
    samples: int | None = None
    """How many. None: all."""
    shuffle_seed: int | None = None
    """Of their choice by chance. None: the first."""


EVERYTHING = Selection()


@dataclass(frozen=True)
class Listed:
    """A sample of a folder."""

    path: Path
    sequence: str | None
    """The recording of which it is a window. None: it is independent of the others."""
    split: str | None = None
    caption: str | None = None
    """What should be answered to the prompt. None where it is unknown."""


@dataclass(frozen=True)
class _Part:
    """What of an entry a sample is."""

    key: str
    folder: str
    """Where the files of this key may lie, in the list's folder."""


PARTS = {"video": _Part("mp4_data", "mp4"), "event-images": _Part("event_image", "event_image"), "events": _Part("event_data", "event_npy")}
"""By kind of input."""


def read(data: Path, kind: str, *, colours: bool, prompt: str, selection: Selection) -> list[Listed]:
    """The samples of a folder that are selected, in its order.

    Args:
        data: the folder, or a list of its samples in JSON.
        kind: of input that a list's samples are. Of event images, a folder without a list may also hold files of raw events.
        colours: whether captions tell of colours.

    Raises:
        UserError: there is no such folder, it holds no sample, its list is damaged or names a file that is not there or lies elsewhere, or
            something is selected that it does not have.
    """
    file = list_of(data)
    every = _of_folder(data, kind, selection) if file is None else _of_list(file, kind, colours, prompt)
    source = data if file is None else file
    of_split = _of_split(every, selection.split, source)
    return _chosen(of_split, selection, source)


def list_of(data: Path) -> Path | None:
    """The list of a folder's samples. None if it has none. Raises UserError if there is no such folder, or it has several."""
    if not data.exists():
        raise UserError(f"--data {data}: no such folder; give one of scenes (evbench scenes make), of clips or of event files")
    if not data.is_dir():
        if data.suffix.lower() != ".json":
            raise UserError(f"--data {data} is no folder; give its folder, or the file by --video or --events")
        return data
    lists = [path for path in _entries(data) if path.suffix.lower() == ".json" and path.is_file()]
    if data / scenes.INDEX in lists:
        return data / scenes.INDEX
    if len(lists) > 1:
        raise UserError(f"--data {data} holds {len(lists)} lists ({_some([path.name for path in lists])}); give one of them as --data")
    return lists[0] if lists else None


def require_list(data: Path | None, command: str) -> None:
    """For a command that gives two models the same samples. Raises UserError if nothing says which belong together."""
    if data is None or list_of(data) is None:
        raise UserError(
            f"{command} gives two models the same samples: give --data a folder that `evbench scenes make` has made, or a list in JSON"
        )


# A list.


def _of_list(file: Path, kind: str, colours: bool, prompt: str) -> list[Listed]:
    try:
        content = scenes.read_json(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); give another --data") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged or no JSON ({first_line(error)}); copy it again") from error
    if not isinstance(content, list) or not content:
        wanted = json.dumps({"id": "street-1", PARTS[kind].key: "street/1.mp4" if kind == "video" else "..."})
        raise UserError(f"{file} is no list of samples; give JSON with an entry for each, such as [{wanted}, ...]")
    found = [_entry(file, number, entry, kind) for number, entry in enumerate(content)]
    first: dict[Path, int] = {}
    for number, one in enumerate(found):
        if (before := first.setdefault(one.path, number)) != number:
            raise UserError(f"{file}: entries {before} and {number} are both of {one.path}; leave one of them out, they are one sample")
    if not scenes.is_list_of_scenes(content):
        return found
    scenes.require_distinct(content, file)
    # Each scene was drawn by itself, and what is to be said of it is known.
    return [
        dataclasses.replace(one, sequence=None, caption=scenes.caption(entry, colours, prompt))
        for one, entry in zip(found, content, strict=True)
    ]


def _entry(file: Path, number: int, entry: object, kind: str) -> Listed:
    """Raises UserError."""
    part = PARTS[kind]
    if not isinstance(entry, dict):
        raise UserError(f"{file}: entry {number} is no object; give one with id and {part.key}")
    name, split = entry.get("id"), entry.get("split")
    if not (isinstance(name, str) and 0 < len(name) <= LONGEST_ID and name.isprintable()):
        raise UserError(f"{file}: entry {number} has no id of 1 to {LONGEST_ID} characters; give it one")
    if not (split is None or (isinstance(split, str) and len(split) <= LONGEST_ID and split.isprintable())):
        raise UserError(f"{file}: the split of entry {number} is no name; give a text of {LONGEST_ID} characters at most, or leave it out")
    what = f"{file}: entry {number} ({name})"
    named = entry.get(part.key)
    if not named:
        raise UserError(f"{what} has no {part.key}; {_instead(kind, entry)}")
    names = named if kind == "event-images" else [named]
    if not isinstance(names, list) or not all(map(scenes.is_inside, names)):
        many = "a list of files" if kind == "event-images" else "a file"
        raise UserError(f"{what}: its {part.key} is not {many} below {file.parent}; give paths relative to it, without ..")
    places = [_place(file.parent, part, each, what) for each in names]
    inside = PurePosixPath(names[0])
    folders = inside.parts[1:-1] if inside.parts[0] == part.folder else inside.parts[:-1]
    return Listed(_event_images(places, what) if kind == "event-images" else places[0], "/".join(folders) or None, split)


def _instead(kind: str, entry: dict[str, Any]) -> str:
    if kind == "video" and entry.get("video_data"):
        return "the pictures in its video_data are no clip: encode them as MP4, and name it there"
    if kind == "event-images" and entry.get("event_data"):
        return "it has raw events: take them by --raw-events"
    return "give the file that it is, or choose the other --model"


def _place(folder: Path, part: _Part, name: str, what: str) -> Path:
    """Raises UserError if it is nowhere."""
    for place in (folder / name, folder / part.folder / name):
        if place.is_file():
            return place
    raise UserError(f"{what} names {name} as {part.key}, and {folder} has no such file, nor has its folder {part.folder}; copy it there")


def _event_images(files: Sequence[Path], what: str) -> Path:
    """The folder that holds these files alone, or what their numbered names begin with. Raises UserError."""
    common = files[0].name.rpartition("_")[0]
    for path in (files[0].parent, *([files[0].with_name(common)] if common else [])):
        if _finds(path, files):
            return path
    raise UserError(
        f"{what}: its event_image are neither all PNGs of a folder in the order of their names, nor NAME_0.png, NAME_1.png and so on; "
        "give each sample a folder"
    )


def _finds(path: Path, files: Sequence[Path]) -> bool:
    try:
        return png.find(path) == list(files)
    except UserError:
        return False


# A folder of files.


def _of_folder(data: Path, kind: str, selection: Selection) -> list[Listed]:
    if kind == "events":
        raise UserError(f"--raw-events is of a list in JSON, and {data} has none: its event files are used as they are; leave it out")
    if selection.split is not None:
        raise UserError(f"--split is of a list in JSON, and {data} has none: it would have no effect; leave it out")
    files = list(islice(_walk(data, set()), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise UserError(f"--data {data} holds more than {MOST_FILES:,} files; give a folder of samples alone")
    if kind == "video":
        paths = _of_endings(files, CLIPS)
    else:
        paths = _of_endings(files, READERS) or list(dict.fromkeys(file.parent for file in files if png.is_png(file)))
    if not paths:
        looked_for = (
            f"clip ({', '.join(CLIPS)})" if kind == "video" else f"event file ({', '.join(READERS)}) and no folder of event images (PNG)"
        )
        raise UserError(f"--data {data} holds no {looked_for}, and no list in JSON; give another folder")
    return [Listed(path, _sequence(path, data)) for path in paths]


def _sequence(path: Path, data: Path) -> str | None:
    """The folder in `data` that holds it."""
    return None if path in (data, *data.parents) or path.parent == data else str(path.parent.relative_to(data))


def _of_endings(files: Sequence[Path], endings: Sequence[str] | dict[str, Any]) -> list[Path]:
    return [file for file in files if file.suffix.lower() in endings]


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Files below a folder, also behind links, each folder once. Raises UserError."""
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    for path in _entries(folder):
        if path.is_dir():
            yield from _walk(path, seen)
        elif path.is_file() or path.is_symlink():
            yield path


def _entries(folder: Path) -> list[Path]:
    """Files and folders in it that are not hidden, in the order of their names. Raises UserError."""
    try:
        return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=png.natural_order)
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); give another --data") from error


# The selection.


def _of_split(every: list[Listed], split: str | None, source: Path) -> list[Listed]:
    found = [one for one in every if split is None or one.split == split]
    if not found:
        known = list(dict.fromkeys(one.split for one in every if one.split is not None))
        raise UserError(
            f"{source} has no sample of --split {split!r}; {f'there is {_some(known)}' if known else 'its entries have no split'}"
        )
    return found


def _chosen(found: list[Listed], selection: Selection, source: Path) -> list[Listed]:
    """So many of them, in their order. By chance, those of a smaller number are among those of a larger one."""
    count, seed = selection.samples, selection.shuffle_seed
    if count is None:
        if seed is not None:
            raise UserError("--shuffle-seed chooses which --samples are used, which is not given: it would have no effect; leave it out")
        return found
    if count > len(found):
        of_split = f" of --split {selection.split}" if selection.split is not None else ""
        raise UserError(f"--samples {count} are more than the {len(found)} in {source}{of_split}; give {len(found)} or fewer")
    if seed is None:
        return found[:count]
    # Hashes, as no generator of numbers promises the same choice in the next version.
    by_chance = sorted(range(len(found)), key=lambda number: hashlib.sha256(f"{seed} {number}".encode()).digest())
    return [found[number] for number in sorted(by_chance[:count])]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
