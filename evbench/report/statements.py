"""What the published comparison states, and whether it holds: by its own figures where these decide, else by what was measured. Pure."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import zip_longest
from typing import Literal

from evbench.report.published import COMMITTED, Figure, Page
from evbench.report.units import format_bytes, format_ratio, format_ratios, format_seconds
from evbench.results import STAGES
from evbench.verdict.models import TOKEN, TOTAL, Account, Line
from evbench.verdict.statistics import Interval

Generation = Literal["holds", "does not hold", "cannot be told here"]
Basis = Literal["its own figures", "measured here", "not comparable"]
VIDEO, EVENTS = "Video-LLaVA", "EventGPT"
MODELS = {VIDEO: "video-llava", EVENTS: "eventgpt"}
RELEASED_WIDTHS = (1024, 4096)
"""Of a feature of Video-LLaVA: out of its tower, and in front of its language model.

Source: the hub's LanguageBind/Video-LLaVA-7B-hf:config.json.
"""
BYTES = {"uint8": 1, "16 bit": 2}


@dataclass(frozen=True)
class Finding:
    """What came of one check."""

    answer: Generation
    said: str
    """The page's figure."""
    found: str
    """What it should be by the page's other figures, or what was measured."""
    told: str
    """What else there is to say of it."""


@dataclass(frozen=True)
class Measured:
    """What there is of this measurement."""

    equal: Account | None
    """None if it has not ended."""
    own: Account | None
    texts: tuple[tuple[str, str], ...] = ()
    """Of each scene, what the two models said at equal length."""


Check = Callable[[Page, Measured], Finding]


@dataclass(frozen=True)
class Statement:
    """One of the page's."""

    number: int
    says: str
    basis: Basis
    figures: tuple[str, ...]
    """Those of the page that it is about."""
    check: Check

    def lines(self, page: Page) -> str:
        return ", ".join(str(line) for line in sorted({page[name].line for name in self.figures}))


# Figures that were rounded.


@dataclass(frozen=True)
class Span:
    """Where a figure may lie, for all that its digits tell. Only of what is not negative."""

    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Span) -> Span:
        return Span(self.low - other.high, self.high - other.low)

    def __mul__(self, other: Span) -> Span:
        return Span(self.low * other.low, self.high * other.high)

    def __truediv__(self, other: Span) -> Span:
        return Span(self.low / other.high, self.high / other.low if other.low > 0 else math.inf)

    def times(self, factor: float) -> Span:
        return Span(self.low * factor, self.high * factor)

    def meets(self, other: Span) -> bool:
        return self.low <= other.high * (1 + 1e-9) and other.low <= self.high * (1 + 1e-9)


def span(figure: Figure) -> Span:
    return Span(max(0.0, figure.value - figure.half_digit), figure.value + figure.half_digit)


def _agree(said: Figure, found: Span, shown: str, told: str = "", scale: float = 1.0) -> Finding:
    """Whether a figure is what it should be, as far as rounding lets it."""
    return Finding("holds" if span(said).times(scale).meets(found) else "does not hold", str(said), shown, told)


def _times(found: Span, value: float) -> str:
    return f"{value:.3g}x ({found.low:.3g} - {found.high:.3g} by rounding)"


# What was measured.


def _ratio(measured: Account | None, name: str) -> Interval | None:
    """How many times as much of something Video-LLaVA has as EventGPT. None if there is no interval."""
    if measured is None:
        return None
    interval = measured.line(name).interval
    if interval is None or measured.side(MODELS[VIDEO]) == "baseline":
        return interval
    return Interval(1 / interval.ratio, 1 / interval.high, 1 / interval.low, interval.p)


def _here(measured: Account | None, name: str, what: str) -> str:
    """In words, for beside a figure of the page."""
    found = _ratio(measured, name)
    if found is None:
        return ""
    unsure = ", which may be none" if found.low <= 1 <= found.high else ""
    return f"here {what} {format_ratio(found.ratio)} ({format_ratios(found.low, found.high)}) times as long{unsure}"


