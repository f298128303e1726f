"""What an event camera sees of a scene: a pixel reports each time its log intensity has changed by a threshold.

Model: Rebecq et al., ESIM: an Open Event Camera Simulator (CoRL 2018), for the threshold crossings and their times between rendered
sub-frames; Hu et al., v2e: From Video Frames to Realistic DVS Events (CVPRW 2021), for the lin-log response, thresholds that differ
from pixel to pixel, the refractory time and the background noise.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from evbench.pipelines.load.event_stream import EventStream
from evbench.scenes.draw import draw
from evbench.scenes.pack import LUMA_MIX, pack
from evbench.scenes.world import Scene

HEIGHT, WIDTH = 480, 640
SUBFRAMES_PER_SECOND = 1000
THRESHOLD, SPREAD = 0.2, 0.03
"""Of log intensity: the mean over the pixels, and the standard deviation."""
LEAST_THRESHOLD = 0.05
LINEAR_BELOW = 20.0
"""Digital number under which the response is linear (v2e's lin-log mapping)."""
REFRACTORY = 500e-6
"""Seconds during which a pixel that has fired stays silent."""
NOISE = {False: 0.05, True: 0.2}
"""False events per pixel and second, by day and at dusk: shot noise grows as the light goes."""
CHUNK = 40
"""Sub-frames that are drawn at once."""


def response(luminance: torch.Tensor) -> torch.Tensor:
    """Digital numbers, 0 to 255 -> log intensity, linear near black."""
    slope = math.log(LINEAR_BELOW) / LINEAR_BELOW
    return luminance.clamp(min=LINEAR_BELOW).log_().add_(luminance.clamp(max=LINEAR_BELOW).sub_(LINEAR_BELOW), alpha=slope)


def thresholds(random: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """One for each pixel."""
    return np.clip(random.normal(THRESHOLD, SPREAD, shape), LEAST_THRESHOLD, None).astype(np.float32)


def watch(scene: Scene, seconds: float, seed: tuple[int, ...]) -> EventStream:
    """Everything the camera reports of the scene from 0 to `seconds`, with the noise that the seed gives."""
    random = np.random.default_rng(seed)
    packed = pack([scene], "cpu", LUMA_MIX)
    steps = round(seconds * SUBFRAMES_PER_SECOND)
    times = torch.arange(steps + 1) / SUBFRAMES_PER_SECOND
    sensor = Sensor(random, HEIGHT * WIDTH)
    found = []
    for start in range(0, steps + 1, CHUNK):
        chunk = times[start : start + CHUNK]
        levels = response(draw(packed, chunk, seconds, HEIGHT, WIDTH)[0, 0]).flatten(1).numpy()
        found += [sensor.look(level, float(time)) for level, time in zip(levels, chunk, strict=True)]
    found.append(_noise(random, NOISE[scene.dusk], seconds))
    place, time, polarity = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(time, kind="stable")
    stream = EventStream(
        x=(place[order] % WIDTH).astype(np.uint16),
        y=(place[order] // WIDTH).astype(np.uint16),
        t=(time[order] * 1e6).astype(np.int64),
        p=polarity[order].astype(np.uint8),
        sensor=(HEIGHT, WIDTH),
    )
    return rested(stream, round(seconds * 1e6))


def rested(events: EventStream, end: int) -> EventStream:
    """Without the events that a pixel reports within its refractory time, true or false ones, and those at or after `end` (us)."""
    kept = events.t < end
    place = events.y.astype(np.int64) * WIDTH + events.x
    while True:
        here = np.flatnonzero(kept)
        by_pixel = here[np.argsort(place[here], kind="stable")]  # in order of time within each pixel
        early = (np.diff(place[by_pixel]) == 0) & (np.diff(events.t[by_pixel]) < REFRACTORY * 1e6)
        # An event counts from the last one that is kept: of a run of early ones only the first goes, then the rest is looked at anew.
        first = early & ~np.concatenate([[False], early[:-1]])
        if not first.any():
            return EventStream(events.x[kept], events.y[kept], events.t[kept], events.p[kept], events.sensor)
        kept[by_pixel[1:][first]] = False


Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]
"""Flat pixel index, seconds, whether brighter."""


class Sensor:
    """The state of all pixels: the level at which each fired last, and when."""

    def __init__(self, random: np.random.Generator, count: int) -> None:
        self._threshold = {True: thresholds(random, (count,)), False: thresholds(random, (count,))}
        # A camera that is switched on stands anywhere between its thresholds.
        self._offset = random.uniform(-0.5, 0.5, count).astype(np.float32) * np.minimum(self._threshold[True], self._threshold[False])
        self._before: npt.NDArray[np.float32] | None = None
        self._upper = self._lower = self._offset
        self._fired = np.full(count, -1.0)
        self._time = 0.0

    def look(self, level: npt.NDArray[np.float32], time: float) -> Found:
        """The events between the last sub-frame and this one: [pixels] log intensity, at `time`."""
        if self._before is None:
            reference = level + self._offset
            self._upper, self._lower = reference + self._threshold[True], reference - self._threshold[False]
            found = [_nothing()]
        else:
            found = [self._cross(level, time, brighter=True), self._cross(level, time, brighter=False)]
        self._before, self._time = level, time
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]

    def _cross(self, level: npt.NDArray[np.float32], time: float, *, brighter: bool) -> Found:
        assert self._before is not None
        threshold, bound = self._threshold[brighter], self._upper if brighter else self._lower
        sign = 1 if brighter else -1
        found = [_nothing()]
        place = np.flatnonzero(level >= bound) if brighter else np.flatnonzero(level <= bound)
        while place.size:
            before = self._before[place]
            # A bound can lie behind the last sub-frame only where it moved meanwhile: then the event is of that sub-frame.
            change = np.where(level[place] == before, np.float32(sign), level[place] - before)
            share = np.clip((bound[place] - before) / change, 0, 1).astype(np.float64)
            moment = self._time + share * (time - self._time)
            awake = moment - self._fired[place] >= REFRACTORY
            found.append((place[awake], moment[awake], np.full(awake.sum(), brighter)))
            self._fired[place[awake]] = moment[awake]
            step = sign * threshold[place]
            self._upper[place] += step
            self._lower[place] += step
            place = place[sign * (level[place] - bound[place]) >= 0]
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]


def _noise(random: np.random.Generator, rate: float, seconds: float) -> Found:
    count = random.poisson(rate * HEIGHT * WIDTH * seconds)
    return random.integers(0, HEIGHT * WIDTH, count), random.uniform(0, seconds, count), random.random(count) < 0.5


def _nothing() -> Found:
    return np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_)
