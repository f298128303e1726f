"""dataset.json, which lists the scenes of a folder. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from evbench.errors import UserError
from evbench.scenes.captions import QUESTIONS

INDEX = "dataset.json"
INPUTS: dict[str, Callable[[dict[str, Any]], Path]] = {
    "video": lambda entry: Path(entry["mp4_data"]),
    "event-images": lambda entry: Path(entry["event_image"][0]).parent,
}
"""Kind of input -> what of an entry it is, relative to the folder. Raw events: see raw_events_of."""
TURNS = {True: "conversations", False: "event_conversations"}
"""Where questions and answers are, for input that shows colours, and for input that does not."""


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The entries of a folder of scenes. Raises UserError if it is none."""
    file = folder / INDEX
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; give a folder that `evbench scenes make` has made") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}); make the scenes again") from error
    if not (isinstance(entries, list) and entries and all(map(_is_entry, entries))):
        raise UserError(f"{file} is no list of scenes; give a folder that `evbench scenes make` has made")
    _require_distinct(entries, file)
    return entries


def raw_events_of(entry: dict[str, Any], folder: Path) -> Path:
    """The file of an entry's raw events, relative to the folder. Raises UserError if it has none."""
    if not _is_inside(entry.get("event_data")):
        raise UserError(f"{folder / INDEX}: {entry['id']} has no event_data; make the scenes again, or leave out --raw-events")
    return Path(entry["event_data"])


def caption(entry: dict[str, Any], colours: bool, question: str) -> str | None:
    """What should be answered, about input with colours or without. None to a question that is not one of the scenes'."""
    turns = [turn["value"] for turn in entry[TURNS[colours]]]
    return dict(zip(turns[::2], turns[1::2], strict=True)).get(question)


def _require_distinct(entries: Sequence[dict[str, Any]], file: Path) -> None:
    """Raises UserError if two entries name the same input: a scene counts as independent of all others."""
    seen: dict[Path, str] = {}
    for entry in entries:
        raw: Any = entry.get("event_data")
        named = [*(of_kind(entry) for of_kind in INPUTS.values()), *([Path(raw)] if _is_inside(raw) else [])]
        for path in dict.fromkeys(named):
            if path in seen:
                raise UserError(f"{file}: {seen[path]} and {entry['id']} are both of {path}; leave one of them out, they are one scene")
            seen[path] = entry["id"]


def _is_entry(entry: Any) -> bool:
    """Whether it has what evbench reads of an entry."""
    if not (isinstance(entry, dict) and isinstance(entry.get("id"), str) and _is_inside(entry.get("mp4_data"))):
        return False
    images, turns = entry.get("event_image"), [entry.get("conversations"), entry.get("event_conversations")]
    return (
        isinstance(images, list)
        and bool(images)
        and all(map(_is_inside, images))
        and all(isinstance(said, list) and len(said) == 2 * len(QUESTIONS) for said in turns)
        and all(isinstance(turn, dict) and isinstance(turn.get("value"), str) for said in turns for turn in said or ())
    )


def _is_inside(path: Any) -> bool:
    """Whether it names something below the folder of the set, and not elsewhere on this machine."""
    return isinstance(path, str) and bool(path) and not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts
