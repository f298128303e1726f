"""Files of the format before -> the fields of today, as parsed JSON. A table of what was renamed, and nothing that is computed.

Format 8 renamed fields, names of timings and rules, and one part of the variants; what a file means did not change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from evbench.errors import UserError

READABLE = 7
"""The oldest format that can be upgraded."""

FIELDS: dict[str, dict[str, str]] = {
    "rules": {"smallest": "noise_floors"},
    "plan": {"starts": "invocations"},
    "block": {"start": "invocation"},
    "side": {"proofs": "activations", "streams": "throughput_runs"},
    "run": {"preparations": "compile_counts", "step_seconds": "decode_step_seconds"},
    "throughput run": {"preparations": "compile_counts", "waited_seconds": "load_wait_seconds"},
    "memory": {"other": "non_torch"},
    "completeness": {"fewest_in_step": "min_in_step", "most_in_step": "max_in_step"},
    "used": {"count": "calls", "copied": "bytes_copied"},
    "check": {"fed": "mode", "figure": "value", "line": "threshold", "place": "location", "told": "detail"},
    "rung": {"total": "end_to_end"},
}
"""Kind of object -> field of format 7 -> field of format 8."""
DROPPED = ("together",)
"""Fields of a result: merged traces are derived from the two single ones."""
MODES = {"twice": "baseline-repeat", "chained": "end-to-end", "swapped": "stage-isolated"}
ORDERS = {"in turn": "interleaved"}
RULES = {
    "its error, relative": "relative error against the reference",
    "root mean square error": "RMS error",
    "root mean square error of a row": "RMS error, worst row",
    "largest error": "max abs error",
    "repeats itself to the last bit": "bitwise repeatability",
    "levels between frames": "max abs difference (8-bit levels)",
    "levels between pixel values": "max abs difference (8-bit levels)",
    "levels between means": "mean shift (8-bit levels)",
    "pixels that differ": "differing pixels",
    "1 - cosine": "cosine distance",
    "Kullback-Leibler divergence": "KL divergence (nats)",
    "nats between likeliest tokens": "top-1 logprob gap (nats)",
    "share of the captions lost": "caption accuracy lost",
}
TIMINGS = {"total": "end-to-end", "first token": "ttft", "further token": "tpot"}
"""Names of timings."""
DEMANDED = {"total": "end-to-end", "first-token": "ttft", "further-token": "tpot"}
"""As they stand in the text of a demand."""
FLAGS = {"ONE_START": "ONE_INVOCATION"}
PART = ("feed", "prefetch")
PREFETCH = {"in-turn": "off", "ahead": "on", "ahead-in-batches": "batched"}
"""The part of a variant whose choices were renamed."""
Upgrade = Callable[[Any], Any]


def result(content: Any, current: int, file: str) -> Any:
    """The content of a result file with the fields of format `current`.

    Raises:
        UserError: its format is older than what can be upgraded, or newer than this evbench.
    """
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is not int:
        raise UserError(f"{file} is not a result of evbench: it has no format; give the folder or result.json of an earlier run")
    if found > current:
        raise UserError(f"{file} has format {found}, and this evbench reads up to format {current}; use the evbench that wrote it")
    if found < READABLE:
        raise UserError(f"{file} has format {found}, and this evbench reads formats {READABLE} to {current}; measure again")
    return _result(content, current) if found < current else content


def former_names(message: str, content: Any, current: int) -> str:
    """What the fields that a message names are called in the file itself, for the end of the message. Empty if they have these names there.

    Args:
        message: of a fault in the fields of today.
        content: of the file.
    """
    if not isinstance(content, dict) or content.get("format") == current:
        return ""
    names = {now: before for fields in FIELDS.values() for before, now in fields.items() if re.search(rf"\b{now}\b", message)}
    renamed = ", ".join(f"{now} is called {before}" for now, before in names.items())
    return f" (in this file, of format {content['format']}, {renamed})" if renamed else ""


def header(content: Any, current: int) -> Any:
    """The header of a session, a ladder or a comparison of models."""
    if not _is_readable(content):
        return content
    upgraded = {**content, "format": current}
    _each(upgraded, "plan", _plan)
    if isinstance(upgraded.get("workloads"), dict):
        upgraded["workloads"] = {side: _workload(found) for side, found in upgraded["workloads"].items()}
    if isinstance(upgraded.get("workload"), dict):
        upgraded["workload"] = _workload(upgraded["workload"])
    if isinstance(upgraded.get("choices"), dict):
        upgraded["choices"] = {side: _named_choices(found) for side, found in upgraded["choices"].items()}
    return upgraded


def _is_readable(content: Any) -> bool:
    return isinstance(content, dict) and content.get("format") == READABLE


def ladder(content: Any, current: int) -> Any:
    """What stands in `ladder.json`."""
    if not isinstance(content, dict) or not _is_readable(content.get("opening")):
        return content
    upgraded = dict(content)
    _each(upgraded, "opening", lambda opening: header(opening, current))
    _each(upgraded, "rungs", _rung)
    return upgraded


def ladder_outcomes(content: Any) -> Any:
    """What stands in a `ladder.json` whose intervals were of 95 % each, with the chance `p` of a difference where there is none."""
    upgraded = dict(content) if isinstance(content, dict) else content
    _each(upgraded, "rungs", lambda rung: _one(rung, "outcome", _outcome_alone))
    return upgraded


def models(content: Any, current: int, file: str) -> Any:
    """What stands in `models.json`.

    Raises:
        UserError: one of its results cannot be upgraded.
    """
    if not isinstance(content, dict):
        return content
    upgraded = dict(content)
    _each(upgraded, "opening", lambda opening: header(opening, current))
    if isinstance(upgraded.get("sessions"), dict):
        upgraded["sessions"] = {length: result(found, current, file) for length, found in upgraded["sessions"].items()}
    return upgraded


def noise_floor(content: Any) -> Any:
    """One entry of the user's file of noise floors, whose names of timings may be those of before."""
    if not isinstance(content, dict):
        return content
    return {**content, "smallest": _timing_names(content.get("smallest"))}


