"""Accuracy of generated captions, by attributes. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest

from evbench.scenes.captions import ActorDescription, CaptionContent, understand


@dataclass(frozen=True)
class Share:
    """A number of correct ones, of a number."""

    right: int
    of: int

    @property
    def value(self) -> float:
        return self.right / self.of

    def interval(self) -> tuple[float, float]:
        """95 % interval of the share: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927)."""
        z = 1.959964
        centre = (self.value + z**2 / (2 * self.of)) / (1 + z**2 / self.of)
        half = z / (1 + z**2 / self.of) * math.sqrt(self.value * (1 - self.value) / self.of + z**2 / (4 * self.of**2))
        # Rounding must not exclude a share of 0 or 1 from its interval.
        return max(0.0, min(centre - half, self.value)), min(1.0, max(centre + half, self.value))


def score(expected: list[str], generated: list[str]) -> dict[str, Share]:
    """The share of captions that are exactly right, and of each attribute over all expected captions that have it.

    Raises:
        ValueError: an expected caption cannot be parsed, or the lists differ in length.
    """
    right: Counter[str] = Counter()
    of: Counter[str] = Counter()
    for should, does in zip(expected, generated, strict=True):
        of["exact"] += 1
        right["exact"] += should == does
        account = understand(should)
        if account is None:
            raise ValueError(f"no caption of a scene: {should!r}")
        for name, value, found in _compared(account, understand(does)):
            of[name] += 1
            right[name] += value == found
    return {name: Share(right[name], of[name]) for name in of}


def right_share(expected: str, generated: str) -> float:
    """The share of a caption's attributes that are right.

    Raises:
        ValueError: the expected caption cannot be parsed.
    """
    account = understand(expected)
    if account is None:
        raise ValueError(f"no caption of a scene: {expected!r}")
    rows = _compared(account, understand(generated))
    return sum(value == found for _, value, found in rows) / len(rows)


def _compared(should: CaptionContent, does: CaptionContent | None) -> list[tuple[str, object, object]]:
    """(attribute, expected, found) for all attributes of the expected caption; found is None where the text cannot be parsed.

    Actors are compared in their order from left to right: after a missing one, all are in the wrong position.
    """
    rows: list[tuple[str, object, object]] = [
        ("backdrop", should.backdrop, does and does.backdrop),
        ("actors", (should.count, len(should.actors)), does and (does.count, len(does.actors))),
        ("relation", should.relation, does and does.relation),
    ]
    if should.dusk is not None:
        rows.append(("day or dusk", should.dusk, does.dusk if does else None))
    described: tuple[ActorDescription, ...] = does.actors if does else ()
    for one, other in zip_longest(should.actors, described):
        if one is None:  # one too many: counted under "actors"
            continue
        rows += [("place", one.place, other and other.place), ("kind", one.kind, other and other.kind)]
        if one.colour is not None:
            rows.append(("colour", one.colour, other and other.colour))
        if one.row is not None:
            rows.append(("row", one.row, other and other.row))
        rows.append(("moves to", one.side or "stands", (other.side or "stands") if other else None))
        if one.fast is not None:
            rows.append(("speed", one.fast, other.fast if other else None))
    return rows
