"""Two models measured side by side -> quantities with names, which the statements of a published page are compared with. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from evbench.report.expressions import Quantity
from evbench.results import Side
from evbench.verdict.blocks import END_TO_END
from evbench.verdict.model_side import ModelSide
from evbench.verdict.models import Compared, ModelsJudgement
from evbench.verdict.statistics import Interval

Named = Iterator[tuple[str, Quantity | str]]
SHORT = {END_TO_END: "total"}


def measured(
    models: Mapping[str, Mapping[str, str]],
    equal: ModelsJudgement | None,
    own: ModelsJudgement | None,
    texts: Sequence[tuple[str, str]] = (),
) -> dict[str, Quantity | str]:
    """Seconds, bytes, tokens, and ratios of `video` over `events`, the two models of the page, each with its confidence interval.

    A name begins with its session, `equal_` or `own_`; `here_` is the first of the two that has it. An invalid session has no times.

    Args:
        models: `video` and `events` -> the `name` of the model in evbench.
        equal: The session at equal length. None if it has not ended.
        own: The session in which answers end by themselves.
        texts: Of each scene, what the two models said at equal length.
    """
    of_equal = {} if equal is None else dict(_of_session(models, equal))
    of_own = {} if own is None else dict(_of_session(models, own))
    if pairs := [pair for one, other in texts for pair in zip_longest(one.split(), other.split())]:
        of_equal["same_words"] = Quantity(sum(one == other for one, other in pairs) / len(pairs))
    sessions = (("equal_", of_equal), ("own_", of_own), ("here_", of_own | of_equal))
    return {prefix + name: value for prefix, found in sessions for name, value in found.items()}


def _of_session(models: Mapping[str, Mapping[str, str]], judgement: ModelsJudgement) -> Named:
    sides = {prefix: judgement.side(model["name"]) for prefix, model in models.items()}
    yield from _ratios(judgement, sides["video"])
    if judgement.invalid:
        yield "invalid", "; ".join(judgement.invalid)
    else:
        yield from _times(judgement, sides)
    if judgement.difference is not None and (share := judgement.difference.share("load")) is not None:
        yield "share_load", Quantity(share)
    if cut := max(side.cut_off for side in judgement.sides.values()):
        yield "cut_off", Quantity(cut)
    yield from _input(judgement.sides[sides["events"]])
    yield from ((f"{prefix}_dtype", str(judgement.sides[side].work.dtype)) for prefix, side in sides.items())
    yield from _memory(judgement, sides)


def _ratios(judgement: ModelsJudgement, video: Side) -> Named:
    """Of all that has an interval; of two once more, where it compares what the page compares."""
    events = next(side for name, side in judgement.sides.items() if name != video)
    for line in (judgement.end_to_end, *judgement.stages, *judgement.token_timings, *judgement.token_counts):
        if line.interval is None:
            continue
        ratio = _inverse(line.interval) if video == "optimized" else _quantity(line.interval)
        name = f"ratio_{_short(line)}"
        yield name, ratio
        if name == "ratio_load" and events.kind == "events":
            yield "ratio_load_with_rendering", ratio
        if name == "ratio_new_tokens" and not any(side.cut_off for side in judgement.sides.values()):
            yield "ratio_new_tokens_of_whole_answers", ratio


def _short(line: Compared) -> str:
    return SHORT.get(line.name, line.name).replace(" ", "_").replace("-", "_")


def _quantity(interval: Interval) -> Quantity:
    return Quantity(interval.ratio, interval.low, interval.high)


def _inverse(interval: Interval) -> Quantity:
    return Quantity(1 / interval.ratio, 1 / interval.high, 1 / interval.low)


def _times(judgement: ModelsJudgement, sides: Mapping[str, Side]) -> Named:
    """Median seconds of the stages and their sum, and what the decode steps of `video` are compared with."""
    for prefix, side in sides.items():
        medians = {line.name: line.medians[side] or 0.0 for line in judgement.stages}
        yield from ((f"{prefix}_{stage}", Quantity(seconds)) for stage, seconds in medians.items())
        yield f"{prefix}_stages", Quantity(math.fsum(medians.values()))
    video = judgement.sides[sides["video"]]
    for name, interval in (
        ("stage_over_tpot", video.generate_per_token_over_tpot),
        ("tpot_over_prompt_token", video.tpot_over_prompt_token),
    ):
        if interval is not None:
            yield name, _quantity(interval)


def _input(events: ModelSide) -> Named:
    """Shapes of the event images."""
    if events.work.pixel_shape is None or events.work.visual_tokens is None:
        return
    count, _, height, _ = events.work.pixel_shape
    yield "event_images", Quantity(count)
    yield "event_image_side", Quantity(height)
    # EventGPT's visual tokens: one for each image, and one for each place in an image.
    yield "event_image_tokens", Quantity(events.work.visual_tokens - count)
    yield "visual_tokens", Quantity(events.work.visual_tokens)


def _memory(judgement: ModelsJudgement, sides: Mapping[str, Side]) -> Named:
    """The largest peak of a stage, of the first kind of memory that is known."""
    kind, lines = next(iter(judgement.memory.items()))
    yield "memory_kind", kind
    for prefix, side in sides.items():
        if peaks := [median for line in lines if (median := line.medians[side]) is not None]:
            yield f"{prefix}_peak", Quantity(max(peaks))
