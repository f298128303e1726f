"""Pipelines in files of somebody else's: four methods, a reference of their own, and engines of which not all can be seen."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evbench.api.options import Options, use_given
from evbench.choices import OwnPipeline
from evbench.errors import UserError
from evbench.inputs import workload as workloads
from evbench.pipelines.build import build
from evbench.pipelines.own import Own
from evbench.pipelines.registry import OWN, OWN_MODEL, PARTS
from evbench.plugins.use import forget_all, model_of_pipeline, use_pipeline
from evbench.results import Outputs, Plugin, Work, Workload
from evbench.session.outputs import Expected, compare_with
from evbench.session.possible import require_possible
from evbench.session.reference_worker import reference_for
from evbench.stages import Sampler, run_stages
from evbench.variants.named import parse
from evbench.variants.obstacles import require
from evbench.verdict import ladder
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Verdict
from evbench.worker.build import build_pipeline
from evbench.worker.capture_outputs import capture_outputs, capture_reference, capture_visible
from evbench.worker.evidence import gather, prove
from evbench.worker.instruments import instruments
from evbench.worker.kept_rows import KeptRows
from evbench.worker.messages import BuildRequest
from tests.examples import make_check, make_result, make_side
from tests.openai_server import serving
from tests.plugin_files import EXAMPLES, nothing_left, written

CAPTIONER = f"{EXAMPLES / 'my_pipeline.py'}:Captioner"
ENGINE = f"{EXAMPLES / 'my_engine.py'}:Engine"
TOY = """
import numpy as np
class Toy:
    variants = {"toy": {}}
    ATTRIBUTES
    def __init__(self, workload, dtype):
        self.workload = workload
    def load(self, path):
        return evbench.frames_of(path, self.workload)
    def preprocess(self, frames):
        return frames.astype("float32") / 255
    def vision(self, pixels):
        return pixels.mean((1, 2))
    def generate(self, features, new_tokens, choose):
        return [choose(np.arange(8.0)) for _ in range(new_tokens)]
