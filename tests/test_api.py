"""The public API: what it exports, and that the command line does nothing else."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import evbench
from evbench.api import measure
from evbench.api.options import OF_WORKLOAD, Keywords, Options
from evbench.cli.main import main
from evbench.errors import UserError
from evbench.results import Result, write
from evbench.session import compare
from evbench.session.request import ComparisonRequest
from evbench.stages import run_stages
from evbench.variants.named import parse
from evbench.verdict import judge as judging
from evbench.verdict.judge import judge
from evbench.verdict.judgement import Judgement
from tests.command import evbench as evbench_command
from tests.examples import make_result, make_side
from tests.simulation import SimulatedMachine, simulate

TINY: Keywords = {"model": "eventgpt", "preset": "tiny", "device": "cpu", "new_tokens": 4, "warmup": 1, "trace_tokens": 0}


@dataclass
class Steps:
    """A listener that stores what it is called with."""

    activities: list[str] = field(default_factory=list)

    def step(self, activity: str, done: int, total: int, /) -> None:
        self.activities.append(activity)

    def message(self, text: str, /) -> None: ...


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[ComparisonRequest]:
    """Requests, which are carried out on a simulated machine."""
    requests: list[ComparisonRequest] = []

    def simulated_measure(request: ComparisonRequest, listener: object, checkpoint: Any) -> Result:
        requests.append(request)
        request.folder.mkdir(parents=True)
        result = dataclasses.replace(simulate(SimulatedMachine(1), request.plan), created=request.created, command=request.command)
        checkpoint(result)
        return result

    monkeypatch.setattr(compare, "measure", simulated_measure)
    return requests


@pytest.fixture
def judgements(monkeypatch: pytest.MonkeyPatch) -> list[Result]:
    """Results that were judged."""
    judged: list[Result] = []

    def counted(result: Result) -> Judgement:
        judged.append(result)
        return judge(result)

    # Wherever the function is known by its name.
    for name, module in list(sys.modules.items()):
        if name.startswith("evbench") and module is not judging and getattr(module, "judge", None) is judge and name != "evbench":
            monkeypatch.setattr(module, "judge", counted)
    return judged


def test_everything_that_is_exported_is_documented_and_imported_when_it_is_used() -> None:
    for name in evbench.__all__:
        assert getattr(evbench, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'comparee'"):
        _ = evbench.comparee  # type: ignore[attr-defined]
    loaded = "import sys, evbench; print(sorted(name for name in sys.modules if name.startswith(('evbench.', 'torch', 'numpy'))))"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_each_option_of_the_command_line_is_a_keyword_of_one_type() -> None:
    options, keywords = get_type_hints(Options), get_type_hints(Keywords)
    assert keywords == {field.name: options[field.name] for field in dataclasses.fields(Options)}
    assert set(OF_WORKLOAD) < set(keywords)
    assert all(option.help for hint in get_type_hints(Options, include_extras=True).values() for option in get_args(hint)[1:])


def test_a_comparison_is_judged_once(simulated: list[ComparisonRequest], judgements: list[Result], tmp_path: Path) -> None:
    passed: list[Judgement] = []
    result = evbench.compare("baseline", "optimized", folder=tmp_path / "out", on_judgement=passed.append, **TINY)
    assert len(judgements) == 1
    assert passed == [judge(result)]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json", "verdict.json", "report.md", "report.html"}
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["verdict"] == passed[0].verdict


def test_the_command_judges_once_too(
    simulated: list[ComparisonRequest], judgements: list[Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "--baseline baseline --optimized optimized --model eventgpt --preset tiny --device cpu"
    monkeypatch.setattr(sys, "argv", ["evbench", "compare", *options.split(), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        main()
    assert len(judgements) == 1
    assert simulated[0].command.startswith("evbench compare --baseline baseline")


def test_the_command_asks_for_what_the_same_call_asks_for(
    simulated: list[ComparisonRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "--model eventgpt --preset tiny --device cpu --new-tokens 4 --blocks 7 --precision 2% --max-time 9 --order reload"
    monkeypatch.setattr(sys, "argv", ["evbench", "run", "baseline+generate=static", *options.split(), "--out", str(tmp_path / "one")])
    with pytest.raises(SystemExit):
        main()
    keywords: Keywords = {"model": "eventgpt", "preset": "tiny", "device": "cpu", "new_tokens": 4}
    keywords |= {"blocks": 7, "precision": "2%", "max_time": 9, "order": "reload"}
    variant = parse("baseline+generate=static")
    evbench.run(variant, folder=tmp_path / "other", **keywords)
    one, other = (dataclasses.replace(request, folder=tmp_path, created="", command="") for request in simulated)
    assert one == other
    assert (one.variants, one.plan.blocks, one.plan.precision, one.plan.order) == ({"baseline": variant}, 7, 0.02, "reload")


def test_earlier_results_are_sides_by_value_and_by_path(tmp_path: Path) -> None:
    result = make_result(make_side())
    write(result, tmp_path / "result.json")
    by_value = evbench.compare(result, result, folder=tmp_path / "one")
    by_path = evbench.compare(tmp_path, str(tmp_path / "result.json"), folder=tmp_path / "other")
    assert by_value.variants() == result.variants()
    assert {side: dataclasses.replace(measured, unverified="") for side, measured in by_path.variants().items()} == result.variants()
    assert evbench.judge(evbench.read(tmp_path / "other")) == evbench.judge(by_path)


def test_a_workload_stands_for_its_options(simulated: list[ComparisonRequest], tmp_path: Path) -> None:
    workload = Options(model="eventgpt", preset="tiny", device="cpu").workload()
    evbench.run("baseline", workload, folder=tmp_path / "out", blocks=6)
    assert simulated[0].workloads == {"baseline": workload}
    with pytest.raises(UserError, match="the workload is given: new_tokens would have no effect"):
        evbench.run("baseline", workload, new_tokens=3)
    result = make_result()
    with pytest.raises(UserError, match="nothing is run: blocks would have no effect"):
        evbench.compare(result, result, blocks=6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evbench.compare("basline", "optimized"), "did you mean 'baseline'"),
        (lambda: evbench.compare("none/result.json", "optimized"), "cannot read result none/result.json"),
        (lambda: evbench.run("baseline", resume=True, **TINY), "--resume goes on with the session"),
        (lambda: evbench.run("baseline", target=["generate"], **TINY), "--target 'generate' cannot be read"),
    ],
)
def test_mistakes_are_user_errors(call: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


def test_the_default_folder_is_named_by_time_and_model(
    simulated: list[ComparisonRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evbench.run("baseline", **TINY)
    (folder,) = (tmp_path / "profiles").iterdir()
    assert folder.name.endswith("Z-eventgpt") or folder.name.endswith("-eventgpt")
    assert simulated[0].created[:10] == folder.name[:10]


@pytest.mark.long
def test_a_run_on_this_machine_leaves_what_the_command_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    steps, keywords = Steps(), TINY | Keywords(blocks=1)
    result = evbench.run("baseline", folder=tmp_path / "one", on_progress=steps, **keywords)
    assert {"baseline: first call", "timed runs"} <= set(steps.activities)
    assert evbench.read(tmp_path / "one") == result
    options = "--model eventgpt --preset tiny --device cpu --new-tokens 4 --warmup 1 --trace-tokens 0 --blocks 1"
    done = evbench_command(f"run baseline {options} --out other", tmp_path)
    assert {done.returncode, evbench.judge(result).exit_code} <= {0, 6}, done.stderr  # 6: somebody else used this machine
    other = evbench.read(tmp_path / "other")
    for one_side, other_side in zip(result.variants().values(), other.variants().values(), strict=True):
        assert (one_side.workload, one_side.choices) == (other_side.workload, other_side.choices)
        assert [(run.kind, run.tokens) for run in one_side.runs] == [(run.kind, run.tokens) for run in other_side.runs]
    assert result.sessions[0].plan == other.sessions[0].plan
    assert {path.name for path in (tmp_path / "one").iterdir()} == {path.name for path in (tmp_path / "other").iterdir()}
    assert measure.read_side(tmp_path / "one") == result


RECORDED = Path(__file__).parent.parent / "profiles" / "cpu" / "video-llava-small"


def test_folders_are_given_as_texts_or_paths(tmp_path: Path) -> None:
    assert evbench.read(str(RECORDED)) == evbench.read(RECORDED)
    result = evbench.compare(str(RECORDED), RECORDED, folder=str(tmp_path / "out"), fail_if="slower:2%")
    assert result.rules.fail_if == ("slower:2%",)
    assert evbench.read(tmp_path / "out") == result


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"baseline": None}, "None is no side of a comparison; give the name of a variant"),
        ({"block": 6}, "unknown option 'block'; did you mean 'blocks'?"),
        ({"starts": 6}, "unknown option 'starts'; it is now called invocations"),
        ({"blocks": 0}, "--blocks 0 is out of range; give 1 to 10,000"),
        ({"blocks": 2.0}, "--blocks 2.0 is no whole number; give one"),
        ({"blocks": "6"}, "--blocks '6' is no whole number; give one"),
        ({"blocks": True}, "--blocks True is no whole number; give one"),
        ({"warmup": None}, "--warmup None is no whole number; give one"),
        ({"new_tokens": 0}, "--new-tokens 0 is out of range; give 1 to 1,024"),
        ({"max_time": float("nan"), "precision": "1%"}, "--max-time nan is no number; give one"),
        ({"max_time": 3}, "--max-time is of the blocks that --precision adds"),
        ({"precision": 0.01}, "--precision 0.01 is no text; give one"),
        ({"modules": "no"}, "--modules 'no' is no bool; give True or False"),
        ({"weights": "folder"}, "--weights 'folder' is no Path; give one"),
        ({"video": "clip.mp4"}, "--video 'clip.mp4' is no list of Paths; give one"),
        ({"video": ["clip.mp4"]}, "--video 'clip.mp4' is no Path; give one"),
        ({"allow": "torch"}, "unknown --allow 'torch' where no earlier results are given"),
        ({"prompt": ""}, "--prompt '' asks nothing"),
        ({"optimized": "optimized+feed=ahead"}, "unknown part 'feed' in 'optimized+feed=ahead'; it is now called prefetch"),
        (
            {"optimized": "optimized+prefetch=ahead"},
            "unknown choice 'ahead' for prefetch in",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError) as caught:
        evbench.compare(**{"baseline": "baseline", "optimized": "optimized", "device": "cpu"} | arguments)
    assert str(caught.value).startswith(reason)


def test_a_pipeline_is_built_as_a_worker_builds_it() -> None:
    pipeline, workload = evbench.build("baseline", preset="tiny", device="cpu", new_tokens=3)
    answer, work = run_stages(pipeline, Path(workload.samples[0].path), workload.new_tokens)
    assert len(answer.tokens) == work.new_tokens == 3 and workload.preset == "tiny" and workload.device == "cpu"
    again, _ = evbench.build("baseline+attention=eager", preset="tiny", device="cpu")
    assert again.weights_fingerprint == pipeline.weights_fingerprint
    assert again.model.config.text_config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("variant", "options", "reason"),
    [
        ("baseline", {"blocks": 2}, "nothing is measured: blocks would have no effect"),
        ("baselin", {}, "unknown variant 'baselin'"),
        (None, {}, "None is no variant; give the name of one, or a Variant"),
        ("baseline", {"preset": "smal"}, "unknown --preset 'smal'"),
        ("optimized-gpu", {"device": "cpu"}, "optimized-gpu"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(variant: Any, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as refused:
        evbench.build(variant, **options)
    assert "\n" not in str(refused.value)


def test_a_baseline_that_rounds_what_it_computes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "require", lambda *given: None)  # it needs a GPU
    with pytest.raises(
        UserError, match=r"cache=fp8 rounds what is computed: .*; compare it as --optimized, with a --baseline without cache=fp8"
    ):
        evbench.compare("optimized-gpu+cache=fp8", "optimized-gpu", folder=tmp_path / "out", **TINY)
    assert not (tmp_path / "out").exists()


def test_what_is_no_variant_is_not_run() -> None:
    with pytest.raises(UserError, match=r"3 is no variant; give the name of one, or a Variant"):
        evbench.run(3, device="cpu")  # type: ignore[arg-type]
