"""dataset.json, which lists the scenes of a folder. Imports no torch."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from evbench.encoding import is_text
from evbench.errors import UserError
from evbench.scenes.captions import QUESTIONS

INDEX = "dataset.json"
MOST_BYTES = 2**26
"""Of a list of samples: some 50,000 of them."""
LONGEST_PATH, LONGEST_NAME = 1024, 255
"""Bytes of a path, and of each part of it: a file system refuses longer ones."""
INPUTS: dict[str, Callable[[dict[str, Any]], Path]] = {
    "video": lambda entry: Path(entry["mp4_data"]),
    "event-images": lambda entry: Path(entry["event_image"][0]).parent,
}
"""Kind of input -> what of an entry it is, relative to the folder."""
TURNS = {True: "conversations", False: "event_conversations"}
"""Where questions and answers are, for input that shows colours, and for input that does not."""


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The entries of a folder of scenes. Raises UserError if it is none."""
    file = folder / INDEX
    try:
        entries = read_json(file)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; give a folder that `evbench scenes make` has made") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}); make the scenes again") from error
    if not is_list_of_scenes(entries):
        raise UserError(f"{file} is no list of scenes; give a folder that `evbench scenes make` has made")
    found = cast(list[dict[str, Any]], entries)
    require_distinct(found, file)
    return found


def read_json(file: Path) -> object:
    """What a file of JSON holds that may come from anybody.

    Raises:
        OSError: it cannot be read.
        ValueError, RecursionError: it is no JSON, or larger than MOST_BYTES.
    """
    if not file.is_file():
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))  # a pipe or device may never end
    with file.open("rb") as opened:
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 2**20} MiB")
    return json.loads(content.decode("utf-8"))


def is_list_of_scenes(content: object) -> bool:
    """Whether it is what `evbench scenes make` writes, as far as it is read."""
    return isinstance(content, list) and bool(content) and all(map(_is_entry, content))


def caption(entry: dict[str, Any], colours: bool, question: str) -> str | None:
    """What should be answered, about input with colours or without. None to a question that is not one of the scenes'."""
    turns = [turn["value"] for turn in entry[TURNS[colours]]]
    return dict(zip(turns[::2], turns[1::2], strict=True)).get(question)


def require_distinct(entries: Sequence[dict[str, Any]], file: Path) -> None:
    """Raises UserError if two entries name the same input: a scene counts as independent of all others."""
    seen: dict[Path, str] = {}
    for entry in entries:
        raw: Any = entry.get("event_data")
        named = [*(of_kind(entry) for of_kind in INPUTS.values()), *([Path(raw)] if is_inside(raw) else [])]
        for path in dict.fromkeys(named):
            if path in seen:
                raise UserError(f"{file}: {seen[path]} and {entry['id']} are both of {path}; leave one of them out, they are one scene")
            seen[path] = entry["id"]


def _is_entry(entry: Any) -> bool:
    """Whether it has what evbench reads of an entry."""
    if not (isinstance(entry, dict) and isinstance(entry.get("id"), str) and is_inside(entry.get("mp4_data"))):
        return False
    images, turns = entry.get("event_image"), [entry.get("conversations"), entry.get("event_conversations")]
    return (
        isinstance(images, list)
        and bool(images)
        and all(map(is_inside, images))
        and all(isinstance(said, list) and len(said) == 2 * len(QUESTIONS) for said in turns)
        and all(isinstance(turn, dict) and isinstance(turn.get("value"), str) for said in turns for turn in said or ())
    )


def is_inside(path: Any) -> bool:
    """Whether it is a name that a file system takes of something below the folder of the set, and not elsewhere on this machine."""
    if not (isinstance(path, str) and is_text(path) and path.isprintable() and 0 < len(path.encode()) <= LONGEST_PATH):
        return False
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and not PurePosixPath(path).is_absolute()
        and ".." not in parts
        and all(len(part.encode()) <= LONGEST_NAME for part in parts)
    )
