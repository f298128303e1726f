"""Which frames of a clip a decoder picks: what `evbench frames` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType

from evbench.errors import UserError, nearest
from evbench.inputs.torture import read_bar_code
from evbench.machine.machine import choose_device
from evbench.pipelines.load import decoders, video
from evbench.pipelines.load.choices import DECODE
from evbench.pipelines.registry import MODELS
from evbench.report.render import Table
from evbench.variants.named import VARIANTS, change
from evbench.variants.obstacles import in_words, obstacles

Pixels = npt.NDArray[np.uint8]

DECODERS = tuple(DECODE.choices)
DISAGREE = 5
"""Exit code when decoders return different frames; as OUTPUT_DIFFERS has it."""
ALIKE = 4.0
"""Mean difference, in levels of 255, up to which two decoders may show the same frame: they upsample chroma and round differently.

PyAV and NVDEC differ by less than 1.5 in the tests. Neighbouring frames of a still clip differ by less than this, and then no decoder can
be caught; so a frame counts as the same only if no other picked frame of the first decoder is nearer, either.
"""
MATRICES = {1: "BT.709", 2: "untagged", 5: "BT.601", 6: "BT.601", 9: "BT.2020"}
"""ITU-T H.273 table 4."""
RANGES = {0: "untagged", 1: "limited range", 2: "full range"}


@dataclass(frozen=True)
class Seen:
    """What PyAV says of one picked frame besides its pixels."""

    kind: str
    """I, P or B."""
    rotation: int
    """Degrees, counterclockwise."""
    colour_range: int
    pixel_format: str


@dataclass(frozen=True)
class Comparison:
    """What was found."""

    facts: Table
    picks: Table
    refusals: tuple[str, ...]
    """Why a decoder returned nothing."""
    differences: tuple[str, ...]
    """Where decoders disagree."""

    @property
    def exit_code(self) -> int:
        return DISAGREE if self.differences else 0


def choose_decoders(asked: Sequence[str]) -> list[str]:
    """The decoders that are asked for, or all that run here.

    Raises:
        UserError: an unknown one, or one that cannot run here.
    """
    for name in asked:
        if name not in DECODERS:
            raise UserError(f"unknown --decoder {name!r}; {nearest(name, list(DECODERS))}")
    device = choose_device("auto")
    model = next(name for name, known in MODELS.items() if "video" in known.kinds)
    alone = {name: change(VARIANTS["baseline"], {"decode": name}) for name in DECODERS}
    for name in asked:
        if found := obstacles(alone[name], model, "video", device):
            raise UserError(f"--decoder {name} cannot run here: {in_words(alone[name], found)}; leave it out")
    return list(dict.fromkeys(asked)) or [name for name in DECODERS if not obstacles(alone[name], model, "video", device)]


def compare(path: Path, count: int, policy: str, names: Sequence[str]) -> Comparison:
    """Let each decoder pick, and compare what they return.

    Raises:
        UserError: the policy is unknown, or no decoder can use the file.
    """
    video.require_policy(policy)
    clip = video.probe(path)
    indices = clip.choose(path, count, policy)
    returned, refusals = {}, {}
    for name in names:
        try:
            returned[name] = decoders.decoder(name)(path, count, policy)
        except UserError as error:
            refusals[name] = error
    if not returned:
        raise next(iter(refusals.values()))
    seen = _look(path, clip, indices)
    return judge(path, clip, indices, seen, returned, tuple(f"{name} refuses: {error}" for name, error in refusals.items()))


def judge(
    path: Path, clip: video.Clip, indices: Sequence[int], seen: Sequence[Seen], returned: dict[str, video.Frames], refusals: Sequence[str]
) -> Comparison:
    """Compare what decoders returned.

    Args:
        indices: the frames that the policy picks.
        seen: what PyAV says of each of them.
        returned: decoder -> what it returned; the first is what the others are compared with.
    """
    first, *others = returned
    pixels = {name: _on_cpu(frames.values()) for name, frames in returned.items()}
    codes = {name: [read_bar_code(picture) for picture in shown] for name, shown in pixels.items()}
    differences = [wrong for name in returned for wrong in _wrong_picks(name, returned[name], pixels[name], clip, indices)]
    carried = any(code is not None for read in codes.values() for code in read)
    comparable = [name for name in others if pixels[name].shape == pixels[first].shape]
    differences += [f"{name} returns pictures of shape {_shape(pixels[name])}, {first} of {_shape(pixels[first])}"
                    for name in others if name not in comparable]  # fmt: skip
    rows = []
    for slot, index in enumerate(indices):
        cells = [str(slot), str(index), f"{clip.seconds[index]:.3f}", seen[slot].kind + (", key" if clip.keys[index] else "")]
        for name in returned:
            remarks = []
            if slot >= len(pixels[name]):
                cells.append("missing")
                continue
            code = codes[name][slot]
            if carried:
                remarks.append("no bar code" if code is None else f"bar code {code}")
                if code != codes[first][slot]:
                    differences.append(f"slot {slot}: {name} returns the frame with {remarks[0]}, {first} with {codes[first][slot]}")
            if name == first:
                remarks.append("first")
            elif name in comparable:
                remarks.append(_difference(pixels[name][slot], pixels[first][slot]))
                if not _same_frame(pixels[name][slot], pixels[first], slot):
                    differences.append(f"slot {slot}: {name} returns another frame than {first}, {remarks[-1]}")
            else:
                remarks.append("of another size")
            cells.append(", ".join(remarks))
        rows.append(tuple(cells))
    columns = ("Slot", "Frame", "Seconds", "Type", *returned)
    return Comparison(_facts(path, clip, seen), Table("Frames", columns, tuple(rows)), tuple(refusals), tuple(differences))


def _look(path: Path, clip: video.Clip, indices: Sequence[int]) -> list[Seen]:
    """Raises UserError if a frame up to the last picked one cannot be decoded."""
    found: dict[int, Seen] = {}
    with video.opened(path) as container:
        for index, frame in video.shown_frames(path, clip, container):
            if index in indices:
                found[index] = Seen(PictureType(frame.pict_type).name, frame.rotation, int(frame.color_range), frame.format.name)
            if index == indices[-1]:
                break
    return [found[index] for index in indices]


def _wrong_picks(name: str, frames: video.Frames, pixels: Pixels, clip: video.Clip, indices: Sequence[int]) -> list[str]:
    """Where a decoder says itself that it returns others than asked for."""
    wrong = []
    if list(frames.indices) != list(indices) or len(pixels) != len(indices):
        wrong.append(f"{name} returns {len(pixels)} pictures, as frames {list(frames.indices)}; asked for were {list(indices)}")
    elif not np.allclose(frames.seconds, [clip.seconds[index] for index in indices], rtol=0, atol=1e-6):
        wrong.append(f"{name} gives the frames other times, {[round(second, 3) for second in frames.seconds]}")
    return wrong


def _difference(picture: Pixels, other: Pixels) -> str:
    apart = np.abs(picture.astype(np.int16) - other)
    return "equal" if not apart.any() else f"differs by {apart.max()} at most, {apart.mean():.2f} on average"


def _same_frame(picture: Pixels, others: Pixels, slot: int) -> bool:
    """Whether `picture` is nearest to `others[slot]`, and near enough."""
    if np.array_equal(picture, others[slot]):
        return True
    apart = [float(np.abs(picture.astype(np.int16) - other).mean()) for other in others]
    return apart[slot] <= ALIKE and apart[slot] == min(apart)


def _on_cpu(pixels: Any) -> Pixels:
    return pixels if isinstance(pixels, np.ndarray) else np.asarray(pixels.cpu().numpy())


def _shape(pixels: Pixels) -> str:
    return "x".join(map(str, pixels.shape))


def _facts(path: Path, clip: video.Clip, seen: Sequence[Seen]) -> Table:
    rotation = seen[0].rotation
    keys = [index for index, key in enumerate(clip.keys) if key]
    facts = {
        "Codec": f"{clip.codec}, {seen[0].pixel_format}, {clip.width}x{clip.height}",
        "Frames": f"{len(clip.seconds)}, {_rate(clip)}",
        "Shown": f"from {clip.seconds[0]:.3f} to {clip.seconds[-1]:.3f} s, when the last frame begins",
        "Colour": f"matrix {MATRICES.get(clip.colorspace, str(clip.colorspace))}, {RANGES.get(seen[0].colour_range, 'unknown range')}",
        "Key frames": f"{len(keys)}: {' '.join(map(str, keys[:12]))}{' ...' if len(keys) > 12 else ''}",
        "Hidden": f"{clip.hidden} frames, by an edit list; frame 0 is the first that is shown" if clip.hidden else "none",
        "Rotation": f"players turn it by {-rotation} degrees clockwise; decoders return it as coded, not turned"
        if rotation else "none",
    }  # fmt: skip
    if clip.streams > 1:
        facts["Stream"] = f"number {clip.stream} of the file, FFmpeg's choice of {clip.streams} with video; covers and previews count"
    if clip.empty:
        facts["Empty"] = f"{clip.empty} frames that the header counts hold no picture"
    return Table(str(path), ("Clip", ""), tuple(facts.items()))


def _rate(clip: video.Clip) -> str:
    """Constant within a tick of the container's clock, which cannot hold every rate exactly."""
    gaps = [later - earlier for earlier, later in pairwise(clip.ticks)]
    if not gaps:
        return "no frame rate"
    seconds = clip.seconds[-1] - clip.seconds[0]
    if max(gaps) - min(gaps) <= 1:
        return f"{len(gaps) / seconds:.3f} a second, constant"
    tick = seconds / (clip.ticks[-1] - clip.ticks[0])
    return f"{len(gaps) / seconds:.3f} a second on average, variable: {min(gaps) * tick * 1e3:.1f} to {max(gaps) * tick * 1e3:.1f} ms apart"
