"""Choices in files of somebody else's: what a file may say, what a pipeline becomes by it, and whose a fault is."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evbench
from evbench.choices import PluginFile
from evbench.cli.main import make_app
from evbench.errors import UserError
from evbench.inputs import workload as workloads
from evbench.pipelines.build import build
from evbench.pipelines.registry import PARTS
from evbench.plugins import files
from evbench.plugins import use as module
from evbench.plugins.apply import apply, without
from evbench.plugins.use import enter, forget_all, require_used, use, use_pipeline
from evbench.results import Workload
from evbench.session.journal import require_same
from evbench.session.journal_state import JournalHeader, hashes
from evbench.session.possible import require_possible
from evbench.stages import run_stages
from evbench.variants.named import VARIANTS, change, parse, used_plugins
from evbench.variants.obstacles import obstacles
from evbench.worker.build import build_pipeline
from evbench.worker.client import Worker, WorkerGaveUp
from evbench.worker.evidence import gather, prove
from evbench.worker.instruments import instruments
from evbench.worker.messages import BuildRequest
from tests.examples import make_result, make_side
from tests.plugin_files import nothing_left, written

CALLED = 'evidence=[Evidence("{stage}", "call of it", r"function:mine\\.{function}")]'
IN_PLACE = """
class Doubled:
    def __init__(self, layer):
        self.layer = layer
    def __call__(self, *arguments, **named):
        return self.layer(*arguments, **named)

@evbench.choice("vision", meaning="the tower, called through a wrapper", EVIDENCE)
def wrapped(pipeline):
    forward = pipeline.tower.forward
    def wrapper(*arguments, **named):
        return forward(*arguments, **named)
    pipeline.tower.forward = wrapper

VARIANTS = {"mine": "baseline+vision=wrapped"}
""".replace("EVIDENCE", CALLED.format(stage="vision", function=r"wrapped\.<locals>\.wrapper$"))


def replaced(part: str, stage: str, arguments: str) -> str:
    """A choice that is a class, whose objects do the stage by calling what they replace."""
    evidence = CALLED.format(stage=stage, function=r"Mine\.__call__$")
    return f"""
@evbench.choice("{part}", name="mine", meaning="as before, counted", {evidence})
class Mine:
    calls = 0
    def __init__(self, pipeline):
        self.before = pipeline.{stage}
    def __call__(self, {arguments}):
        Mine.calls += 1
        return self.before({arguments})
"""


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture(scope="module")
def tiny() -> Workload:
    return workloads.describe(
        model="video-llava", preset="tiny", weights=None, videos=(), events_folders=(), data=None, frame_policy="inclusive",
        prompt="What is it?", new_tokens=4, stop_at_end=False, device="cpu", seed=None,
    )  # fmt: skip


def test_a_choice_changes_modules_in_place_and_is_proven_by_its_evidence(tmp_path: Path, tiny: Workload) -> None:
    use([written(tmp_path, IN_PLACE)])
    variant = parse("mine")
    assert variant["vision"] == "wrapped" and [file.name for file in variant.plugins] == ["mine.py"]
    assert parse("mine+vision=eager").plugins == () and change(parse("baseline"), {"vision": "wrapped"}).plugins == variant.plugins
    assert not obstacles(variant, "video-llava", "video", "cpu")
    pipeline, _ = build_pipeline(BuildRequest(variant, tiny), 0.0)
    found = prove(variant, "video-llava", "video", "cpu", gather(pipeline, "off", [Path(tiny.samples[0].path)], 4, instruments("cpu")))
    assert all(one.active for one in found), found
    assert next(one.evidence for one in found if one.part == "vision").startswith("vision: call of it: 1 x mine.wrapped")
    plain = build(parse("baseline"), tiny)
    without_it = gather(plain, "off", [Path(tiny.samples[0].path)], 4, instruments("cpu"))
    inactive = [one for one in prove(variant, "video-llava", "video", "cpu", without_it) if not one.active]
    assert [one.part for one in inactive] == ["vision"] and "it ran as vision=eager does" in inactive[0].evidence


@pytest.mark.parametrize(
    ("part", "stage", "arguments"),
    [
        ("decode", "load", "path"),
        ("preprocess", "preprocess", "loaded"),
        ("vision", "vision", "inputs"),
        ("generate", "generate", "features, new_tokens, sampler"),
    ],
)
def test_a_class_takes_the_place_of_each_stage(tmp_path: Path, tiny: Workload, part: str, stage: str, arguments: str) -> None:
    use([written(tmp_path, replaced(part, stage, arguments))])
    variant = parse(f"baseline+{part}=mine")
    pipeline, _ = build_pipeline(BuildRequest(variant, tiny), 0.0)
    path = Path(tiny.samples[0].path)
    answer, work = run_stages(pipeline, path, 4)
    assert sys.modules["mine"].Mine.calls == 1
    expected, usual = run_stages(build(parse("baseline"), tiny), path, 4)
    assert (answer.tokens, work) == (expected.tokens, usual)
    found = prove(variant, "video-llava", "video", "cpu", gather(pipeline, "off", [path], 4, instruments("cpu")))
    assert all(one.active for one in found), "prefetch=off too, which counts loads and answers"


def test_work_of_another_part_is_looked_for_unless_a_choice_says_that_it_does_it(tmp_path: Path, tiny: Workload) -> None:
    stand_in = """
