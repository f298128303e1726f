"""The sample that ships with evbench: one scene, as an MP4 and as the five event images of the same second.

It is scene 59 of `evbench scenes make DIR --count 60`, which draws it again. Training has not seen it.
"""

from __future__ import annotations

from pathlib import Path

SEED, INDEX = 0, 59
DATA = Path(__file__).parent / "data"
CLIP = DATA / "scene.mp4"
EVENTS = DATA / "scene-events"