def _median(measured: Account | None, model: str, name: str) -> float | None:
    return None if measured is None else measured.line(name).medians[measured.side(MODELS[model])]


def _share_of_stages(account: Account, model: str, stage: str) -> float:
    """Of the sum of a model's stages."""
    medians = {line.name: line.medians[account.side(MODELS[model])] or 0.0 for line in account.stages}
    return medians[stage] / sum(medians.values())


def _fit(*accounts: Account | None) -> Account | None:
    """The first whose times may be told."""
    return next((account for account in accounts if account is not None and not account.invalid), None)


def _share(measured: Account | None, part: str) -> float | None:
    return None if measured is None else measured.difference.share(part)


def _join(*told: str) -> str:
    return "; ".join(filter(None, told))


UNTOLD = "not measured"


# The statements, in their order.


def _loading(page: Page, measured: Measured) -> Finding:
    ours, theirs = page[f"load, {VIDEO}"], page[f"load, {EVENTS}"]
    found = span(ours) / span(theirs)
    here = _here(measured.own, "load", "loading takes Video-LLaVA")
    return _agree(page["speedup of loading"], found, _times(found, ours.value / theirs.value), here)


def _overall(page: Page, measured: Measured) -> Finding:
    ours, theirs = page[f"mean, {VIDEO}"], page[f"total, {EVENTS}"]
    found = span(ours) / span(theirs)
    least, most = page[f"least total, {VIDEO}"].value / theirs.value, page[f"most total, {VIDEO}"].value / theirs.value
    here = _here(measured.own, TOTAL, "end to end Video-LLaVA takes")
    return _agree(
        page["speedup"], found, _times(found, ours.value / theirs.value), _join(f"by its range of totals {least:.1f}x to {most:.1f}x", here)
    )


def _loading_share(page: Page, measured: Measured) -> Finding:
    saved = span(page[f"load, {VIDEO}"]) - span(page[f"load, {EVENTS}"])
    value = page[f"load, {VIDEO}"].value - page[f"load, {EVENTS}"].value
    whole = page[f"mean, {VIDEO}"].value - page[f"total, {EVENTS}"].value
    found = saved / (span(page[f"mean, {VIDEO}"]) - span(page[f"total, {EVENTS}"]))
    shares = {name: _share(account, "load") for name, account in (("equal", measured.equal), ("own", measured.own))}
    known = {name: share for name, share in shares.items() if share is not None}
    own = _fit(measured.own)
    of = _share_of_stages(own, VIDEO, "load") if own is not None else None
    here, at = " and ".join(f"{share:.0%}" for share in known.values()), " and ".join(f"at {name}" for name in known)
    claimed = page["loading's share of the speedup"].value + page["generate's share of the speedup"].value
    rest = f"with what it gives to generate it leaves {100 - claimed:.0f} % to preprocess and vision"
    told = _join(
        rest,
        f"here loading is {here} of the difference, {at} length" if known else "",
        f"here loading is {of:.0%} of Video-LLaVA's time" if of is not None else "",
    )
    return _agree(
        page["loading's share of the speedup"], found.times(100), f"{100 * value / whole:.0f} %" if whole else "no difference", told
    )


def _one_time_of_generate(page: Page, measured: Measured) -> Finding:
    found = span(page[f"new tokens, {VIDEO}"]) * span(page[f"time of a token, {VIDEO}"]).times(1e-3)
    value = page[f"new tokens, {VIDEO}"].value * page[f"time of a token, {VIDEO}"].value / 1e3
    return _agree(page[f"generate, {VIDEO}"], found, f"{value:.2f} s", "the same stage, by its tokens and the time of each")


def _sum_of_stages(page: Page, measured: Measured) -> Finding:
    figures = [page[f"{stage}, {VIDEO}"] for stage in STAGES]
    found = reduce(Span.__add__, map(span, figures))
    mean = page[f"mean, {VIDEO}"]
    rest = mean.value - sum(figure.value for figure in figures[:-1])
    return _agree(mean, found, f"{sum(figure.value for figure in figures):.2f} s", f"the mean leaves {rest:.2f} s to generate")