@evbench.choice("vision", meaning="features of zeros", REPLACES evidence=[Evidence("vision", "call of it", "function:mine.zeros")])
def zeros(pipeline):
    features, work = pipeline.vision(pipeline.preprocess(pipeline.load(PATH)[0])[0])
    def zeros(inputs):
        return features.holding(features.values() * 0), work
    return zeros
"""
    path = Path(tiny.samples[0].path)
    for replaces, active in (("", False), ('replaces=["attention"],', True)):
        use([written(tmp_path, "from pathlib import Path\n" + f"PATH = Path({str(path)!r})\n" + stand_in.replace("REPLACES", replaces))])
        sys.modules.pop("mine", None)
        variant = parse("baseline+vision=zeros")
        pipeline, _ = build_pipeline(BuildRequest(variant, tiny), 0.0)
        found = prove(variant, "video-llava", "video", "cpu", gather(pipeline, "off", [path], 4, instruments("cpu")))
        assert {one.part: one.active for one in found}["attention"] is active


def test_what_a_choice_needs_and_conflicts_with_is_that_of_the_one_it_changes_and_its_own(tmp_path: Path) -> None:
    body = """
@evbench.choice("generate", meaning="x", over="graph", 
                needs=["C++ compiler", lambda device: f"not on {device}" if device == "cpu" else None],
                evidence=[Evidence("generate", "call", "function:x")])
def mine(pipeline): ...

