"""The samples that ship with evbench: two scenes, each as an MP4 and as the five event images of the same second.

They are scenes 59 and 60 of `evbench scenes make DIR --count 61`, which draws them again. Training has not seen them.
"""

from __future__ import annotations

from evbench.pipelines.weights import DATA

SEED, INDEX, OTHER_INDEX = 0, 59, 60
CLIP = DATA / "scene.mp4"
EVENTS = DATA / "scene-events"
OTHER_CLIP = DATA / "other-scene.mp4"
OTHER_EVENTS = DATA / "other-scene-events"
"""For what one sample cannot show: answers that were exchanged."""
SHIPPED = {CLIP: INDEX, EVENTS: INDEX, OTHER_CLIP: OTHER_INDEX, OTHER_EVENTS: OTHER_INDEX}
"""Each with the number of its scene."""
