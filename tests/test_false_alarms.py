"""How near equal computations come to the thresholds of the output checks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.inputs import sample
from evbench.microbenchmarks.false_alarms import FalseAlarms, chance_beyond, measure, nearest_to_alarm
from evbench.pipelines import build as pipelines_build
from evbench.results import Grade, Workload
from evbench.variants.named import parse
from evbench.verdict.findings import Finding, distance
from tests.checkpoints import least
from tests.examples import NOWHERE


@pytest.mark.parametrize("chance", [0.05, 0.005, 0.0005])
def test_the_chance_of_an_alarm_is_reckoned_from_the_tail(chance: float) -> None:
    """Margins whose logarithm has an exponential tail, of which so many are above 1."""
    scale = 0.1
    draws = np.random.default_rng(0).exponential(scale, 20_000) + scale * np.log(chance)
    assert chance_beyond(np.exp(draws).tolist()) == pytest.approx(chance, rel=0.25)


def test_margins_that_are_all_the_same_and_below_have_no_tail() -> None:
    assert chance_beyond([0.5] * 100) == 0.0


def test_a_margin_is_in_units_of_the_threshold() -> None:
    assert [distance(value, threshold) for value, threshold in ((1.0, 2.0), (0.0, 0.0), (1.0, 0.0))] == [0.5, 0.0, np.inf]


def checked(rule: str, value: float, grade: Grade = "pass") -> Finding:
    return Finding("generate", "end-to-end", rule, grade, value, 1.0)


@pytest.mark.parametrize(
    ("near", "counts"),
    [
        (checked("KL divergence (nats)", 0.97), False),
        (checked("KL divergence (nats)", 1.5, "warn"), False),
        (checked("KL divergence (nats)", 11.0, "fail"), True),
        (checked("top-1 logprob gap (nats)", 0.97), False),
        (checked("RMS error, worst row", 0.97), True),
        (checked("mean shift (8-bit levels)", 0.97), True),
    ],
)
def test_only_what_is_near_to_failing_raises_the_number_of_alarms(near: Finding, counts: bool) -> None:
    usual = [checked("RMS error", value) for value in np.linspace(0.2, 0.5, 40)]
    margins = [nearest_to_alarm([finding, *([near] if index < 2 else [])]) for index, finding in enumerate(usual)]
    without, with_it = (chance_beyond([distance(one.value, one.threshold) for one in some]) for some in (usual, margins))
    assert with_it > without if counts else with_it == without


@pytest.mark.slow
def test_equal_computations_are_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = (sample.EVENTS, sample.OTHER_EVENTS)
    samples = tuple(replace(NOWHERE, path=str(folder)) for folder in folders)
    workload = Workload(
        "eventgpt", None, str(least("eventgpt")), samples, 5, "all", "?", 3, False, "cpu", "float32", None, kind="event-images"
    )
    kept: list[FalseAlarms] = []
    variants = [parse(f"baseline+{change}") for change in ("attention=eager", "pooling=first", "generate=static", "preprocess=direct")]
    with pytest.raises(ValueError, match="2 pairs are too few"):
        measure([workload], {"event-images": variants[:1]}, "cpu", kept.append)
    assert kept == []
    found = measure([workload] * 3, {"event-images": variants}, "cpu", kept.append)
    assert kept == [found], "the first 16 are too few"
    assert len(found.pairs) == 3 * 2 * 4
    assert found.failed == 0
    assert 0 < found.largest_margin == max(pair.margin for pair in found.pairs) <= 1
    assert {pair.scene for pair in found.pairs} == {folder.name for folder in folders}
    assert found.left_out == {}
    right = pipelines_build.build

    def refuse_eager(variant: Variant, *given: Any) -> Any:
        if variant["attention"] == "eager":
            raise UserError("no kernel for this type")
        return right(variant, *given)

    monkeypatch.setattr(pipelines_build, "build", refuse_eager)
    monkeypatch.setattr("evbench.microbenchmarks.false_alarms.REFERENCE", parse("baseline"))
    found = measure([workload] * 4, {"event-images": variants}, "cpu", kept.append)
    assert len(found.pairs) == 4 * 2 * 3
    assert found.left_out == {"baseline+attention=eager, event-images, float32": "no kernel for this type"}