@evbench.choice("generate", meaning="x", over="static-compile", evidence=[Evidence("generate", "call", "function:x")])
def other(pipeline): ...
"""
    use([written(tmp_path, body)])
    entry = PARTS["generate"].entries["mine"]
    assert entry.needs == ("NVIDIA GPU", "Triton", "C++ compiler") and entry.lacks == {"cpu": "not on cpu (says mine.py)"}
    assert without(parse("baseline+generate=mine"))["generate"] == "graph"
    with pytest.raises(UserError, match="because drafts are verified over the cache of generate=static"):
        parse("baseline+generate=other+draft=lookup-2")
    assert parse("baseline+generate=mine+draft=lookup-2")["draft"] == "lookup-2"


CHOICE = '@evbench.choice("vision", meaning="m", evidence=[Evidence("vision", "w", "function:x")])\ndef mine(pipeline): ...\n'
BAD = {
    "x = 1": "it holds no choice; put @evbench.choice in front",
    "import no_such": "the plug-in mine.py, line 3, has a fault: ModuleNotFoundError: No module named 'no_such'; mend it and run again",
    "def broken(:": "the plug-in mine.py, line 3, has a fault: SyntaxError: invalid syntax",
    "import sys; sys.exit()": "it ends the process (SystemExit)",
    "import os; os._exit(3)": "ended the process that imported it (code 3): it wrote nothing; mend it",
    CHOICE.replace('"vision", m', '"visions", m'): "vision" + "s=mine: unknown part 'visions'; did you mean 'vision'?",
    CHOICE.replace('"vision", m', '"a\\nb", m'): "a b=mine: unknown part 'a\\nb'; there is",
    CHOICE.replace("def mine", "def eager"): "vision=eager: evbench has a choice of this name; give another by name=",
    CHOICE.replace("function:x", "function:("): "is no regular expression",
    CHOICE.replace('"function:x"', '"function:x", "never"'): "nothing would show that it was used",
    CHOICE.replace('Evidence("vision"', 'Evidence("sight"'): "its evidence is of the stage 'sight'; there is load, preprocess",
    CHOICE.replace('meaning="m"', 'meaning="m", over="eeger"'): "over='eeger' is no choice of evbench for vision; did you mean 'eager'?",
    CHOICE.replace('meaning="m"', 'meaning="m", needs=["GPU"]'): "unknown need 'GPU'; ",
    CHOICE.replace('meaning="m"', 'meaning="m", kinds=["film"]'): "unknown kind of input 'film'; ",
    CHOICE.replace('meaning="m"', 'meaning="m", replaces=["vision"]'): "'vision' is no other part",
    CHOICE.replace('meaning="m"', 'meaning=""'): "its meaning is not one line of text",
    CHOICE.replace('"vision", m', '"prefetch", m'): "prefetch is of no stage",
    CHOICE.replace('meaning="m"', 'meaning="m", name="My Choice"'): "a choice has a name of small letters",
    CHOICE + "VARIANTS = ['mine']": "VARIANTS is no dictionary of texts",
    CHOICE + "VARIANTS = {'a b': 'baseline'}": "VARIANTS has the name 'a b'",
    CHOICE + "VARIANTS = {'': 'baseline'}": "VARIANTS has the name ''; give one of small letters",
    CHOICE + "VARIANTS = {'optimized': 'baseline'}": "there is a variant called optimized already; give it another name",
    CHOICE + "VARIANTS = {'mine': 'baseline+vision=my'}": "its variant mine: unknown choice 'my' for vision",
    CHOICE.replace("evidence=", "proof="): "TypeError: choice() got an unexpected keyword argument 'proof'",
}  # fmt: skip


@pytest.mark.parametrize("body", BAD)
def test_a_bad_file_is_one_line_and_exit_code_2(tmp_path: Path, body: str) -> None:
    path = written(tmp_path, body)
    with pytest.raises(UserError) as caught:
        use([path])
    assert BAD[body] in str(caught.value) and "\n" not in str(caught.value) and "mine.py" in str(caught.value)
    assert "wrapped" not in VARIANTS and all(entry.plugin is None for part in PARTS.values() for entry in part.entries.values())


def test_one_whose_import_does_not_end_is_refused_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 1.0)
    path = written(tmp_path, "while True:\n    pass")
    with pytest.raises(UserError, match=r"^the plug-in mine\.py was not imported after 1 s; mend it, or move .* into its functions$"):
        use([path])
    with pytest.raises(UserError, match=r"^the plug-in mine\.py was not imported after 1 s"):
        use_pipeline(f"{path}:Mine")


def test_a_thread_that_does_not_end_keeps_nobody_waiting(tmp_path: Path) -> None:
    use([written(tmp_path, CHOICE + "import threading\nthreading.Thread(target=threading.Event().wait).start()")])
    assert parse("baseline+vision=mine")["vision"] == "mine"


def test_what_is_no_plug_in_is_refused(tmp_path: Path) -> None:
    for name, reason in {
        "nothing.py": "no such file; give a file of Python (.py)",
        "nothing": "no entry point of the group evbench.plugins has this name",
        "a-b.py": "cannot be imported by the name a-b",
        "json.py": "has the name of a module that Python knows already, json",
        "torch.py": "has the name of a module that Python knows already, torch",
        "text.txt": "is no file of Python (.py)",
    }.items():  # fmt: skip
        if "nothing" not in name:
            written(tmp_path, CHOICE, name)
        with pytest.raises(UserError, match=reason.replace("(", r"\(").replace(")", r"\)")):
            use([tmp_path / name if "." in name else Path(name)])


def test_two_files_with_one_name_or_choice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    use([written(tmp_path, CHOICE)])
    with pytest.raises(UserError, match=r"two plug-ins are called mine\.py"):
        use([written(tmp_path / "other", CHOICE)])
    with pytest.raises(UserError, match="vision=mine is of another plug-in, too"):
        use([written(tmp_path, CHOICE, "second.py")])


def test_a_file_that_was_changed_is_asked_again_and_a_worker_refuses_it(tmp_path: Path) -> None:
    path = written(tmp_path, CHOICE)
    use([path])
    before = parse("baseline+vision=mine").plugins[0]
    written(tmp_path, CHOICE.replace('"m"', '"other"'))
    with pytest.raises(UserError, match=r"the plug-in mine\.py was changed while it was measured"):
        enter(before)
    use([path])
    assert PARTS["vision"].entries["mine"].meaning == "other" and parse("baseline+vision=mine").plugins[0] != before


def test_one_that_no_side_uses_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, IN_PLACE)
    use([path])
    require_used([path], [parse("baseline"), parse("mine")])
    with pytest.raises(UserError, match="no side has a choice of it; name mine or vision=wrapped, or leave it out"):
        require_used([path], [parse("baseline"), parse("optimized")])


def test_an_installed_one_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, info = tmp_path / "somebody", tmp_path / "somebody-1.dist-info"
    for folder in (package, info):
        folder.mkdir()
    (package / "__init__.py").touch()
    written(package, CHOICE.replace("function:x", r"function:somebody\.fast\."), "fast.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[evbench.plugins]\nsomebodys = somebody.fast\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    assert files.find(Path("somebodys")).module == "somebody.fast"
    use([Path("somebodys")])
    assert parse("baseline+vision=mine").plugins[0].name == "fast.py"
    with pytest.raises(UserError, match="there is somebodys"):
        use([Path("somebody")])


FAULTS = {
    "raise ValueError('no such layer')": ("line 5, has a fault: ValueError: no such layer", "no such layer"),
    "return 3": ("vision=mine returned int; return None, or what is called in the place of the stage", ""),
    "raise evbench.UserError('not for this tower; take another')": ("not for this tower; take another", ""),
}


@pytest.mark.parametrize("body", FAULTS)
def test_a_fault_while_it_is_built_is_told_as_its_own(tmp_path: Path, tiny: Workload, body: str) -> None:
    said, logged = FAULTS[body]
    use([written(tmp_path, CHOICE.replace("def mine(pipeline): ...", f"def mine(pipeline):\n    {body}"))])
    log = tmp_path / "worker.log"
    with pytest.raises(WorkerGaveUp) as caught, Worker(BuildRequest(parse("baseline+vision=mine"), tiny), log) as worker:
        worker.built()
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert ("Traceback" in log.read_text()) is bool(logged) and logged in log.read_text()
    assert (f"(its traceback is in {log})" in str(caught.value)) is bool(logged)


@pytest.mark.slow
def test_a_fault_in_a_run_ends_the_command_with_code_2_and_its_traceback_in_the_log(tmp_path: Path) -> None:
    body = "def mine(pipeline):\n    def vision(inputs):\n        return inputs.no_such_field\n    return vision\n"
    path = written(tmp_path, CHOICE.replace("def mine(pipeline): ...\n", body))
    sides = ["--baseline", "baseline", "--optimized", "baseline+vision=mine"]
    command = [sys.executable, "-m", "evbench.cli.main", "compare", "--plugin", str(path), *sides, "--preset", "tiny", "--device", "cpu"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False, timeout=300)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert "the plug-in mine.py, line 6, has a fault: AttributeError:" in line and "worker-optimized.log" in line
    assert "no_such_field" in (tmp_path / "out" / "worker-optimized.log").read_text()


def test_what_a_stage_must_not_return_is_told(tmp_path: Path, tiny: Workload) -> None:
    use([written(tmp_path, CHOICE.replace("def mine(pipeline): ...", "def mine(pipeline):\n    return lambda inputs: None"))])
    variant = parse("baseline+vision=mine")
    pipeline = build(without(variant), tiny)
    enter(variant.plugins[0])
    apply(variant, pipeline)
    with pytest.raises(UserError, match=r"the plug-in mine\.py: vision=mine: vision returned NoneType, where \(output, evbench\.Work\)"):
        run_stages(pipeline, Path(tiny.samples[0].path), 2)


def test_a_result_says_which_file_by_name_and_hash_and_resume_holds_to_it(tmp_path: Path) -> None:
    path = written(tmp_path, IN_PLACE)
    use([path])
    (used,) = used_plugins(parse("mine"))
    assert (used.file, used.sha256, used.choices) == ("mine.py", files.sha256(path), {"vision": "wrapped"})
    assert str(tmp_path) not in json.dumps(dataclasses.asdict(used))
    optimized = dataclasses.replace(make_side(), choices={"vision": "wrapped"}, activations=(), plugins=(used,))
    changed = result = make_result(optimized)
    forget_all()  # as where the report is read later
    require_possible(changed, tmp_path)
    with pytest.raises(UserError, match="names the unknown choice for vision 'wrapped'"):
        require_possible(dataclasses.replace(changed, optimized=dataclasses.replace(optimized, plugins=())), tmp_path)
    session = result.sessions[0]
    header = JournalHeader(
        8, session.started, session.machine, session.plan, 0, {"optimized": optimized.workload}, {}, (), {"optimized": hashes([used])}
    )
    other = dataclasses.replace(header, plugins={"optimized": {"mine.py": "0" * 64}})
    with pytest.raises(UserError, match=r"plugins\.optimized\.mine\.py"):
        require_same(header, other)


def test_variants_lists_it_and_says_what_it_is_over(tmp_path: Path) -> None:
    shown: Any = CliRunner().invoke(make_app(), ["variants", "--plugin", str(written(tmp_path, IN_PLACE)), "--details", "--device", "cpu"])
    assert shown.exit_code == 0, shown.output
    assert "of mine.py, over eager" in " ".join(shown.output.split()) and "vision=wrapped" in shown.output


def test_the_decorator_is_public_and_leaves_what_it_marks_as_it_is() -> None:
    @evbench.choice("vision", meaning="m", evidence=[evbench.Evidence("vision", "w", "x")])
    def mine(pipeline: object) -> int:
        return 7

    assert mine(None) == 7
    assert isinstance(PluginFile("/a/b.py", "b", "0").name, str) and PluginFile("/a/b.py", "b", "0").name == "b.py"
