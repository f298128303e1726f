"""The event images of the moment that a clip shows: for a model that drafts from them."""

from __future__ import annotations

from pathlib import Path

from evbench.errors import UserError
from evbench.pipelines.load import png

CLIPS, EVENT_IMAGES = "mp4", ("event_images", "event_image")
"""Names of folders in a set of scenes: its clips, and its event images, under the same names below."""
SUFFIX = "-events"


def places(clip: Path) -> list[Path]:
    """Where they may lie, the first one first, each as `evbench.pipelines.load.png.find` takes it.

    >>> [str(place) for place in places(Path("set/mp4/street/1.mp4"))]
    ['set/mp4/street/1-events', 'set/mp4/street/1', 'set/event_images/street/1', 'set/event_image/street/1']
    """
    bare = clip.with_suffix("")
    found, folders = [clip.with_name(clip.stem + SUFFIX), bare], bare.parts[:-1]
    if CLIPS in folders:
        inner = len(folders) - 1 - folders[::-1].index(CLIPS)
        found += [Path(*folders[:inner], other, *bare.parts[inner + 1 :]) for other in EVENT_IMAGES]
    return found


def find(clip: Path) -> Path | None:
    """A folder of event images, or what their numbered names begin with. None if there are none."""
    return next(filter(png.holds_images, places(clip)), None)


def events_of(clip: Path) -> Path:
    """As `find`. Raises UserError if there are none."""
    if (found := find(clip)) is not None:
        return found
    first, *others = map(str, places(clip))
    raise UserError(
        f"{clip} has no event images beside it, which the drafting model sees: put them into {first} (also looked for: "
        f"{', '.join(others)}), give scenes of `evbench scenes make` by --data, or use another draft"
    )
