from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from evbench.pipelines.load.event_stream import EventStream
from evbench.scenes import event_camera
from evbench.scenes.event_camera import REFRACTORY, Sensor, response, watch
from evbench.scenes.world import Actor, imagine


def steady(count: int, threshold: float) -> Sensor:
    """A sensor whose pixels all have one threshold, and start in the middle between its two bounds."""
    sensor = Sensor(np.random.default_rng(0), count)
    sensor._threshold = {side: np.full(count, threshold, np.float32) for side in (True, False)}
    sensor._offset = np.zeros(count, np.float32)
    return sensor


def test_the_response_is_logarithmic_and_linear_near_black() -> None:
    seen = response(torch.tensor([0.0, 10.0, 20.0, 40.0, 255.0]))
    assert seen.tolist() == pytest.approx([0, np.log(20) / 2, np.log(20), np.log(40), np.log(255)], abs=1e-5)


def test_events_come_when_a_ramp_crosses_each_threshold() -> None:
    sensor = steady(3, 0.2)
    sensor.look(np.zeros(3, np.float32), 0.0)
    place, time, brighter = sensor.look(np.array([1.1, -0.5, 0.1], np.float32), 1.0)
    assert time[place == 0] == pytest.approx(np.arange(1, 6) * 0.2 / 1.1, abs=1e-6)
    assert time[place == 1] == pytest.approx([0.4, 0.8], abs=1e-6)
    assert brighter[place == 0].all()
    assert not brighter[place == 1].any()
    assert 2 not in place
    place, time, brighter = sensor.look(np.array([1.1, -0.5, 0.3], np.float32), 2.0)
    assert (place.tolist(), brighter.tolist()) == ([2], [True])
    assert time == pytest.approx([1.5], abs=1e-6), "the level of the last sub-frame counts, not of the last event"


def test_a_pixel_that_has_fired_is_silent_for_a_while() -> None:
    sensor = steady(1, 0.1)
    sensor.look(np.zeros(1, np.float32), 0.0)
    _, time, _ = sensor.look(np.array([1.05], np.float32), 1e-3)  # ten crossings in a thousandth of a second
    assert len(time) == 2
    assert np.diff(time).min() >= REFRACTORY


@pytest.fixture(scope="module")
def seen() -> EventStream:
    car = Actor("car", "black", "near lane", 1, 0.0, 0.4, 1, 1.0, 0.0)
    scene = replace(imagine(0, 0), dusk=False, backdrop="hills", pan=0.0, approach=0.0, actors=(car,))
    return watch(scene, 0.1, (0,))


def test_events_are_in_order_and_in_range(seen: EventStream) -> None:
    assert [array.dtype.name for array in (seen.x, seen.y, seen.t, seen.p)] == ["uint16", "uint16", "int64", "uint8"]
    assert (np.diff(seen.t) >= 0).all()
    assert 0 <= seen.t[0] <= seen.t[-1] < 100_000
    assert seen.x.max() < event_camera.WIDTH
    assert seen.y.max() < event_camera.HEIGHT
    assert set(seen.p) == {0, 1}


def test_a_dark_car_that_drives_to_the_right_darkens_in_front_of_it(seen: EventStream) -> None:
    body = (seen.y > 0.76 * 480) & (seen.y < 0.84 * 480)
    front, rear = ((seen.x > low) & (seen.x < high) for low, high in ((380, 410), (228, 258)))
    assert seen.p[body & front].mean() < 0.3
    assert seen.p[body & rear].mean() > 0.7
    elsewhere = seen.y < 0.3 * 480
    assert (body & (front | rear)).sum() > 3 * elsewhere.sum(), "with the camera at rest, the sky makes noise only"


def test_times_lie_between_the_subframes_too(seen: EventStream) -> None:
    assert len(set(seen.t % 1000)) > 500
