"""What both sides generated, side by side, with the first difference marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from evbench.report import outputs
from evbench.report.markup import Child, Markup, element, joined
from evbench.results import Result, Side
from evbench.verdict.judgement import Judgement

PIECES = re.compile(r"\s+|\S+")


def side_by_side(result: Result, judgement: Judgement) -> Markup:
    """Of the first sample whose tokens differ; if there is none, of the first one.

    The first token that differs is told by its number. Marked is the first word that differs: a result holds no text of a token.
    """
    compared = judgement.token_comparison
    sample = 0 if compared is None else compared.shown.sample
    texts = {side: text for side in result.variants() if (text := _last_text(result, side, sample)) is not None}
    place = first_difference(list(texts.values()))
    told = []
    if (count := len(result.baseline.workload.samples)) > 1:
        told.append(element("p", f"Sample {sample + 1} of {count}."))
    if compared is not None:
        told.append(element("p", f"Tokens: {outputs.texts(result, judgement)[outputs.TOKENS]}."))
    if len(texts) == 2:
        told.append(element("p", "Both texts are equal." if place is None else "The first word that differs is marked in both texts."))
    if (expected := result.baseline.workload.samples[sample].caption) is not None:
        told.append(_said("Expected", [expected]))
    names = {side: f"Output of {side}" if sample else outputs.name_of(side, judgement) for side in texts}
    sides = (_said(names[side], marked(text, place)) for side, text in texts.items())
    return joined(*told, element("div", *sides, class_="sides"))


def first_difference(texts: Sequence[str]) -> int | None:
    """Number of the first word or blank that differs. None if none does, or there is one text only."""
    if len(texts) < 2:
        return None
    pairs = enumerate(zip_longest(*map(PIECES.findall, texts)))
    return next((number for number, (one, *others) in pairs if any(other != one for other in others)), None)


def marked(text: str, place: int | None) -> list[Child]:
    """The text, with the piece at `place` marked: also for who cannot see it. A text that has ended by then is marked at its end."""
    if place is None:
        return [text]
    pieces = PIECES.findall(text)
    before, at, after = "".join(pieces[:place]), "".join(pieces[place : place + 1]), "".join(pieces[place + 1 :])
    told = element("span", "first difference: " if at else "the text ends here", class_="unseen" if at else "")
    return [before, element("mark", told, at), after]


def _last_text(result: Result, side: Side, sample: int) -> str | None:
    found = [run.text for run in result.variants()[side].timed() if run.sample == sample]
    return found[-1] if found else None


def _said(name: str, text: list[Child]) -> Markup:
    return element("section", element("h3", name), element("blockquote", *text), class_="said")
