"""Holds speculative decoding to the answers without it, scene by scene: `python -m tests.lossless --scenes 500 --out FILE`.

The small Video-LLaVA in float32 answers each scene without drafts, and by each drafter. All tokens have to be the same. Scenes are drawn
anew, and were not trained on; frames go to the model as they are drawn, without a file.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from evbench.inputs import workload
from evbench.machine import machine
from evbench.pipelines.build import build
from evbench.pipelines.generate.choices import GAMMA
from evbench.pipelines.load.video import Frames
from evbench.results import Workload
from evbench.scenes.captions import QUESTIONS
from evbench.scenes.draw import draw
from evbench.scenes.pack import RGB_MIX, pack
from evbench.scenes.world import imagine
from evbench.stages import Passes, Sampler
from evbench.training.batches import HELD_OUT_FIRST, HELD_OUT_SERIES, SECONDS
from evbench.variants.named import parse

FRAMES, HEIGHT, WIDTH = 8, 224, 300
NEW_TOKENS = 48
PLAIN = "baseline+generate=static"
DRAFTS = tuple(draft for draft in GAMMA if draft.startswith(("lookup", "head")))
"""Drafters that the small model can have, and that see nothing beside the clip."""


class Counted(Passes):
    """How many drafts there were, and how many of them were accepted."""

    def __init__(self) -> None:
        self.drafts = self.right = 0

    def drafted(self, count: int) -> None:
        self.drafts += count

    def accepted(self, count: int) -> None:
        self.right += count


def small() -> Workload:
    """What the small Video-LLaVA is asked, in float32 on the CPU."""
    return workload.describe(
        model="video-llava", preset="small", weights=None, videos=[], events_folders=(), data=None, frame_policy="inclusive",
        prompt=QUESTIONS["concise"], new_tokens=NEW_TOKENS, stop_at_end=False, device="cpu", seed=None,
    )  # fmt: skip


def frames(index: int) -> Frames:
    """Of a held-out scene."""
    seconds = torch.linspace(0, SECONDS, FRAMES)
    drawn = draw(pack([imagine(HELD_OUT_SERIES, index)], "cpu", RGB_MIX, tight=True), seconds, SECONDS, HEIGHT, WIDTH)
    pixels = drawn[0].permute(1, 2, 3, 0).round().clamp(0, 255).byte()  # [frames, height, width, 3]
    return Frames(pixels.numpy(), tuple(range(FRAMES)), tuple(seconds.tolist()), "drawn")


@torch.inference_mode()
def compare(scenes: int, drafts: Sequence[str]) -> tuple[dict[str, int], dict[str, Counted], int]:
    """Draft -> how many answers differ, and what was drafted; and how many answers there are of which no two are alike."""
    plain = build(parse(PLAIN), small())
    others = {draft: build(parse(f"{PLAIN}+draft={draft}"), small()) for draft in drafts}
    differing, counted, said = Counter[str](), {draft: Counted() for draft in drafts}, set[tuple[int, ...]]()
    for index in range(HELD_OUT_FIRST, HELD_OUT_FIRST + scenes):
        features = plain.vision(plain.preprocess(frames(index))[0])[0]
        expected, _ = plain.generate(features, NEW_TOKENS, Sampler())
        said.add(expected.tokens)
        for draft, other in others.items():
            found, _ = other.generate(features, NEW_TOKENS, Sampler(passes=counted[draft]))
            differing[draft] += found.tokens != expected.tokens
    return {draft: differing[draft] for draft in drafts}, counted, len(said)


def main() -> int:
    """Returns the exit code: 1 if an answer differs."""
    parser = argparse.ArgumentParser(description="Hold speculative decoding to the answers without it.")
    parser.add_argument("--scenes", type=int, default=500, help="how many; default: 500")
    parser.add_argument("--out", type=Path, help="also write what is printed into this file")
    options = parser.parse_args()
    begin = time.monotonic()
    differing, counted, said = compare(options.scenes, DRAFTS)
    here = machine.read("cpu")
    lines = [
        f"{here.source}: {options.scenes} held-out scenes, {NEW_TOKENS} tokens each, the small Video-LLaVA in float32 on a CPU, "
        f"torch {here.packages['torch']}, {time.monotonic() - begin:,.0f} s; {said} different answers",
        "",
        f"{'draft':<10} {'differing':>9} {'drafts':>8} {'accepted':>8}",
        *(f"{draft:<10} {differing[draft]:>9} {one.drafts:>8,} {one.right:>8,}" for draft, one in counted.items()),
    ]
    print("\n".join(lines))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(any(differing.values()))


if __name__ == "__main__":
    sys.exit(main())
