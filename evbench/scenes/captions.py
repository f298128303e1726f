"""Captions of scenes: `describe` writes one, `understand` reads one back, so that an answer is scored by what it says, not by its letters.

Two registers, each asked for by a question of its own: a concise one and a verbose one. An event camera sees neither colour nor the
time of day, so captions for event images leave both out. Places, and how two actors pass each other, are as in the middle of the clip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from evbench.scenes.world import COLOURS, KINDS, ROWS, Actor, Backdrop, Scene

Register = Literal["concise", "verbose"]

QUESTIONS: dict[Register, str] = {
    "concise": "What are the key elements in this scene?",
    "verbose": "Describe in detail what happened in the scene.",
}
PLACES = ("far left", "left of the middle", "right of the middle", "far right")
COUNTS = {2: "two", 3: "three", 4: "four"}
WHERE = {"far pavement": "on the far pavement", "far lane": "in the far lane", "near lane": "in the near lane",
         "near pavement": "on the near pavement"}  # fmt: skip
BEHIND: dict[Backdrop, str] = {"houses": "houses", "hills": "hills", "forest": "a forest"}
VERBS = {"car": ("drives", "speeds"), "truck": ("drives", "speeds"), "cyclist": ("rides", "races"), "person": ("walks", "runs")}
"""Slow and fast."""
PACE = ("slowly", "fast")
WEARS = ("person", "cyclist")
"""Kinds whose colour is that of their clothes."""


@dataclass(frozen=True)
class ActorDescription:
    """What a caption says of one actor. None where it does not say it."""

    place: str
    kind: str
    colour: str | None
    row: str | None
    side: str | None
    """Where it moves: left or right; None for what stands."""
    fast: bool | None


@dataclass(frozen=True)
class CaptionContent:
    """What a caption says. None where it does not say it."""

    backdrop: str
    dusk: bool | None
    actors: tuple[ActorDescription, ...]
    count: int
    """Number of actors that it states; if it states none, the number that it describes."""
    relation: str
    """The last sentence."""


def describe(scene: Scene, register: Register, *, colours: bool) -> str:
    """The caption of a scene. `colours`: whether the camera sees colour and the time of day."""
    if register == "concise":
        time = (" at dusk" if scene.dusk else " by day") if colours else ""
        parts = [f"{PLACES[actor.slot]}, {_named(actor, colours)} {_moves(actor)}" for actor in scene.actors]
        return f"A street{time} with {BEHIND[scene.backdrop]}. {_upper('; '.join(parts))}. {_relation(scene)}."
    time = (", in the light of dusk" if scene.dusk else ", in the light of day") if colours else ""
    sentences = [
        f"The scene shows a street in front of {BEHIND[scene.backdrop]}{time}.",
        f"There are {COUNTS[len(scene.actors)]} things to see.",
    ]
    for actor in scene.actors:
        does = f"{VERBS[actor.kind][0]} {PACE[actor.fast]} to the {_side(actor)}" if actor.moves else "stands"
        sentences.append(f"At the {PLACES[actor.slot]}, {_named(actor, colours)} {does} {WHERE[actor.row]}.")
    return " ".join([*sentences, f"{_relation(scene)}{_depth(scene)}."])


def understand(text: str) -> CaptionContent | None:
    """What a caption says, or None if it is no caption of ours."""
    for pattern, one in ((_CONCISE, _CONCISE_ACTOR), (_VERBOSE, _VERBOSE_ACTOR)):
        if found := pattern.fullmatch(text):
            actors = tuple(_actor(match) for match in one.finditer(found["actors"]))
            time = found["time"]
            backdrop = next(name for name, words in BEHIND.items() if words == found["backdrop"])
            said = found.groupdict().get("count")
            count = next((number for number, word in COUNTS.items() if word == said), len(actors))
            return CaptionContent(backdrop, time == "dusk" if time else None, actors, count, found["relation"])
    return None


def _named(actor: Actor, colours: bool) -> str:
    if not colours:
        return f"a {actor.kind}"
    return f"a {actor.kind} in {actor.colour}" if actor.kind in WEARS else f"a {actor.colour} {actor.kind}"


def _moves(actor: Actor) -> str:
    return f"{VERBS[actor.kind][actor.fast]} to the {_side(actor)}" if actor.moves else "stands"


def _side(actor: Actor) -> str:
    return "right" if actor.faces > 0 else "left"


def _pair(scene: Scene) -> tuple[Actor, Actor] | None:
    """The first two that move, from the left."""
    moving = [actor for actor in scene.actors if actor.moves]
    return (moving[0], moving[1]) if len(moving) > 1 else None


def _relation(scene: Scene) -> str:
    """How the first two that move pass each other."""
    pair = _pair(scene)
    if pair is None:
        return f"Only the {next(actor.kind for actor in scene.actors if actor.moves)} moves"
    left, right = pair
    who = f"The two {left.kind}s" if left.kind == right.kind else f"The {left.kind} and the {right.kind}"
    who = who.replace("persons", "people")
    if left.faces == right.faces:
        return f"{who} go the same way"
    return f"{who} come towards each other" if left.faces > 0 else f"{who} move apart"


def _depth(scene: Scene) -> str:
    """Which of the two is nearer to the camera."""
    pair = _pair(scene)
    if pair is None:
        return ""
    left, right = (ROWS.index(actor.row) for actor in pair)
    if left == right:
        return ", at the same distance"
    return f", and the {'left' if left > right else 'right'} one is nearer"


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _actor(match: re.Match[str]) -> ActorDescription:
    said = match.groupdict()
    verb = said["verb"].split()[0]
    row = next((row for row, where in WHERE.items() if where == said.get("where")), None)
    fast = None if verb == "stands" else said["verb"].endswith(PACE[True]) or any(verb == fast for _, fast in VERBS.values())
    kind, colour = said["kind"] or said["wearer"], said["colour"] or said["clothes"]
    return ActorDescription(said["place"].lower(), kind, colour, row, said["side"], fast)


def _any(words: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, words))


_VERB = _any(tuple(verb for pair in VERBS.values() for verb in pair))
_WHO = rf"a (?:(?P<wearer>{_any(WEARS)})(?: in (?P<clothes>{_any(COLOURS)}))?|(?:(?P<colour>{_any(COLOURS)}) )?(?P<kind>{_any(KINDS)}))"
_DOES = rf"(?P<verb>stands|(?:{_VERB})(?: slowly| fast)?)(?: to the (?P<side>left|right))?"
_CONCISE_ACTOR = re.compile(rf"(?P<place>(?i:{_any(PLACES)})), {_WHO} {_DOES}(?:; |$)")
_VERBOSE_ACTOR = re.compile(rf"At the (?P<place>{_any(PLACES)}), {_WHO} {_DOES} (?P<where>{_any(tuple(WHERE.values()))})\. ?")
_CONCISE = re.compile(
    rf"A street(?: (?:at|by) (?P<time>dusk|day))? with (?P<backdrop>{_any(tuple(BEHIND.values()))})\. "
    r"(?P<actors>[^.]*)\. (?P<relation>(?:The|Only) [^.]*)\."
)
_VERBOSE = re.compile(
    rf"The scene shows a street in front of (?P<backdrop>{_any(tuple(BEHIND.values()))})(?:, in the light of (?P<time>dusk|day))?\. "
    r"There are (?P<count>two|three|four) things to see\. (?P<actors>(?:At the [^.]*\. )*)(?P<relation>(?:The|Only) [^.]*)\."
)