"""


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with nothing_left():
        yield


def asked(model: str = OWN_MODEL, new_tokens: int = 4, **given: Any) -> Workload:
    return workloads.describe(
        **{
            "model": model, "preset": None, "weights": None, "videos": (), "events_folders": (), "data": None, 
            "frame_policy": "inclusive", "prompt": "What is it?", "new_tokens": new_tokens, "stop_at_end": False, "device": "cpu",
            "seed": None,
        } | given
    )  # fmt: skip


def made(variant: str, workload: Workload, dtype: str | None = None) -> Any:
    return build_pipeline(BuildRequest(parse(variant), workload, dtype=dtype), 0.0)[0]


def toy(folder: Path, attributes: str = "", body: str = TOY) -> str:
    return f"{written(folder, body.replace('ATTRIBUTES', attributes))}:Toy"


def test_the_example_runs_all_stages_and_shows_which_variant_it_is() -> None:
    assert model_of_pipeline(CAPTIONER, "video-llava") == OWN_MODEL
    assert len((EXAMPLES / "my_pipeline.py").read_text(encoding="utf-8").splitlines()) < 100
    workload = asked()
    for name in ("one-by-one", "together"):
        pipeline = made(name, workload)
        answer, work = run_stages(pipeline, Path(workload.samples[0].path), 4)
        assert len(answer.tokens) == 4 and work.new_tokens == 4 and work.visual_tokens == 8 * 14 * 14
        assert (work.pixel_shape, work.dtype, work.frame_indices) == ((8, 3, 224, 224), "float32", (0, 2, 5, 8, 10, 13, 16, 19))
        assert pipeline.parameters > 10**6 and pipeline.weights_fingerprint == made("together", workload).weights_fingerprint
        evidence = gather(pipeline, "off", [Path(workload.samples[0].path)], 4, instruments("cpu"))
        found = prove(parse(name), OWN_MODEL, "video", "cpu", evidence)
        assert [(one.part, one.active) for one in found] == [("pipeline", True), ("decoding", True)]
        other = "together" if name == "one-by-one" else "one-by-one"
        assert not prove(parse(other), OWN_MODEL, "video", "cpu", evidence)[0].active, "each shows what the other does not"


def test_outputs_are_compared_with_the_class_built_anew_in_float64(tmp_path: Path) -> None:
    use_pipeline(CAPTIONER)
    workload = asked()
    path, kept = Path(workload.samples[0].path), KeptRows()
    baseline, optimized, exact = made("one-by-one", workload), made("together", workload), made("one-by-one", workload, "float64")
    ours = capture_outputs(baseline, path, 4, tmp_path / "a", None, False, kept)
    again = capture_outputs(baseline, path, 4, tmp_path / "b", ours, False, kept)
    theirs = capture_outputs(optimized, path, 4, tmp_path / "c", ours, True, kept)
    capture_reference(exact, path, tmp_path / "d", ours, "float64")

    found = compare_with(Expected(ours, again, tmp_path / "d"), theirs, "float32")
    assert {one.grade for one in found} == {"pass"} and {one.mode for one in found} == {"baseline-repeat", "end-to-end", "stage-isolated"}
    with torch.no_grad():
        optimized.model.head.bias[0] += 0.1
    wrong = capture_outputs(optimized, path, 4, tmp_path / "e", ours, True, kept)
    failed = {one.stage for one in compare_with(Expected(ours, again, tmp_path / "d"), wrong, "float32") if one.grade == "fail"}
    assert failed == {"generate"}


@pytest.mark.parametrize(
    ("attributes", "kind", "called"),
    [("", None, None), ('reference = "float64"', "float64", "float64"), ('reference = "toy"', None, "the variant toy")],
)
def test_a_reference_is_named_by_the_class_or_missing(tmp_path: Path, attributes: str, kind: str | None, called: str | None) -> None:
    use_pipeline(toy(tmp_path, attributes))
    from evbench.api.options import Options
    from evbench.machine import machine

    workload = asked()
    found = reference_for(workload, Options().plan([workload]), "", machine.read("cpu"), tmp_path, parse("toy"))
    assert found.dtype == called
    entry = PARTS[OWN].entries["toy"]
    assert isinstance(entry, OwnPipeline) and (entry.reference or None) == (kind or (called and "toy"))


def test_without_a_reference_nothing_is_claimed() -> None:
    plugins = (Plugin("mine.py", "0" * 64, {"pipeline": "toy"}),)
    side = dataclasses.replace(make_side(), choices={"pipeline": "toy"}, activations=(), plugins=plugins)
    activations = tuple(dataclasses.replace(make_side().activations[-1], part=part, choice=choice) for part, choice in
                        (("pipeline", "toy"), ("decoding", "greedy")))  # fmt: skip
    side = dataclasses.replace(side, activations=activations)
    modes = [
        ("load", "end-to-end"),
        *((stage, mode) for stage in ("preprocess", "vision", "generate") for mode in ("end-to-end", "stage-isolated")),
    ]
    checks = tuple(make_check(stage, mode) for stage, mode in modes)  # type: ignore[arg-type]
    judgement = judge(make_result(side, side, outputs=Outputs(None, (0,), checks)))
    assert judgement.verdict is Verdict.INCONCLUSIVE and judgement.end_to_end.interval is None
    assert judgement.reasons == ("REFERENCE_MISSING: the pipeline names none to compare outputs with",)
    assert all(stage.claim is None for stage in judgement.stages)


BAD = {
    "class Toy: pass": "Toy: it has no method load and no preprocess and no vision and no generate",
    "Toy = 3": "Toy: there is no such class",
    TOY.replace('variants = {"toy": {}}', ""): "it has no variants; write variants",
    TOY.replace('variants = {"toy": {}}', 'variants = ["toy"]'): "it has no variants; write variants",
    TOY.replace('{"toy": {}}', '{"toy": {}, "other": {}}'): "nothing would show that toy was used, and not another of its variants",
    TOY.replace('{"toy": {}}', '{"baseline": {}}'): "there is a variant called baseline already",
    TOY.replace('{"toy": {}}', '{"A toy": {}}'): "Toy.variants has the name 'A toy'",
    TOY.replace("ATTRIBUTES", 'reference = "float16"'): "reference='float16' is neither one of its variants nor float64 or float32",
    TOY.replace("ATTRIBUTES", 'unseen = ["load"]'): "unseen names 'load'",
    TOY.replace("ATTRIBUTES", 'compares_with = "video-lava"'): "compares_with='video-lava' is no model; did you mean 'video-llava'?",
    TOY.replace("ATTRIBUTES", 'needs = ["GPU"]'): "unknown need 'GPU'",
}


@pytest.mark.parametrize("body", BAD)
def test_a_bad_class_is_one_line(tmp_path: Path, body: str) -> None:
    with pytest.raises(UserError) as caught:
        use_pipeline(toy(tmp_path, "pass" if "ATTRIBUTES" in body else "", body))
    assert BAD[body] in str(caught.value) and "\n" not in str(caught.value) and "mine.py" in str(caught.value)


RETURNED = {
    ("return evbench.frames_of(path, self.workload)", "return np.zeros((2, 4, 6))"): "load returned frames, where frames [count",
    ('return frames.astype("float32") / 255', "return {}"): "preprocess returned dict, where an array, a tensor, or an object with",
    ("return [choose(np.arange(8.0)) for _ in range(new_tokens)]", "return 'words'"): "generate returned the tokens, where a list of whole",
    (
        "return [choose(np.arange(8.0)) for _ in range(new_tokens)]",
        "choose(np.arange(8.0)); return [3]",
    ): "returned a token 0 that it did not",
    ("return [choose(np.arange(8.0)) for _ in range(new_tokens)]", "return []"): "generate returned the answer",
}


@pytest.mark.parametrize("change", RETURNED)
def test_what_a_method_must_not_return_is_one_line(tmp_path: Path, change: tuple[str, str]) -> None:
    use_pipeline(toy(tmp_path, "", TOY.replace(*change)))
    workload = asked()
    with pytest.raises(UserError, match=r"the plug-in mine\.py: Toy: ") as caught:
        run_stages(made("toy", workload), Path(workload.samples[0].path), 4)
    assert RETURNED[change] in str(caught.value)


def test_it_may_say_what_it_did_and_stop_early(tmp_path: Path) -> None:
    body = TOY.replace("return pixels.mean((1, 2))", "return pixels.mean((1, 2)), Work(prompt_tokens=9)").replace(
        "return [choose(np.arange(8.0)) for _ in range(new_tokens)]", "return [choose(np.arange(8.0))], 'seven'"
    )
    use_pipeline(toy(tmp_path, "quantum = 1.0", body))
    workload = asked()
    pipeline = made("toy", workload)
    answer, work = run_stages(pipeline, Path(workload.samples[0].path), 4)
    assert (answer.tokens, answer.text, work.prompt_tokens, work.stop, work.new_tokens) == ((7,), "seven", 9, "end", 1)
    assert pipeline.quantum == 1.0 and pipeline.parameters == 0 and pipeline.axes["vision"] == ("token", "feature")
    forced, _ = run_stages(pipeline, Path(workload.samples[0].path), 4, sampler=Sampler([2, 3]))
    assert forced.tokens == (2,), "teacher forcing decides"


def test_variants_of_it_and_of_evbench_do_not_mix_unless_it_stands_in(tmp_path: Path) -> None:
    place = toy(tmp_path)
    with pytest.raises(UserError, match="is a model of its own: --model auto would have no effect"):
        model_of_pipeline(place, "auto")
    with pytest.raises(
        UserError, match=r"baseline is of evbench, and the pipeline is a model of its own; name one of its variants \(toy\)"
    ):
        require(parse("baseline"), OWN_MODEL, "video", "cpu")
    with pytest.raises(UserError, match=r"toy cannot run here: it is a model of its own"):
        require(parse("toy"), "video-llava", "video", "cpu")
    with pytest.raises(UserError, match="toy is a pipeline of its own, which has no parts to climb by"):
        ladder.plan(parse("toy"), parse("toy"), OWN_MODEL, "video", True)
    with pytest.raises(UserError, match="of which no choice can be changed"):
        parse("toy+vision=eager")
    with pytest.raises(UserError, match=r"write it such as mine\.py:MyPipeline"):
        use_pipeline("mine.py")
    with pytest.raises(UserError, match=r"--plugin .*/mine\.py and --pipeline .*/mine\.py:Toy name one file, .*; leave --plugin out"):
        use_given(Options(plugin=[tmp_path / "mine.py"], pipeline=place))
    with pytest.raises(UserError, match="--preset is of the models of evbench"):
        asked(preset="tiny")
    sys.modules.pop("mine", None)
    assert model_of_pipeline(toy(tmp_path, 'compares_with = "video-llava"'), "video-llava") == "video-llava"
    require(parse("toy"), "video-llava", "video", "cpu")
    with pytest.raises(UserError, match="stands in for --model video-llava, not for eventgpt"):
        model_of_pipeline(place, "eventgpt")


def test_an_engine_is_timed_token_by_token_and_compared_by_its_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload = asked("video-llava", preset="tiny")
    path, kept = Path(workload.samples[0].path), KeptRows()
    baseline = build(parse("baseline"), workload)
    ours = capture_outputs(baseline, path, 4, tmp_path / "a", None, False, kept)
    use_pipeline(ENGINE)
    with serving(ours.answer.tokens) as (url, requests):
        monkeypatch.setenv("ENGINE_URL", url)
        sys.modules.pop("my_engine", None)
        engine = made("engine", workload)
        marks: list[int] = []
        answer, work = run_stages(engine, path, 4, sampler=Sampler(mark=lambda: marks.append(1)))
        assert (answer.tokens, len(marks), work.stop) == (ours.answer.tokens, 4, "length")
        assert (work.pixel_shape, work.visual_tokens, work.dtype) == (None, None, None), "what it cannot see it does not tell"
        (request,) = requests
        pictures = [part for part in request["messages"][0]["content"] if part["type"] == "image_url"]
        assert len(pictures) == 8 and request["temperature"] == 0 and request["max_tokens"] == 4 and request["ignore_eos"]
        found = prove(parse("engine"), "video-llava", "video", "cpu", gather(engine, "off", [path], 4, instruments("cpu")))
        assert [(one.part, one.active) for one in found] == [("pipeline", True)], "not whether its tokens are drawn at random"
        theirs = capture_visible(engine, path, 4, tmp_path / "c", ours, kept)
    assert set(theirs.axes) == {"load"}


def test_an_engine_without_a_server_or_token_ids_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    use_pipeline(ENGINE)
    workload = asked("video-llava", preset="tiny")
    monkeypatch.setenv("ENGINE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match=r"no server answers at http://127\.0\.0\.1:9/v1 .*; start one, or set ENGINE_URL"):
        made("engine", workload)
    with serving([1, 2], with_ids=False) as (url, _):
        monkeypatch.setenv("ENGINE_URL", url)
        sys.modules.pop("my_engine", None)
        engine = made("engine", workload)
        with pytest.raises(UserError, match="sends no token_ids; take one that knows return_token_ids"):
            run_stages(engine, Path(workload.samples[0].path), 2)


def test_what_cannot_be_seen_is_said_and_nothing_is_claimed(tmp_path: Path) -> None:
    plugins = (Plugin("mine.py", "0" * 64, {"pipeline": "engine"}, ("vision", "generate")),)
    activation = dataclasses.replace(make_side().activations[-1], part="pipeline", choice="engine")
    engine = dataclasses.replace(make_side(), choices={"pipeline": "engine"}, activations=(activation,), plugins=plugins)
    result = make_result(engine, outputs=Outputs("float64", (0,), (make_check("load", "end-to-end"), make_check("generate", "end-to-end"))))
    forget_all()
    require_possible(result, tmp_path)
    judgement = judge(result)
    assert judgement.verdict is Verdict.INCONCLUSIVE and judgement.end_to_end.interval is None
    (reason,) = judgement.reasons
    assert reason.startswith("UNSEEN: vision and logits of the optimized side cannot be seen")
    failed = make_check("generate", "end-to-end", "fail", rule="tokens", location="position 1")
    assert judge(make_result(engine, outputs=Outputs("float64", (0,), (failed,)))).verdict is Verdict.OUTPUT_DIFFERS


def test_values_may_be_objects_of_its_own() -> None:
    class Boxed:
        def __init__(self, inside: Any) -> None:
            self.inside = inside

        def values(self) -> Any:
            return self.inside

        def holding(self, values: Any) -> Boxed:
            return Boxed(values)

    class Made:
        prompt_token_ids = (5, 6)

        def preprocess(self, frames: Any) -> Boxed:
            return Boxed(frames / 2)

        def load(self, path: Path) -> Any:
            return np.ones((1, 2, 2, 3), np.uint8)

    own = Own(Made(), asked(), None, (), "mine")
    loaded, _ = own.load(Path("x"))
    inputs, work = own.preprocess(loaded)
    assert inputs.prompt() == (5, 6) and work == Work(pixel_shape=(1, 2, 2, 3)) and inputs.holding(np.zeros(1)).values() == np.zeros(1)