def _share_of_generate(page: Page, measured: Measured) -> Finding:
    ours, whole = page[f"generate, {VIDEO}"], page[f"mean, {VIDEO}"]
    found = span(ours) / span(whole)
    own = _fit(measured.own)
    here = "" if own is None else f"here it is {_share_of_stages(own, VIDEO, 'generate'):.0%} at own length"
    return _agree(page[f"share of generate, {VIDEO}"], found.times(100), f"{100 * ours.value / whole.value:.0f} %", here)


def _parts_of_eventgpt(page: Page, measured: Measured) -> Finding:
    names = [f"{stage}, {EVENTS}" for stage in STAGES[:-1]] + [f"generate by tokens, {EVENTS}"]
    found = reduce(Span.__add__, (span(page[name]) for name in names))
    by_stages = sum(page[f"{stage}, {EVENTS}"].value for stage in STAGES)
    told = f"with its other figure for generate, {page[f'generate, {EVENTS}']}, {by_stages:.3f} s"
    return _agree(page[f"total, {EVENTS}"], found, f"{sum(page[name].value for name in names):.3f} s", told)


def _because_of_tokens(page: Page, measured: Measured) -> Finding:
    tokens = span(page[f"new tokens, {VIDEO}"]) / span(page[f"new tokens, {EVENTS}"])
    value = page[f"new tokens, {VIDEO}"].value / page[f"new tokens, {EVENTS}"].value
    rest = page[f"time of a token, {VIDEO}"].value / page[f"time of a token, {EVENTS}"].value
    here = _here(measured.equal, TOKEN, "at equal length a further token takes Video-LLaVA")
    return _agree(page["speedup of generate"], tokens, _times(tokens, value), _join(f"the time of each token is another {rest:.2f}x", here))


def _time_of_a_token(page: Page, measured: Measured) -> Finding:
    """Whether a whole stage over its tokens is the time of a token."""
    said = page[f"time of a token, {VIDEO}"]
    stage = page[f"generate by tokens, {VIDEO}"].value / page[f"new tokens, {VIDEO}"].value * 1e3
    account = measured.equal
    side = None if account is None else account.sides[account.side(MODELS[VIDEO])]
    if account is None or side is None or side.mixed is None or account.invalid:
        return Finding("cannot be told here", str(said), UNTOLD, f"the page has {stage:.1f} ms by the whole stage")
    whole = span(page[f"generate by tokens, {VIDEO}"]).times(1e3) / span(page[f"new tokens, {VIDEO}"])
    if not whole.meets(span(said)):
        return Finding("cannot be told here", str(said), UNTOLD, f"it is not its whole stage over its tokens, {stage:.1f} ms")
    answer: Generation = "holds" if side.mixed.low <= 1 <= side.mixed.high else "does not hold"
    found = f"{format_ratio(side.mixed.ratio)} ({format_ratios(side.mixed.low, side.mixed.high)}) times the time of a further token"
    priced = side.over_prompt
    bound = (
        f"a further token takes {priced.ratio:.0f} ({priced.low:.0f} - {priced.high:.0f}) times as long as a token of the prompt, for "
        "about the same arithmetic: it is not arithmetic that bounds decoding"
        if priced is not None and priced.low > 1
        else ""
    )
    return Finding(answer, str(said), found, _join(f"the page divides the whole stage, prefill included ({stage:.1f} ms)", bound))


