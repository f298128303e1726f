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


def header(content: Any, current: int) -> Any:
    """The header of a session, a ladder or a comparison of models."""
    if not _is_readable(content):
        return content
    made = {**content, "format": current}
    _each(made, "plan", _plan)
    if isinstance(made.get("workloads"), dict):
        made["workloads"] = {side: _workload(found) for side, found in made["workloads"].items()}
    if isinstance(made.get("workload"), dict):
        made["workload"] = _workload(made["workload"])
    if isinstance(made.get("choices"), dict):
        made["choices"] = {side: _named_choices(found) for side, found in made["choices"].items()}
    return made


def _is_readable(content: Any) -> bool:
    return isinstance(content, dict) and content.get("format") == READABLE


def ladder(content: Any, current: int) -> Any:
    """What stands in `ladder.json`."""
    if not isinstance(content, dict) or not _is_readable(content.get("opening")):
        return content
    made = dict(content)
    _each(made, "opening", lambda opening: header(opening, current))
    _each(made, "rungs", _rung)
    return made


def models(content: Any, current: int, file: str) -> Any:
    """What stands in `models.json`.

    Raises:
        UserError: one of its results cannot be upgraded.
    """
    if not isinstance(content, dict):
        return content
    made = dict(content)
    _each(made, "opening", lambda opening: header(opening, current))
    if isinstance(made.get("sessions"), dict):
        made["sessions"] = {length: result(found, current, file) for length, found in made["sessions"].items()}
    return made


def noise_floor(content: Any) -> Any:
    """One entry of the user's file of noise floors, whose names of timings may be those of before."""
    if not isinstance(content, dict):
        return content
    return {**content, "smallest": _timing_names(content.get("smallest"))}


def _timing_names(values: Any) -> Any:
    return {TIMINGS.get(name, name): value for name, value in values.items()} if isinstance(values, dict) else values


# Each kind of object.


def _result(content: dict[str, Any], current: int) -> dict[str, Any]:
    made = {name: value for name, value in content.items() if name not in DROPPED} | {"format": current}
    _each(made, "rules", _rules)
    _each(made, "sessions", _session)
    for side in ("baseline", "optimized"):
        _each(made, side, _side)
    _each(made, "outputs", _outputs)
    return made


def _rules(content: Any) -> Any:
    made = _renamed(content, "rules")
    _each(made, "noise_floors", _timing_names)
    for name in ("targets", "fail_if"):
        _texts(made, name, _demand)
    return made


def _demand(text: str) -> str:
    return re.sub(rf"\b({'|'.join(DEMANDED)})(?=\s*<|\.slower)", lambda found: DEMANDED[found[1]], text)


def _session(content: Any) -> Any:
    made = dict(content)
    _each(made, "plan", _plan)
    _each(made, "blocks", lambda block: _renamed(block, "block"))
    return made


def _plan(content: Any) -> Any:
    made = _renamed(content, "plan")
    return _value(made, "order", ORDERS)


def _side(content: Any) -> Any:
    made = _renamed(content, "side")
    _texts(made, "variant", _variant_name)
    _each(made, "workload", _workload)
    _each(made, "choices", _choices)
    _each(made, "runs", _run)
    _each(made, "throughput_runs", lambda run: _renamed(run, "throughput run"))
    _each(made, "activations", _activation)
    _each(made, "trace", _trace)
    return made


def _workload(content: Any) -> Any:
    """The kind of its samples, which was not named: only event images are all given to the model, and only raw events have a window."""
    images = "event-images" if content.get("frame_policy") == "all" else "video"
    return {"kind": images if content.get("window") is None else "events", **content}


def _run(content: Any) -> Any:
    made = _renamed(content, "run")
    if isinstance(made.get("stages"), dict):
        made["stages"] = {name: _stage(stage) for name, stage in made["stages"].items()}
    return made


def _stage(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    made = dict(content)
    _each(made, "memory", lambda memory: _renamed(memory, "memory"))
    return made


def _trace(content: Any) -> Any:
    made = dict(content)
    _each(made, "completeness", lambda found: _renamed(found, "completeness"))
    _each(made, "sections", _section)
    return made


def _section(content: Any) -> Any:
    made = dict(content)
    _each(made, "used", lambda used: _renamed(used, "used"))
    return made


def _outputs(content: Any) -> Any:
    made = dict(content)
    _each(made, "checks", _check)
    return made


def _check(content: Any) -> Any:
    return _value(_value(_renamed(content, "check"), "mode", MODES), "rule", RULES)


def _rung(content: Any) -> Any:
    made = dict(content)
    _each(made, "step", _step)
    _each(made, "outcome", _outcome)
    return made


def _outcome(content: Any) -> Any:
    made = _renamed(content, "rung")
    _texts(made, "flags", lambda flag: FLAGS.get(flag, flag))
    return made


def _step(content: Any) -> Any:
    made = dict(content)
    for side in ("baseline", "optimized"):
        _each(made, side, _named_choices)
    _texts(made, "parts", lambda part: PART[1] if part == PART[0] else part)
    return made


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
    made = _choices(content)
    _texts(made, "name", _variant_name)
    return made


def _variant_name(name: Any) -> Any:
    """`baseline+feed=ahead`."""
    return (
        re.sub(r"\bfeed=([\w-]+)", lambda found: f"{PART[1]}={PREFETCH.get(found[1], found[1])}", name) if isinstance(name, str) else name
    )


def _activation(content: Any) -> Any:
    if content.get("part") != PART[0]:
        return content
    return _value({**content, "part": PART[1]}, "choice", PREFETCH)


# Renaming. What is not of the expected shape is left as it is: whoever decodes it names its place.


def _renamed(content: Any, kind: str) -> Any:
    names = FIELDS[kind]
    return {names.get(name, name): value for name, value in content.items()} if isinstance(content, dict) else content


def _value(content: Any, field: str, values: Mapping[str, str]) -> Any:
    if not isinstance(content, dict) or not isinstance(found := content.get(field), str):
        return content
    return {**content, field: values.get(found, found)}


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
