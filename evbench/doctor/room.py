"""Facts -> findings about memory, cores, disks, and the noise floors that are known. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evbench.doctor.facts import Facts, Place
from evbench.doctor.findings import MISSING, OK, PROBLEM, ROOM, Finding
from evbench.pipelines.registry import MODELS, SHIPPED
from evbench.report.units import format_bytes

LEAST_FREE = 2**30
"""Bytes that a comparison with its traces, or a cold compile cache, may take."""


def about_room(facts: Facts) -> Iterator[Finding]:
    """What there is of everything but the GPU."""
    memory = facts.machine.memory_bytes
    total = "an unknown amount" if memory is None else format_bytes(memory)
    cores = facts.machine.cores
    yield Finding(ROOM, "CPU", OK, f"{facts.machine.cpu}, {cores} {'core' if cores == 1 else 'cores'} for evbench")
    yield Finding(ROOM, "memory", OK, f"{total}, of which {format_bytes(facts.available_bytes)} are free")
    if facts.machine.gpu is None and facts.measured_by is not None:
        text = f"another evbench (process {facts.measured_by}) measures on this CPU"
        yield Finding(ROOM, "other processes", PROBLEM, text, "wait for its end")
    # Without the GPU that was asked for it is not known how much memory it would have.
    for model in SHIPPED if facts.device == "cpu" or facts.machine.gpu is not None else ():
        yield from _presets(model, facts.presets[model])
    for place in facts.places:
        yield _place(place)
    models = facts.answer("models")
    if models.fault and set(MODELS) <= {*models.said.get("loaded", ())}:
        yield Finding(ROOM, "compile cache", PROBLEM, f"asking torch for it {models.fault}", "set TORCHINDUCTOR_CACHE_DIR to a folder")
    yield from _floors(facts)


def _presets(model: str, refusals: Mapping[str, str]) -> Iterator[Finding]:
    """Those that do not fit by reason; the sizes of a model are few. The baseline runs with the default one."""
    default = next(iter(refusals))
    if fitting := [name for name, refusal in refusals.items() if not refusal]:
        yield Finding(ROOM, model, OK, f"fits into memory: {', '.join(fitting)}")
    for refusal in dict.fromkeys(filter(None, refusals.values())):
        names = [name for name, other in refusals.items() if other == refusal]
        stops = default in names
        yield Finding(ROOM, model, PROBLEM if stops else MISSING, f"does not fit: {', '.join(names)}; {refusal}", stops=stops)


def _place(place: Place) -> Finding:
    if not place.writable:
        return Finding(ROOM, place.purpose, PROBLEM, f"{place.folder} cannot be written", _elsewhere(place))
    if place.free_bytes is None:
        return Finding(ROOM, place.purpose, OK, f"{place.folder}, and it is not known how much is free")
    text = f"{format_bytes(place.free_bytes)} free for {place.folder}"
    if place.free_bytes < LEAST_FREE:
        return Finding(ROOM, place.purpose, PROBLEM, text, f"make room, or {_elsewhere(place)}")
    return Finding(ROOM, place.purpose, OK, text)


def _elsewhere(place: Place) -> str:
    variables = {"compile cache": "TORCHINDUCTOR_CACHE_DIR", "references": "XDG_CACHE_HOME"}
    return f"set {variables[place.purpose]} to another folder" if place.purpose in variables else "give another folder by --out"


def _floors(facts: Facts) -> Iterator[Finding]:
    name = "noise floor"
    if facts.floors_fault:
        yield Finding(ROOM, name, PROBLEM, facts.floors_fault)
    elif not facts.floors:
        yield Finding(ROOM, name, MISSING, "none is known for this machine", "evbench selftest measures it")
    else:
        kinds = len(facts.floors)
        yield Finding(ROOM, name, OK, f"known for {kinds} {'kind' if kinds == 1 else 'kinds'} of work on this machine")
    for work in facts.floors:
        yield Finding(ROOM, name, OK, f"known for {work}", detail=True)