def _sizes(page: Page, measured: Measured) -> Finding:
    side, tokens, width = (page[name].value for name in ("side of an event image", "tokens of an event image", "width of a feature"))
    picture = math.prod(page[f"{edge} of an event image"].value for edge in ("height", "width"))
    frames = page["frames"].value * math.prod(page[f"{edge} of a frame"].value for edge in ("height", "width"))
    computed = {
        "size of pixel values": (3 * side**2 * BYTES["16 bit"], 1e3),
        "size of features": (tokens * width * BYTES["16 bit"], 1e3),
        "size of an event image": (picture * 3 * BYTES["uint8"], 1e3),
        "size of the frames": (frames * 3 * BYTES["uint8"], 1e6),
    }
    # A kilobyte may be 1000 bytes or 1024, and the page says "about".
    right = {
        name: any(math.isclose(page[name].value * unit, size, rel_tol=0.02) for unit in (decimal, 1024 ** round(math.log(decimal, 1000))))
        for name, (size, decimal) in computed.items()
    }
    shown = ", ".join(f"{size:,.0f} B" for size, _ in computed.values())
    wrong = [name for name, kept in right.items() if not kept]
    told = f"by the shapes beside them; wrong: {', '.join(wrong)}" if wrong else ""
    return Finding("does not hold" if wrong else "holds", ", ".join(str(page[name]) for name in computed), shown, told)


def _shapes(page: Page, measured: Measured) -> Finding:
    side, images, tokens = (page[name] for name in ("side of an event image", "event images", "tokens of an event image"))
    said = f"{images.text} images of {side.text} pixels, {tokens.text} tokens each"
    account = measured.equal or measured.own
    work = None if account is None else account.sides[account.side(MODELS[EVENTS])].work
    if work is None or work.pixel_shape is None or work.visual_tokens is None:
        return Finding("cannot be told here", said, UNTOLD, "")
    count, _, height, _ = work.pixel_shape
    # One token for each image, and one for each place in an image.
    found = (count, height, work.visual_tokens - count)
    answer: Generation = "holds" if found == (images.value, side.value, tokens.value) else "does not hold"
    told = f"{work.visual_tokens} of them go to the language model, pooled over time and space"
    return Finding(answer, said, f"{count} images of {height} pixels, {found[2]} tokens each", told)


def _features_of_frames(page: Page, measured: Measured) -> Finding:
    frames, tokens, width = page["frames"].value, page["tokens of an event image"].value, page["width of a feature"]
    size = page["size of the features of all frames"]
    by_width = {wide: frames * tokens * wide * BYTES["16 bit"] for wide in (int(width.value), *RELEASED_WIDTHS)}
    shown = ", ".join(f"{count / 1e6:.2f} MB with {wide:,} values" for wide, count in by_width.items())
    kept = int(width.value) in RELEASED_WIDTHS and any(span(size).times(1e6).meets(Span(count, count)) for count in by_width.values())
    told = f"the released tower has {RELEASED_WIDTHS[0]:,} values a token, and {RELEASED_WIDTHS[1]:,} go to the language model"
    return Finding("holds" if kept else "does not hold", f"{width.text} values a token, {size} in all", shown, told)


def _examples(page: Page, measured: Measured) -> Finding:
    """Tokens cannot be counted without LLaMA's vocabulary. But each word and mark is one at least."""
    counts = {model: len(re.findall(r"\w+(?:'\w+)?|[^\w\s]", page[f"answer, {model}"].text)) for model in (EVENTS, VIDEO)}
    said = {model: page[f"tokens of the answer, {model}"].value for model in counts}
    few = [model for model in counts if said[model] < counts[model]]
    answer: Generation = "does not hold" if few else "cannot be told here"
    shown = " and ".join(f"{count} words and marks" for count in counts.values())
    told = "" if few else "each is one token at least, so it may be; to count them takes LLaMA's vocabulary, which evbench does not carry"
    return Finding(answer, " and ".join(f"{value:.0f} tokens" for value in said.values()), shown, told)