def _timing_names(values: Any) -> Any:
    return {TIMINGS.get(name, name): value for name, value in values.items()} if isinstance(values, dict) else values


# Each kind of object.


def _result(content: dict[str, Any], current: int) -> dict[str, Any]:
    upgraded = {name: value for name, value in content.items() if name not in DROPPED} | {"format": current}
    _each(upgraded, "rules", _rules)
    _each(upgraded, "sessions", _session)
    for side in ("baseline", "optimized"):
        _each(upgraded, side, _side)
    _each(upgraded, "outputs", _outputs)
    return upgraded


def _rules(content: Any) -> Any:
    upgraded = _renamed(content, "rules")
    _each(upgraded, "noise_floors", _timing_names)
    for name in ("targets", "fail_if"):
        _texts(upgraded, name, _demand)
    return upgraded


def _demand(text: str) -> str:
    return re.sub(rf"\b({'|'.join(DEMANDED)})(?=\s*<|\.slower)", lambda found: DEMANDED[found[1]], text)


def _session(content: Any) -> Any:
    upgraded = dict(content)
    _each(upgraded, "plan", _plan)
    _each(upgraded, "blocks", lambda block: _renamed(block, "block"))
    return upgraded


def _plan(content: Any) -> Any:
    upgraded = _renamed(content, "plan")
    return _value(upgraded, "order", ORDERS)


def _side(content: Any) -> Any:
    upgraded = _renamed(content, "side")
    _texts(upgraded, "variant", _variant_name)
    _each(upgraded, "workload", _workload)
    _each(upgraded, "choices", _choices)
    _each(upgraded, "runs", _run)
    _each(upgraded, "throughput_runs", lambda run: _renamed(run, "throughput run"))
    _each(upgraded, "activations", _activation)
    _each(upgraded, "trace", _trace)
    return upgraded


def _workload(content: Any) -> Any:
    """The kind of its samples, which was not named: only event images are all given to the model, and only raw events have a window."""
    images = "event-images" if content.get("frame_policy") == "all" else "video"
    return {"kind": images if content.get("window") is None else "events", **content}


def _run(content: Any) -> Any:
    upgraded = _renamed(content, "run")
    if isinstance(upgraded.get("stages"), dict):
        upgraded["stages"] = {name: _stage(stage) for name, stage in upgraded["stages"].items()}
    return upgraded


