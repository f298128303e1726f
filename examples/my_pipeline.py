"""A pipeline of your own: four methods, and evbench measures it stage by stage. Here a toy captioner with random weights.

evbench compare --pipeline examples/my_pipeline.py:Captioner --baseline one-by-one --optimized together
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

import evbench

VOCABULARY, HIDDEN, PATCH, EDGE = 512, 256, 16, 224


class Network(nn.Module):
    """Patches of frames -> features -> a recurrent decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, HIDDEN, PATCH, PATCH)
        self.layers = nn.Sequential(*(nn.TransformerEncoderLayer(HIDDEN, 4, 2 * HIDDEN, 0.0, batch_first=True) for _ in range(2)))
        self.cell, self.words, self.head = nn.GRUCell(HIDDEN, HIDDEN), nn.Embedding(VOCABULARY, HIDDEN), nn.Linear(HIDDEN, VOCABULARY)


class Captioner:
    """A toy captioner: a small transformer over patches, then a GRU."""

    variants = {"one-by-one": {"together": False}, "together": {"together": True}}
    """Name of a variant -> arguments of __init__."""
    evidence = {
        "one-by-one": [evbench.Evidence("vision", "call for one frame", r"function:my_pipeline\.Captioner\.encode$", "each frame")],
        "together": [
            evbench.Evidence("vision", "call for all frames", r"function:my_pipeline\.Captioner\.encode_all$"),
            evbench.Evidence("vision", "call for one frame", r"function:my_pipeline\.Captioner\.encode$", "never"),
        ],
    }
    """Name of a variant -> what a run shows of it, and of no other."""
    reference = "float64"
    """What outputs are compared with: a type in which the class is built anew, or the name of a variant. Without it nothing is claimed."""

    def __init__(self, workload: evbench.Workload, dtype: str, together: bool) -> None:
        self.workload, self.together, self.dtype = workload, together, getattr(torch, dtype)
        torch.manual_seed(workload.seed or 0)
        self.model = Network().eval().to(workload.device, self.dtype)

    def load(self, path: Path) -> Any:
        """-> frames [count, height, width, 3] uint8."""
        return evbench.frames_of(path, self.workload)

    def preprocess(self, frames: Any) -> torch.Tensor:
        """-> pixel values [count, 3, EDGE, EDGE]."""
        pixels = torch.as_tensor(frames).to(self.workload.device, self.dtype).permute(0, 3, 1, 2) / 255
        return nn.functional.interpolate(pixels, (EDGE, EDGE), mode="bilinear", antialias=True)

    def vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """-> features [count, tokens, HIDDEN]."""
        return self.encode_all(pixels) if self.together else torch.cat([self.encode(frame[None]) for frame in pixels])

    def encode(self, frame: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.layers(self.model.patches(frame).flatten(2).mT)
        return features

    def encode_all(self, frames: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.layers(self.model.patches(frames).flatten(2).mT)
        return features

    def generate(self, features: torch.Tensor, new_tokens: int, choose: Any) -> tuple[list[int], str]:
        """-> tokens and text. `choose` takes the logits of each token and returns the token."""
        state, tokens = features.mean(dim=(0, 1))[None], list[int]()
        for _ in range(new_tokens):
            tokens.append(choose(self.model.head(state)[0]))
            state = self.model.cell(self.model.words(torch.tensor([tokens[-1]], device=state.device)), state)
        return tokens, " ".join(f"word{token}" for token in tokens)