def _speculation(page: Page, measured: Measured) -> Finding:
    """At best every draft token is accepted. Then the page's formula is drafts + 1, and a speedup that much less as drafting costs.

    Arithmetic of the page alone: the two are the same only if its draft token takes no time, as far as rounding lets it.
    """
    drafts = page["draft tokens"].value
    draft, target = page[f"time of a token, {EVENTS}"], page[f"time of a token, {VIDEO}"]
    cost = span(draft) / span(target)
    best = (drafts + 1) / (drafts * draft.value / target.value + 1)
    found = _ratio(measured.equal, TOKEN)
    here = f"with the times measured here {(drafts + 1) / (drafts / found.ratio + 1):.2f}x at best" if found is not None else ""
    told = _join("it counts tokens for each pass of the target, is never below 1, and has no price of a draft in it", here)
    same = Span((drafts + 1) / (drafts * cost.high + 1), (drafts + 1) / (drafts * cost.low + 1)).meets(Span(drafts + 1, drafts + 1))
    return Finding("holds" if same else "does not hold", f"{drafts + 1:.3g}x at best", f"{best:.2f}x at best", told)


def _upside_down(page: Page, measured: Measured) -> Finding:
    """Whether the quotient is on the same side of 1 as the page's speedup. Arithmetic of the page alone."""
    ours, theirs, speedup = page[f"mean, {VIDEO}"].value, page[f"total, {EVENTS}"].value, page["speedup"]
    right = (theirs / ours > 1) == (speedup.value > 1)
    found = f"{theirs / ours:.2f}, beside a speedup of {speedup}"
    return Finding("holds" if right else "does not hold", "EventGPT / Video-LLaVA", found, f"the inverse is {ours / theirs:.2f}")


def _similarity(page: Page, measured: Measured) -> Finding:
    """No answer in any case: whether a draft is accepted the target alone tells, behind each token of its own."""
    said = page["acceptance rate"].text
    told = "whether a token is accepted is the target's to say, behind its own text; two answers side by side do not tell it"
    if not measured.texts:
        return Finding("cannot be told here", said, UNTOLD, told)
    pairs = [pair for one, other in measured.texts for pair in zip_longest(one.split(), other.split())]
    same = sum(one == other for one, other in pairs) / max(1, len(pairs))
    return Finding("cannot be told here", said, f"{same:.0%} of the words are the same, place by place", told)


def _time_of_all(page: Page, measured: Measured) -> Finding:
    samples, mean = page["samples"].value, page[f"mean, {VIDEO}"]
    found = span(mean).times(samples)
    least, most = page[f"least time of all, {VIDEO}"], page[f"most time of all, {VIDEO}"]
    answer: Generation = "holds" if Span(least.value, most.value).meets(found) else "does not hold"
    return Finding(answer, f"{least.text} - {most}", f"{samples * mean.value:.0f} s", f"{samples:.0f} times its mean")


def _clock(page: Page, measured: Measured) -> Finding:
    """A file cannot be of later than its commit."""
    said = page["hour of the last update"]
    told = datetime.datetime.fromisoformat(said.text).replace(tzinfo=datetime.UTC)
    committed = datetime.datetime.fromisoformat(COMMITTED).astimezone(datetime.UTC)
    answer: Generation = "does not hold" if told > committed else "holds"
    return Finding(answer, str(said), f"committed {committed:%Y-%m-%d %H:%M} UTC", "")


def _vision(page: Page, measured: Measured) -> Finding:
    said, account = page[f"vision, {VIDEO}"], _fit(measured.equal, measured.own)
    seconds = _median(account, VIDEO, "vision")
    if account is None or seconds is None:
        return Finding("cannot be told here", str(said), UNTOLD, "")
    share = _share_of_stages(account, VIDEO, "vision")
    told = f"a stage of its own, {share:.0%} of Video-LLaVA's time"
    return _agree(said, Span(seconds, seconds), format_seconds(seconds), told)


def _before_it_ran(page: Page, measured: Measured) -> Finding:
    planned = page["samples"].value
    done = {model: page[f"samples done, {model}"].value for model in (VIDEO, EVENTS)}
    answer: Generation = "holds" if all(count == planned for count in done.values()) else "does not hold"
    shown = " and ".join(f"{count:.0f} for {model}" for model, count in done.items())
    return Finding(answer, f"figures of {planned:.0f} samples", shown, "its figures of EventGPT are from elsewhere")