def _stage(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    upgraded = dict(content)
    _each(upgraded, "memory", lambda memory: _renamed(memory, "memory"))
    return upgraded


def _trace(content: Any) -> Any:
    upgraded = dict(content)
    _each(upgraded, "completeness", lambda found: _renamed(found, "completeness"))
    _each(upgraded, "sections", _section)
    return upgraded


def _section(content: Any) -> Any:
    upgraded = dict(content)
    _each(upgraded, "used", lambda used: _renamed(used, "used"))
    return upgraded


def _outputs(content: Any) -> Any:
    upgraded = dict(content)
    _each(upgraded, "checks", _check)
    return upgraded


def _check(content: Any) -> Any:
    return _value(_value(_renamed(content, "check"), "mode", MODES), "rule", RULES)


def _rung(content: Any) -> Any:
    upgraded = dict(content)
    _each(upgraded, "step", _step)
    _each(upgraded, "outcome", _outcome)
    return upgraded


def _outcome(content: Any) -> Any:
    upgraded = _renamed(content, "rung")
    _texts(upgraded, "flags", lambda flag: FLAGS.get(flag, flag))
    return upgraded


def _outcome_alone(content: Any) -> Any:
    """Of a comparison by itself: there was no interval among the choices."""
    upgraded = {**content, "among_choices": None}
    _each(upgraded, "end_to_end", _rung_timing)
    if isinstance(upgraded.get("stages"), dict):
        upgraded["stages"] = {name: _rung_timing(timing) for name, timing in upgraded["stages"].items()}
    return upgraded


def _rung_timing(content: Any) -> Any:
    return _one(content, "interval", lambda found: {name: found[name] for name in found if name != "p"} | {"confidence": 0.95})


def _step(content: Any) -> Any:
    upgraded = dict(content)
    for side in ("baseline", "optimized"):
        _each(upgraded, side, _variant)
    _texts(upgraded, "parts", lambda part: PART[1] if part == PART[0] else part)
    return upgraded


# The part of a variant that was renamed.


def _choices(content: Any) -> Any:
    old, new = PART
    if not isinstance(content, dict):
        return content
    return {new if part == old else part: PREFETCH.get(choice, choice) if part == old else choice for part, choice in content.items()}


def _named_choices(content: Any) -> Any:
    """Choices of a variant, with its name among them."""
    if not isinstance(content, dict):
        return content
    upgraded = _choices(content)
    _texts(upgraded, "name", _variant_name)
    return upgraded


def _variant(content: Any) -> Any:
    """A variant, whose choices were fields beside its name, and are pairs of part and choice."""
    choices = _named_choices(content)
    return {"name": choices.pop("name", None), "selection": [list(pair) for pair in choices.items()]}


def _variant_name(name: Any) -> Any:
    """`baseline+feed=ahead`."""
    if not isinstance(name, str):
        return name
    return re.sub(rf"\b{PART[0]}=([\w-]+)", lambda found: f"{PART[1]}={PREFETCH.get(found[1], found[1])}", name)


def _activation(content: Any) -> Any:
    if content.get("part") != PART[0]:
        return content
    return _value({**content, "part": PART[1]}, "choice", PREFETCH)


# Renaming. What is not of the expected shape is left as it is: decoding it names the field.


def _renamed(content: Any, kind: str) -> Any:
    names = FIELDS[kind]
    return {names.get(name, name): value for name, value in content.items()} if isinstance(content, dict) else content


def _value(content: Any, field: str, values: Mapping[str, str]) -> Any:
    if not isinstance(content, dict) or not isinstance(found := content.get(field), str):
        return content
    return {**content, field: values.get(found, found)}


def _one(content: Any, field: str, upgrade: Upgrade) -> Any:
    upgraded = dict(content) if isinstance(content, dict) else content
    _each(upgraded, field, upgrade)
    return upgraded


def _each(content: Any, field: str, upgrade: Upgrade) -> None:
    """Upgrade the object in a field, or each object of a list."""
    _those(content, field, upgrade, dict)


def _texts(content: Any, field: str, upgrade: Upgrade) -> None:
    """Upgrade the text in a field, or each text of a list."""
    _those(content, field, upgrade, str)


def _those(content: Any, field: str, upgrade: Upgrade, kind: type) -> None:
    if not isinstance(content, dict):
        return
    found = content.get(field)
    if isinstance(found, list):
        content[field] = [upgrade(item) if isinstance(item, kind) else item for item in found]
    elif isinstance(found, kind):
        content[field] = upgrade(found)
