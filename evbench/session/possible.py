"""Whether a result can be of evbench at all: what it names exists, and its blocks are in an order in which evbench runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from evbench.errors import UserError
from evbench.pipelines.load.video import POLICIES
from evbench.pipelines.registry import KINDS, MODELS, OWN, OWN_MODEL, PARTS, model_of
from evbench.results import DECODING, LETTERS, Result, Session, SideResult, Workload
from evbench.session.memory_fit import BYTES_PER_VALUE
from evbench.session.schedule import PATTERNS
from evbench.verdict import demands
from evbench.verdict.blocks import TIMED

DEVICES = ("cpu", "cuda")


def require_possible(result: Result, folder: Path) -> None:
    """Raises UserError for the first value that no session can have, naming the value and its place in the result of this folder."""
    for fault in _faults(result):
        raise UserError(
            f"the result in {folder} cannot have been measured: {fault}; measure again, or read it with the evbench that wrote it"
        )


def _faults(result: Result) -> Iterator[str]:
    for number, session in enumerate(result.sessions):
        sides = sum(measured.session == session.started for measured in result.variants().values())
        yield from _of_blocks(f"sessions[{number}]", session, sides)
    for side, measured in result.variants().items():
        yield from _of_side(side, measured)
    yield from _unknown("rules.noise_floors", "timing", result.rules.noise_floors, TIMED)
    model = result.baseline.workload.model
    yield from _unreadable("rules.targets", result.rules.targets, lambda text: demands.read([text], [], model))
    yield from _unreadable("rules.fail_if", result.rules.fail_if, lambda text: demands.read([], [text], model))


def _of_blocks(place: str, session: Session, sides: int) -> Iterator[str]:
    """Of a session in which one side was measured alone, or of which one side is here, blocks may be of one letter."""
    alone = [] if sides > 1 else [letter * 2 for letter in LETTERS.values()]
    orders = (*PATTERNS[session.plan.order], *alone)
    for number, block in enumerate(session.blocks):
        yield from _unknown(f"{place}.blocks[{number}].order", f"order of {session.plan.order} blocks", [block.order], orders)


def _of_side(side: str, measured: SideResult) -> Iterator[str]:
    yield from _of_workload(f"{side}.workload", measured.workload)
    for number, run in enumerate(measured.runs):
        length = run.work.new_tokens
        if length is not None and measured.workload.batch > 1 and len(run.tokens) != length * measured.workload.batch:
            of_batch = f"{length} new ones for each of {measured.workload.batch} samples"
            yield f"{side}.runs[{number}] has {len(run.tokens)} tokens, and {of_batch}"
    if not measured.variant.isprintable():
        yield f"{side}.variant is {measured.variant!r}, and no variant has such characters in its name"
    plugged = [(part, choice) for plugin in measured.plugins for part, choice in plugin.choices.items()]
    for part, choice in measured.choices.items():
        if (part, choice) not in plugged:
            yield from _of_choice(f"{side}.choices", f"{side}.choices.{part}", part, choice)
    for part, choice in plugged:
        yield from _unknown(f"{side}.plugins", "part", [part], (*PARTS, OWN))
        if measured.choices.get(part) != choice:
            yield f"{side}.plugins names {part}={choice}, and {side}.choices has not chosen it"
    for number, found in enumerate(measured.activations):
        place = f"{side}.activations[{number}]"
        if found.part != DECODING:
            if (found.part, found.choice) not in plugged:
                yield from _of_choice(f"{place}.part", f"{place}.choice", found.part, found.choice)
            if found.choice != measured.choices.get(found.part):
                yield f"{place} is of {found.part}={found.choice}, and {side}.choices has not chosen it"


def _of_workload(place: str, workload: Workload) -> Iterator[str]:
    if workload.model != OWN_MODEL:
        yield from _unknown(f"{place}.model", "model", [workload.model], MODELS)
    model = model_of(workload.model)
    yield from _unknown(f"{place}.kind", f"kind of input of {workload.model}", [workload.kind], model.kinds)
    if workload.preset is not None:
        yield from _unknown(f"{place}.preset", f"preset of {workload.model}", [workload.preset], model.preset_names())
    policies = (*POLICIES,) if KINDS[workload.kind].policies else ("all",)
    yield from _unknown(f"{place}.frame_policy", f"policy for {KINDS[workload.kind].title}", [workload.frame_policy], policies)
    yield from _unknown(f"{place}.device", "device", [workload.device], DEVICES)
    yield from _unknown(f"{place}.dtype", "type to compute in", [workload.dtype], BYTES_PER_VALUE)


def _of_choice(part_place: str, choice_place: str, part: str, choice: str) -> Iterator[str]:
    yield from _unknown(part_place, "part", [part], PARTS)
    yield from _unknown(choice_place, f"choice for {part}", [choice], PARTS[part].entries)


def _unreadable(place: str, texts: Sequence[str], read: Callable[[str], object]) -> Iterator[str]:
    """Demands that were made of the result. What can be said of an option that is given now does not fit them."""
    for number, text in enumerate(texts):
        try:
            read(text)
        except UserError:
            yield f"{place}[{number}] is {text!r}, which demands nothing that evbench measures of this model"


def _unknown(place: str, what: str, named: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    for name in named:
        if name not in known:
            yield f"{place} names the unknown {what} {name!r}; this evbench knows {', '.join(known)}"
