"""Scenes as training batches: imagined in worker processes, drawn on the device. No files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from evbench.pipelines.load.event_images import SLICES
from evbench.scenes import captions, event_camera
from evbench.scenes.captions import QUESTIONS, Register
from evbench.scenes.draw import blend_shapes, draw, place
from evbench.scenes.pack import LUMA_MIX, RGB_MIX, Packed, from_far_to_near, pack
from evbench.scenes.shapes import HALF_LENGTH, HEIGHT
from evbench.scenes.world import COLOURS, KINDS, ROWS, Actor, Scene, imagine

SECONDS = 1.0
EVENT_STEPS = 96
"""Sub-frames of the second that the event camera sees: far fewer than for stored events, so that a GPU draws them while it trains."""
EVENT_SCENES = 8
"""Scenes that are drawn at once with so many sub-frames: a kernel over more than 2^31 values takes minutes to compile."""
ANSWER_TOKENS: dict[Register, int] = {"concise": 72, "verbose": 128}
"""Holds the longest caption and its end token."""
TRAINING_SERIES, TRAINING_FIRST = 2**32, 1
"""The scenes to train on: of a series that `evbench scenes make` refuses. Not from scene 0 on: NumPy pads its seeds with zeros, so that
(2**32, 0) and (0, 1) are one seed."""
HELD_OUT_SERIES, HELD_OUT_FIRST = 0, 2
"""The scenes to score at the end. The checkpoints that ship were trained from scene 0 on, and so have seen scene 1 of this one."""
TRAITS = {"kind": len(KINDS) + 1, "colour": len(COLOURS) + 1, "row": len(ROWS) + 1, "faces": 3, "fast": 3}
"""What a patch shows -> number of classes; 0 is none. An auxiliary loss of the vision towers."""


@dataclass(frozen=True)
class Batch:
    """Some scenes, ready to be drawn, with their captions."""

    packed: Packed
    traits: torch.Tensor
    """[scenes, actors, traits]: of each actor, from far to near; all 0 where there is none."""
    extents: torch.Tensor
    """[scenes, actors, 2]: half length and height of each actor at size 1."""
    answers: dict[Register, torch.Tensor]
    """[scenes, tokens] for each register; the end token fills what the caption leaves."""

    def to(self, device: str) -> Batch:
        return Batch(
            self.packed.to(device),
            self.traits.to(device, non_blocking=True),
            self.extents.to(device, non_blocking=True),
            {register: tokens.to(device, non_blocking=True) for register, tokens in self.answers.items()},
        )


class Stream(IterableDataset[Batch]):
    """Scenes `first`, `first + 1`, ... of a series, in batches; each worker process makes every n-th batch."""

    def __init__(self, tokenizer: Any, seed: int, first: int, size: int, *, colours: bool) -> None:
        self._tokenizer, self._seed, self._first, self._size, self._colours = tokenizer, seed, first, size, colours

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        while True:
            start = self._first + number * self._size
            yield make(self._tokenizer, [imagine(self._seed, start + index) for index in range(self._size)], colours=self._colours)
            number += workers


def stream(tokenizer: Any, seed: int, first: int, size: int, workers: int, *, colours: bool) -> Iterator[Batch]:
    """Batches without end, of the scenes `first`, `first + 1`, ... of the series `seed`."""
    dataset = Stream(tokenizer, seed, first, size, colours=colours)
    return iter(DataLoader(dataset, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None))


def make(tokenizer: Any, scenes: list[Scene], *, colours: bool) -> Batch:
    """A batch of these scenes, on the CPU. `colours`: whether their captions name colours and the time of day."""
    traits, extents = torch.zeros(len(scenes), 4, len(TRAITS), dtype=torch.long), torch.zeros(len(scenes), 4, 2)
    for index, scene in enumerate(scenes):
        for number, actor in enumerate(from_far_to_near(scene)):
            traits[index, number] = torch.tensor(_traits(actor))
            extents[index, number] = torch.tensor([HALF_LENGTH[actor.kind], HEIGHT[actor.kind]])
    return Batch(
        pack(scenes, "cpu", RGB_MIX if colours else LUMA_MIX, tight=False),
        traits,
        extents,
        {
            register: torch.tensor([answer(tokenizer, captions.describe(scene, register, colours=colours), register) for scene in scenes])
            for register in QUESTIONS
        },
    )


def answer(tokenizer: Any, caption: str, register: Register) -> list[int]:
    """Its tokens, and the end token up to the length of the register."""
    ids: list[int] = tokenizer(caption, add_special_tokens=False)["input_ids"]
    room = ANSWER_TOKENS[register] - len(ids)
    if room < 1:
        raise ValueError(f"the caption has {len(ids)} tokens, more than {register} answers have room for: {caption}")
    return ids + [tokenizer.eos_token_id] * room


def _traits(actor: Actor) -> list[int]:
    """In the order of TRAITS."""
    return [
        KINDS.index(actor.kind) + 1,
        COLOURS.index(actor.colour) + 1,
        ROWS.index(actor.row) + 1,
        0 if not actor.moves else 1 + (actor.faces > 0),
        0 if not actor.moves else 1 + actor.fast,
    ]


def patch_traits(batch: Batch, moments: torch.Tensor, edge: int) -> torch.Tensor:
    """What stands at the middle of each patch of a square frame: the nearest actor whose box covers it.

    Args:
        moments: [scenes or 1, moments] seconds from the middle of the clip.
        edge: patches along a side.

    Returns:
        [scenes, moments, edge * edge, traits]; 0 where there is no actor.
    """
    placed = place(batch.packed, moments)
    centres = (torch.arange(edge, device=batch.traits.device) + 0.5) / edge
    x, y = (centres - 0.5)[None, None, None, :], centres[None, None, :, None]
    shown = torch.zeros(*placed.x.shape[:2], edge, edge, len(TRAITS), dtype=torch.long, device=batch.traits.device)
    for actor in range(batch.traits.shape[1]):
        middle, ground, scale = (value[..., actor, None, None] for value in placed)
        half, height = (value[:, actor, None, None, None] * scale for value in batch.extents.unbind(-1))
        covers = ((x - middle).abs() <= half) & (y <= ground) & (y >= ground - height)
        shown = torch.where(covers[..., None], batch.traits[:, None, None, None, actor], shown)
    return shown.flatten(2, 3)


class Studio:
    """Draws frames and event images like those that the two models preprocess."""

    def __init__(self, device: str, seed: int, *, compiled: bool, event_steps: int | None = None) -> None:
        """`event_steps`: sub-frames that the event camera sees. None: EVENT_STEPS."""
        self._event_steps = EVENT_STEPS if event_steps is None else event_steps
        self._random = torch.Generator(device).manual_seed(seed)
        self._blend = torch.compile(blend_shapes, dynamic=False) if compiled else blend_shapes
        self._fire = torch.compile(_fire, dynamic=False) if compiled else _fire

    def frames(self, packed: Packed, seconds: torch.Tensor, edge: int) -> torch.Tensor:
        """What a decoder would return of the square in the middle: [scenes, frames, 3, edge, edge], 0 to 255.

        A codec leaves soft edges, coarse colour and noise: each is imitated, at a random strength.
        """
        frames = draw(packed, seconds, SECONDS, edge, edge, self._blend).transpose(1, 2)
        scenes, device = len(frames), frames.device

        def strength(most: float) -> torch.Tensor:
            return torch.rand(scenes, 1, 1, 1, 1, generator=self._random, device=device) * most

        soft = functional.avg_pool2d(frames.flatten(0, 1), 3, 1, 1, count_include_pad=False).view(frames.shape)
        frames = torch.lerp(frames, soft, strength(0.8))
        luminance = (frames * torch.tensor(LUMA_MIX[0], device=device)[:, None, None]).sum(2, keepdim=True)
        colour = frames - luminance
        coarse = functional.interpolate(functional.avg_pool2d(colour.flatten(0, 1), 2), scale_factor=2.0).view(frames.shape)
        frames = luminance + torch.lerp(colour, coarse, strength(1.0))
        noise = torch.randn(frames.shape, generator=self._random, device=device)
        return (frames + noise * strength(5.0) + (strength(6.0) - 3.0)).clamp(0, 255)

    def event_images(self, packed: Packed) -> torch.Tensor:
        """The event images: [scenes, images, 3, 480, 640] uint8.

        By the threshold model of stored events, without its refractory time and with fewer sub-frames.
        """
        height, width, device = event_camera.HEIGHT, event_camera.WIDTH, packed.start.device
        up, down = (self._thresholds(len(packed.start), height, width) for _ in range(2))
        noise = torch.where(packed.dusk > 0, event_camera.NOISE[True], event_camera.NOISE[False])[:, None, None]
        steps = self._event_steps
        times = torch.arange(steps + 1, device=device) * (SECONDS / steps)
        parts = packed.split(EVENT_SCENES)
        drawn = torch.cat([draw(part, times, SECONDS, height, width, self._blend) for part in parts])[:, 0]
        levels = event_camera.response(drawn)  # [scenes, steps + 1, height, width]
        begin = torch.rand(levels[:, 0].shape, generator=self._random, device=device) - 0.5
        reference = levels[:, 0] + begin * torch.minimum(up, down)
        signs, counts = [], []
        for step in range(1, steps + 1):
            chance = torch.rand(reference.shape, generator=self._random, device=device)
            reference, sign, count = self._fire(levels[:, step], reference, up, down, chance, noise * (SECONDS / steps))
            signs.append(sign)
            counts.append(count)
        return _last_wins(torch.stack(signs, 1), torch.stack(counts, 1))

    def _thresholds(self, *shape: int) -> torch.Tensor:
        drawn = torch.randn(shape, generator=self._random, device=self._random.device)
        return (event_camera.THRESHOLD + event_camera.SPREAD * drawn).clamp(min=event_camera.LEAST_THRESHOLD)


def _fire(
    level: torch.Tensor,  # [scenes, rows, columns], as all others
    reference: torch.Tensor,
    up: torch.Tensor,
    down: torch.Tensor,
    chance: torch.Tensor,
    rate: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One step of all pixels: the new reference, the polarity of the last event (0 for none), the number of events of each scene."""
    rise = ((level - reference) / up).floor().clamp(min=0)
    fall = ((reference - level) / down).floor().clamp(min=0)
    noise = (chance < rate / 2).float() - (chance > 1 - rate / 2).float()
    sign = rise.sign() - fall.sign()
    sign = torch.where(sign == 0, noise, sign)
    return reference + rise * up - fall * down, sign.to(torch.int8), (rise + fall + noise.abs()).sum((1, 2))


def _last_wins(signs: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """[scenes, steps, rows, columns] polarities and [scenes, steps] counts -> white images of equal count, red and blue."""
    total = counts.cumsum(1)
    slices = ((total - counts / 2) / total[:, -1:] * SLICES).long().clamp(max=SLICES - 1)  # [scenes, steps]
    steps = torch.arange(1, signs.shape[1] + 1, device=signs.device, dtype=torch.int16)[:, None, None]
    keys = torch.where(signs != 0, steps * 2 + (signs > 0), 0)  # the later, the larger; odd for brighter
    images = []
    for index in range(SLICES):
        last = (keys * (slices == index)[..., None, None]).amax(1)
        seen, red = last > 0, last % 2 == 1
        images.append(torch.stack([~seen | red, ~seen, ~seen | ~red], 1))
    return torch.stack(images, 1).to(torch.uint8) * 255
