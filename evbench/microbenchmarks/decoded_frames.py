"""How many frames of a clip are decoded for those that are wanted. Nothing is decoded to tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from evbench.pipelines.load.needed import needed
from evbench.pipelines.load.streams import clip_stream, headers
from evbench.pipelines.load.video import SKIM, describe, opened

Count = Callable[[Path, int, str], int]
"""As a decoder is called: (file, number of frames, policy) -> number of frames that are decoded for them."""


def whole(path: Path, count: int, policy: str) -> int:
    """All coded frames."""
    with opened(path, **SKIM) as container:
        return len(clip_stream(path, container).packets)


def up_to_last(path: Path, count: int, policy: str) -> int:
    """From the first frame to the last that is wanted."""
    with opened(path, **SKIM) as container:
        demuxed = clip_stream(path, container)
        clip = describe(path, demuxed)
        return _through([packet.pts or 0 for packet in demuxed.packets], clip.ticks[clip.choose(path, count, policy)[-1]])


def necessary(path: Path, count: int, policy: str) -> int:
    """In each group of pictures, from its key frame to the last that is wanted there, without frames that nothing refers to.

    Of groups that refer to each other (open ones) it may be a few more.
    """
    with opened(path, **SKIM) as container:
        demuxed = clip_stream(path, container)
        clip = describe(path, demuxed)
        wanted = {clip.ticks[index] for index in clip.choose(path, count, policy)}
        kept = needed(clip.codec, headers(demuxed.stream), demuxed.packets, wanted)
        starts = [place for place, packet in enumerate(kept) if packet.is_keyframe or place == 0]
        groups = [[packet.pts or 0 for packet in kept[start:end]] for start, end in pairwise([*starts, len(kept)])]
    return sum(_through(group, max(here)) for group in groups if (here := wanted.intersection(group)))


def _through(ticks: Sequence[int], last: int) -> int:
    """How many frames, in order of decoding, until all are decoded that are shown no later than `last`."""
    return 1 + max(place for place, tick in enumerate(ticks) if tick <= last)
