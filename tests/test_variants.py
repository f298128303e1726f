from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest

from evbench.choices import STREAM, Conflict, Variant
from evbench.errors import UserError
from evbench.machine.needs import NEEDS
from evbench.pipelines.registry import KINDS, MODELS, PARTS, SHIPPED, parts_with_effect
from evbench.results import STAGES, InputKind
from evbench.stages import Pipeline
from evbench.variants.named import NAMED, REFERENCE, VARIANTS, change, conflict, effective, parse
from evbench.variants.obstacles import require
from tests.conflicts import only
from tests.examples import kinds_with

INPUTS = [(model, kind) for model, known in SHIPPED.items() for kind in known.kinds]
"""Each model that is made for evbench, with each kind of input that it takes."""
MODEL_OF = {kind: model for model, kind in reversed(INPUTS)}
inputs = pytest.mark.parametrize(("model", "kind"), INPUTS)


def test_every_named_variant_has_a_choice_for_every_part() -> None:
    for variant in (*VARIANTS.values(), REFERENCE):
        assert list(variant.choices()) == list(PARTS)
        assert all(choice in PARTS[part].entries for part, choice in variant.choices().items())


def test_what_only_the_reference_does_is_not_offered() -> None:
    hidden = {(name, choice) for name, part in PARTS.items() for choice in part.entries if choice not in part.choices}
    lossy = {("quantization", "int8-dequantized"), ("quantization", "fp8-dequantized"), ("cache", "fp8-rounded")}
    assert hidden == {("preprocess", "exact"), ("generate", "at-once")} | lossy
    for part, choice in hidden:
        assert REFERENCE[part] == choice or (part, choice) in lossy
        with pytest.raises(UserError, match=f"unknown choice '{choice}' for {part}"):
            parse(f"baseline+{part}={choice}")


def test_a_variant_can_be_a_key() -> None:
    assert len({parse("baseline"), parse("baseline"), parse("optimized")}) == 2


def test_every_need_can_be_checked() -> None:
    needs = {need for part in PARTS.values() for choice in part.entries.values() for need in choice.needs}
    assert needs == set(NEEDS)


@pytest.mark.parametrize(
    ("part", "choice", "kind"),
    [
        pytest.param(name, choice, kind, id=f"{name}={choice}{f' {kind}' if kind else ''}")
        for name, part in PARTS.items()
        for choice, entry in part.entries.items()
        for kind in ([""] if isinstance(entry.implementation, str) else entry.implementation)
    ],
)
def test_what_does_a_choice_is_there(part: str, choice: str, kind: str) -> None:
    if part == "decode" and choice == "dali":
        pytest.importorskip("nvidia.dali")
    assert PARTS[part].implementation(choice, kind) is not None


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_a_pipeline_that_says_what_its_axes_are(model: str) -> None:
    from evbench.choices import resolve

    pipeline = resolve(MODELS[model].pipeline)
    assert pipeline.__module__.count(".") == 2, "evidence looks for its methods there"
    assert set(pipeline.axes) == set(STAGES)
    own = [name for name, value in vars(Pipeline).items() if callable(value) and not name.startswith("_")]
    assert own == [], "all that is judged goes through the stages"
    assert all(hasattr(pipeline, stage) for stage in STAGES)


@inputs
def test_each_variant_changes_one_part_of_the_one_above(model: str, kind: str) -> None:
    """Of what a single sample goes through: prefetching has no effect on it."""
    for above, below in pairwise(NAMED[:-2]):
        parts = [part for part in effective(above, model, kind) if PARTS[part].stages != (STREAM,)]
        changed = [part for part in parts if below[part] != above[part]]
        assert len(changed) == 1, (above.name, below.name)