def _codec(page: Page, measured: Measured) -> Finding:
    """Whether loading event images takes less than loading video, as the page's figures have it."""
    value = page[f"load, {VIDEO}"].value / page[f"load, {EVENTS}"].value
    said, account, found = f"loading {value:.3g}x", measured.own, _ratio(measured.own, "load")
    if account is None or found is None:
        return Finding("cannot be told here", said, UNTOLD, "")
    shown = f"{format_ratio(found.ratio)} ({format_ratios(found.low, found.high)}) times"
    if account.sides[account.side(MODELS[EVENTS])].kind != "events":
        told = "the event images were made before, and what that takes is in no stage; PNG is a codec too"
        return Finding("cannot be told here", said, shown, told)
    told = "event images are made from raw events in loading"
    if found.low <= 1 <= found.high:
        return Finding("cannot be told here", said, shown, _join("no difference was found", told))
    return Finding("holds" if (value > 1) == (found.low > 1) else "does not hold", said, shown, told)


def _shorter(page: Page, measured: Measured) -> Finding:
    ours, theirs = span(page[f"new tokens, {VIDEO}"]), span(page[f"new tokens, {EVENTS}"])
    said = page[f"new tokens, {VIDEO}"].value / page[f"new tokens, {EVENTS}"].value
    found = _ratio(measured.own, "new tokens")
    shown = f"{page['fewer tokens']} fewer tokens ({said:.2f}x)"
    told = "length is what a model was trained to say: it is no property of its input, and explains no speed of the network"
    if measured.own is None or found is None:
        return Finding("cannot be told here", shown, UNTOLD, told)
    here = f"{format_ratio(found.ratio)} ({format_ratios(found.low, found.high)}) times"
    if measured.own.invalid:
        told = _join("what disturbed the session took time, and no token", told)
    if cut := max(side.cut for side in measured.own.sides.values()):
        return Finding("cannot be told here", shown, here, _join(f"up to {cut:.0%} of the answers were cut off at the limit", told))
    answer: Generation = "holds" if Span(found.low, found.high).meets(ours / theirs) else "does not hold"
    return Finding(answer, shown, here, told)


def _same_type(page: Page, measured: Measured) -> Finding:
    types = [page[f"type of {model}"].text for model in (VIDEO, EVENTS)]
    account = measured.equal or measured.own
    here = (
        UNTOLD if account is None else " and ".join(str(account.sides[account.side(MODELS[model])].work.dtype) for model in (VIDEO, EVENTS))
    )
    told = "here both are greedy; its script draws tokens by lot, without a seed"
    return Finding("holds" if len(set(types)) == 1 else "does not hold", " and ".join(types), here, told)


def _memory(page: Page, measured: Measured) -> Finding:
    told_of = page["stages with memory told"].value
    account = measured.equal or measured.own
    here = ""
    if account is not None:
        kind, lines = next(iter(account.memory.items()))
        most = {model: _most(lines, account, model) for model in (VIDEO, EVENTS)}
        shown = " and ".join(f"{format_bytes(count)} for {model}" for model, count in most.items() if count is not None)
        here = f"here its peak ({kind}) is told of each stage, at most {shown}" if shown else ""
    answer: Generation = "holds" if told_of == len(STAGES) else "does not hold"
    return Finding(answer, f"memory of {len(STAGES)} stages", f"{told_of:.0f}", here)


def _most(lines: Sequence[Line], account: Account, model: str) -> int | None:
    found = [median for line in lines if (median := line.medians[account.side(MODELS[model])]) is not None]
    return round(max(found)) if found else None


