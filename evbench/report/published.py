"""The figures of a published comparison of these two models, as they stand there.

Source: xifan-zhang/EventGPT:feasible/benchmark_inference/BENCHMARK_ANALYSIS_SUMMARY.md at commit 0f0f948 of 2026-01-23 23:10:25 +0800.
What its script measured is another question: here stand the page's own words, with the line of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SOURCE = "xifan-zhang/EventGPT:feasible/benchmark_inference/BENCHMARK_ANALYSIS_SUMMARY.md at 0f0f948"
COMMITTED = "2026-01-23T23:10:25+08:00"


@dataclass(frozen=True)
class Figure:
    """One of the page."""

    text: str
    """As it stands there, without its unit."""
    unit: str
    line: int
    exact: bool = False
    """A count, which nobody has rounded."""

    @property
    def value(self) -> float:
        return float(self.text)

    @property
    def half_digit(self) -> float:
        """By how much rounding may have moved it."""
        return 0.0 if self.exact else 0.5 * 10.0 ** -len(self.text.partition(".")[2])

    def __str__(self) -> str:
        return self.text + {"": "", "times": "x", "%": " %"}.get(self.unit, f" {self.unit}")


Page = Mapping[str, Figure]

PAGE: dict[str, Figure] = {
    # Counts.
    "samples": Figure("200", "samples", 5, exact=True),
    "samples done, Video-LLaVA": Figure("18", "samples", 15, exact=True),
    "samples done, EventGPT": Figure("0", "samples", 170, exact=True),
    # Video-LLaVA.
    "mean, Video-LLaVA": Figure("3.06", "s", 16),
    "load, Video-LLaVA": Figure("0.7", "s", 35),
    "preprocess, Video-LLaVA": Figure("0.067", "s", 36),
    "vision, Video-LLaVA": Figure("0.0", "s", 37),
    "generate, Video-LLaVA": Figure("2.0", "s", 38),
    "least total, Video-LLaVA": Figure("2.8", "s", 40),
    "most total, Video-LLaVA": Figure("3.3", "s", 40),
    "share of loading, Video-LLaVA": Figure("23", "%", 44),
    "share of generate, Video-LLaVA": Figure("75", "%", 47),
    "generate by tokens, Video-LLaVA": Figure("2.5", "s", 72),
    "new tokens, Video-LLaVA": Figure("102.4", "tokens", 72),
    "time of a token, Video-LLaVA": Figure("24.7", "ms", 72),
    # EventGPT.
    "load, EventGPT": Figure("0.015", "s", 51),
    "preprocess, EventGPT": Figure("0.020", "s", 52),
    "vision, EventGPT": Figure("0.028", "s", 53),
    "generate, EventGPT": Figure("0.9", "s", 54),
    "total, EventGPT": Figure("0.97", "s", 56),
    "generate by tokens, EventGPT": Figure("0.975", "s", 73),
    "new tokens, EventGPT": Figure("45.5", "tokens", 73),
    "time of a token, EventGPT": Figure("21.4", "ms", 73),
    # What is made of them.
    "speedup": Figure("5.1", "times", 63),
    "loading's share of the speedup": Figure("73", "%", 65),
    "speedup of loading": Figure("8.1", "times", 68),
    "generate's share of the speedup": Figure("27", "%", 71),
    "speedup of generate": Figure("2.6", "times", 74),
    "fewer tokens": Figure("56", "%", 75),
    # Shapes and sizes.
    "event images": Figure("4", "images", 6, exact=True),
    "side of an event image": Figure("224", "pixels", 83, exact=True),
    "tokens of an event image": Figure("257", "tokens", 84, exact=True),
    "width of a feature": Figure("768", "values", 84, exact=True),
    "type of EventGPT": Figure("bfloat16", "", 83),
    "type of Video-LLaVA": Figure("float16", "", 89),
    "height of an event image": Figure("480", "pixels", 82, exact=True),
    "width of an event image": Figure("640", "pixels", 82, exact=True),
    "frames": Figure("8", "frames", 88, exact=True),
    "height of a frame": Figure("1088", "pixels", 88, exact=True),
    "width of a frame": Figure("1440", "pixels", 88, exact=True),
    "size of an event image": Figure("200", "KB", 106),
    "size of pixel values": Figure("512", "KB", 107),
    "size of features": Figure("512", "KB", 108),
    "size of the frames": Figure("37", "MB", 114),
    "size of the features of all frames": Figure("8", "MB", 116),
    # Answers.
    "tokens of the answer, EventGPT": Figure("45", "tokens", 128, exact=True),
    "answer, EventGPT": Figure(
        "In the scene, there is a road with a car driving away. The road is bordered by a guardrail on the right side and a rocky cliff on "
        "the left. There are trees on both sides of the road.", "", 130),
    "tokens of the answer, Video-LLaVA": Figure("102", "tokens", 140, exact=True),
    "answer, Video-LLaVA": Figure(
        "The scene captures a car driving down a winding mountain road with a beautiful view of the surrounding mountains. The car is "
        "approaching a curve, and the road is lined with trees, adding to the picturesque landscape. On the left side, there appears to be "
        "a rocky cliff face, and on the right, there's a guardrail for safety. The overall atmosphere suggests a scenic drive through "
        "nature.", "", 142),
    # What is planned.
    "least time of all, Video-LLaVA": Figure("550", "s", 155, exact=True),
    "most time of all, Video-LLaVA": Figure("600", "s", 155, exact=True),
    "acceptance rate": Figure("token-level similarity", "", 161),
    "draft tokens": Figure("5", "tokens", 162, exact=True),
    "stages with memory told": Figure("0", "stages", 163, exact=True),
    "hour of the last update": Figure("2026-01-23 23:05", "UTC", 220, exact=True),
}  # fmt: skip