def test_every_part_has_an_effect_on_some_input_and_every_input_is_some_model_s() -> None:
    assert set(KINDS) == set(get_args(InputKind)) == {kind for _, kind in INPUTS}
    assert {part for known in MODELS.values() for part in known.parts} == set(PARTS)
    for name, part in PARTS.items():
        kinds = kinds_with(name)
        assert kinds
        assert all(any(choice.takes(kind) for kind in kinds) for choice in part.entries.values()), name
        assert set(part.stages) <= {*STAGES, STREAM}
        # Another model that drafts also loads what it sees, and what follows.
        seen = {evidence.stage for choice in part.entries.values() if not choice.drafter for evidence in choice.evidence}
        assert seen == set(part.stages), "a part does something in the stages in which it is looked for"


def test_what_has_no_effect_is_left_out() -> None:
    parts = {kind: set(PARTS) - set(effective(parse("baseline"), model, kind)) for model, kind in INPUTS}
    assert parts == {"video": {"render", "pooling"}, "event-images": {"render"}, "events": {"decode"}}
    assert next(iter(parts_with_effect("eventgpt", "events"))) == "render", "in the order of the pipeline"


def test_choices_can_be_changed_by_name() -> None:
    changed = parse("baseline+attention=eager+generate=static")
    assert changed.name == "baseline+attention=eager+generate=static"
    assert changed.choices() == VARIANTS["baseline"].choices() | {"attention": "eager", "generate": "static"}
    assert changed["attention"] == "eager"


def test_choices_that_do_not_go_together_are_refused_whatever_their_order() -> None:
    for text in ("optimized+prefetch=batched", "optimized-gpu+prefetch=batched+decode=threaded"):
        with pytest.raises(UserError) as caught:
            parse(text)
        assert str(caught.value) == (
            f"{text}: prefetch=batched cannot be with decode=threaded, because that decoder takes one file at a time, and "
            "decode=dali several; choose another of the two. See: evbench variants"
        )
    assert parse("baseline+prefetch=batched+decode=dali")["prefetch"] == "batched"


@pytest.mark.parametrize(("kind", "device"), [("video", "cpu"), ("event-images", "cpu"), ("event-images", "cuda"), ("events", "cuda")])
def test_what_is_advised_where_a_variant_cannot_run_can_be_made(kind: str, device: str) -> None:
    with pytest.raises(UserError) as caught:
        require(parse("optimized-gpu+prefetch=batched"), MODEL_OF[kind], kind, device)
    parse(str(caught.value).rpartition("Or choose another: ")[2])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("basline", "did you mean 'baseline'?"),
        ("zzz", "there is baseline, fast-decode"),
        ("baseline+atention=eager", "did you mean 'attention'?"),
        ("baseline+attention=sdp", "did you mean 'sdpa'?"),
        ("baseline+attention", "write baseline+part=choice"),
        ("baseline+", "write baseline+part=choice"),
        ("", "unknown variant ''"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_variant_is_the_one_that_its_name_says() -> None:
    changed = change(VARIANTS["baseline"], {"decode": "threaded", "vision": "batched"})
    assert changed.name == "baseline+decode=threaded+vision=batched"
    assert changed == parse(changed.name)


def test_choices_that_cannot_be_together_are_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, {("vision", "batched"): Conflict("decode", ("plain",), "it is so here")})
    with pytest.raises(UserError) as caught:
        parse("baseline+vision=batched")
    assert str(caught.value).startswith("baseline+vision=batched: vision=batched cannot be with decode=plain, because it is so here; ")
    assert conflict(parse("baseline+vision=batched+decode=threaded")) is None, "only the whole counts, not what it is changed from"


def test_a_part_that_is_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"vision is given twice in 'baseline\+vision=batched\+vision=eager'; give it once"):
        parse("baseline+vision=batched+vision=eager")


def test_what_is_said_to_conflict_exists_and_no_named_variant_has_it() -> None:
    for name, part in PARTS.items():
        for choice in part.entries.values():
            for found in choice.conflicts:
                assert {*found.choices} <= {*PARTS[found.part].choices}
                assert found.part != name
    variants: list[Variant] = list(VARIANTS.values())
    assert not [variant.name for variant in variants if conflict(variant)]
