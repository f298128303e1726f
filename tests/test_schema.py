"""The schemas are of the files as they are: recorded ones fit, and damaged ones do not."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from evbench.api.schemas import SCHEMAS
from evbench.cli.main import main
from evbench.encoding import from_json, to_json
from evbench.json_schema import schema_of
from evbench.results import FORMAT, Result
from evbench.verdict.judge import judge
from tests.command import refused
from tests.examples import make_result
from tests.schema_check import faults
from tests.test_damaged_results import HOSTILE, made, places

ROOT = Path(__file__).parent.parent
RESULTS = sorted((ROOT / "profiles").rglob("result.json"))
SMALL = ROOT / "profiles" / "cpu" / "video-llava-small"


MOST = 12
"""Entries of one list in a file that are looked at, besides the first of each kind: those of many runs have the same fields."""


def read(file: Path) -> Any:
    return shortened(json.loads(file.read_text(encoding="utf-8")))


def shortened(value: Any) -> Any:
    """The same with some entries of each long list: from its whole length, and the first of each kind."""
    if isinstance(value, dict):
        return {name: shortened(inner) for name, inner in value.items()}
    if not isinstance(value, list):
        return value
    spread = range(len(value)) if len(value) <= MOST else [place * (len(value) - 1) // (MOST - 1) for place in range(MOST)]
    first = {inner.get("kind"): place for place, inner in reversed(tuple(enumerate(value))) if isinstance(inner, dict)}
    return [shortened(value[place]) for place in sorted({*spread, *first.values()})]


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: str(file.parent.relative_to(ROOT / "profiles")))
def test_recorded_results_fit_if_they_are_of_this_format(file: Path) -> None:
    content = read(file)
    found = list(faults(SCHEMAS["result"](), content))
    if content["format"] == FORMAT:
        assert not found
    else:
        assert "$.format: const" in found


def test_recorded_verdicts_fit_beside_results_of_this_format() -> None:
    judged = [file.with_name("verdict.json") for file in RESULTS if read(file)["format"] == FORMAT]
    assert len(judged) >= 5
    assert not [file for file in judged if list(faults(SCHEMAS["verdict"](), read(file)))]


def test_results_and_verdicts_that_are_written_today_fit() -> None:
    assert not list(faults(SCHEMAS["result"](), made()))
    assert not list(faults(SCHEMAS["verdict"](), json.loads(to_json(judge(make_result())))))


@pytest.mark.parametrize("name", ["result", "verdict"])
def test_damaged_ones_do_not_fit(name: str) -> None:
    schema, content = SCHEMAS[name](), read(SMALL / f"{name}.json")
    for missing in content.keys() - {"digest"}:
        less = {field: value for field, value in content.items() if field != missing}
        assert list(faults(schema, less)) == ["$: required"]
    assert list(faults(schema, content | {"more": 1})) == ["$.more: additionalProperties"]
    for wrong in (None, list[Any](), "text", 1):
        assert "$: type" in faults(schema, wrong)


def test_what_evbench_refuses_for_its_type_does_not_fit() -> None:
    """And what fits is refused for its value alone: both are derived from the same classes."""
    rng, whole, schema = random.Random(1), made(), SCHEMAS["result"]()
    refusals = 0
    for place in rng.sample(places(whole), 60):
        content = copy.deepcopy(whole)
        inner = content
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = rng.choice(HOSTILE)
        try:
            from_json(Result, content, "result")
            told = ""
        except ValueError as error:
            told = str(error)
        of_type = re.search(r" is expected$| lacks the field| which this evbench does not know$", told) is not None
        fits = not list(faults(schema, content))
        if place != ("format",):
            assert fits != of_type, (place, told)
        refusals += of_type
    assert refusals > 20


@dataclasses.dataclass(frozen=True)
class Leaf:
    """At an end."""

    kind: Literal["a", "b"]
    """One of two."""
    pair: tuple[int, float] = (1, 2.0)


@dataclasses.dataclass(frozen=True)
class Tree:
    leaves: dict[Literal["x"], tuple[Leaf, ...] | None]


def test_a_schema_says_what_the_class_says() -> None:
    schema = schema_of(Tree)
    assert "description" not in schema and schema["required"] == ["leaves"] and schema["additionalProperties"] is False
    leaf = schema["$defs"]["Leaf"]
    assert leaf["description"] == "At an end." and leaf["required"] == ["kind"]
    assert leaf["properties"]["kind"] == {"enum": ["a", "b"], "description": "One of two."}
    right = {"leaves": {"x": [{"kind": "a"}, {"kind": "b", "pair": [1, 2]}]}}
    assert not list(faults(schema, right)) and not list(faults(schema, {"leaves": {"x": None}}))
    assert list(faults(schema, {"leaves": {"y": None}})) == ["$.leaves: y: enum"]
    for wrong in ({"kind": "c"}, {}, {"kind": "a", "pair": [1]}, {"kind": "a", "pair": [True, 1]}, {"kind": "a", "more": 1}):
        assert list(faults(schema, {"leaves": {"x": [wrong]}})) == ["$.leaves.x: anyOf"]


def test_each_field_of_a_unit_has_its_text() -> None:
    for name in SCHEMAS:
        schema = SCHEMAS[name]()
        assert schema["$schema"].endswith("2020-12/schema") and schema["description"]
        assert all(inner["description"] for inner in schema["$defs"].values())


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_command_prints_it(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["evbench", "schema", name])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert json.loads(capsys.readouterr().out) == SCHEMAS[name]()


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no schema is called 'verdit'; did you mean 'verdict'?" in refused("schema verdit", monkeypatch, capsys)