def _of(model: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{name}, {model}" for name in names)


OWN: Basis = "its own figures"
HERE: Basis = "measured here"
STATEMENTS: tuple[Statement, ...] = (
    Statement(1, "loading is 8.1 times as fast", OWN, ("speedup of loading", *_of(VIDEO, "load"), *_of(EVENTS, "load")), _loading),
    Statement(2, "overall 5.1 times as fast", OWN, ("speedup", *_of(VIDEO, "mean"), *_of(EVENTS, "total")), _overall),
    Statement(3, "loading is 73 % of the speedup", OWN, ("loading's share of the speedup", "generate's share of the speedup",
              *_of(VIDEO, "load", "mean"), *_of(EVENTS, "load", "total")), _loading_share),
    Statement(4, "generate takes Video-LLaVA 2.0 s", OWN, _of(VIDEO, "generate", "new tokens", "time of a token"), _one_time_of_generate),
    Statement(5, "the mean is the sum of the stages", OWN, _of(VIDEO, "mean", *STAGES), _sum_of_stages),
    Statement(6, "generate is 75 % of Video-LLaVA's time", OWN, _of(VIDEO, "share of generate", "generate", "mean"), _share_of_generate),
    Statement(7, "EventGPT's stages are within its total", OWN,
              _of(EVENTS, "total", *STAGES, "generate by tokens"), _parts_of_eventgpt),
    Statement(8, "generate is 2.6 times as fast because of fewer tokens", OWN, ("speedup of generate",
              *_of(VIDEO, "new tokens", "time of a token"), *_of(EVENTS, "new tokens", "time of a token")), _because_of_tokens),
    Statement(9, "the stage over its tokens is the time of a token", HERE,
              _of(VIDEO, "time of a token", "generate by tokens", "new tokens"), _time_of_a_token),
    Statement(10, "sizes of images, pixel values, features and frames", OWN,
              ("size of pixel values", "size of features", "size of an event image", "size of the frames"), _sizes),
    Statement(11, "shapes of EventGPT's input", HERE, ("event images", "side of an event image", "tokens of an event image"), _shapes),
    Statement(12, "width and size of Video-LLaVA's features", OWN, ("width of a feature", "size of the features of all frames"),
              _features_of_frames),
    Statement(13, "the examples have 45 and 102 tokens", OWN,
              (*_of(EVENTS, "tokens of the answer", "answer"), *_of(VIDEO, "tokens of the answer", "answer")), _examples),
    Statement(14, "(1-a^(g+1))/(1-a) is the speedup of speculative decoding", OWN,
              ("draft tokens", *_of(VIDEO, "time of a token"), *_of(EVENTS, "time of a token")), _speculation),
    Statement(15, "EventGPT / Video-LLaVA is the speedup", OWN, ("speedup", *_of(VIDEO, "mean"), *_of(EVENTS, "total")), _upside_down),
    Statement(16, "similarity of answers is an acceptance rate", "not comparable", ("acceptance rate",), _similarity),
    Statement(17, "200 samples take Video-LLaVA 550 to 600 s", OWN,
              ("samples", *_of(VIDEO, "mean", "least time of all", "most time of all")), _time_of_all),
    Statement(18, "times are in UTC", OWN, ("hour of the last update",), _clock),
    Statement(19, "vision is 0.0 s", HERE, _of(VIDEO, "vision"), _vision),
    Statement(20, "the figures are of 200 samples of either model", OWN,
              ("samples", *_of(VIDEO, "samples done"), *_of(EVENTS, "samples done")), _before_it_ran),
    Statement(21, "event images bypass the overhead of a codec", HERE, (*_of(VIDEO, "load"), *_of(EVENTS, "load")), _codec),
    Statement(22, "denser input gives shorter answers", HERE,
              ("fewer tokens", *_of(VIDEO, "new tokens"), *_of(EVENTS, "new tokens")), _shorter),
    Statement(23, "both ran under the same conditions", OWN, (f"type of {VIDEO}", f"type of {EVENTS}"), _same_type),
    Statement(24, "memory is told of each stage", OWN, ("stages with memory told",), _memory),
)  # fmt: skip


def examine(page: Page, measured: Measured) -> Mapping[int, Finding]:
    """Number of a statement -> whether it holds."""
    return {statement.number: statement.check(page, measured) for statement in STATEMENTS}
