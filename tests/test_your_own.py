"""docs/your-own.md: its commands are run as they stand there, with a small model, a small clip and few blocks."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import evbench
from evbench.lint.read import read_table
from evbench.pipelines.build import build
from evbench.plugins.use import use
from evbench.stages import run_stages
from evbench.variants.named import parse
from evbench.variants.obstacles import require
from evbench.worker.build import build_pipeline
from evbench.worker.evidence import gather, prove
from evbench.worker.instruments import instruments
from evbench.worker.messages import BuildRequest
from tests.auto_models import saved
from tests.checkpoints import least_model
from tests.openai_server import serving
from tests.plugin_files import nothing_left
from tests.scene_files import small_clip
from tests.test_own_pipeline import asked

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your-own.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("my_*.py"))
FEW = ["--blocks", "2", "--invocations", "1", "--warmup", "5", "--new-tokens", "4", "--trace-tokens", "0", "--device", "cpu"]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with nothing_left():
        yield


def command(part: str) -> list[str]:
    """The one command of the page that has this part, without `evbench`."""
    (found,) = [line.strip() for line in PAGE.splitlines() if line.startswith("    evbench ") and part in line]
    return shlex.split(found)[1:]


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str]:
    """Exit code and what is printed. Other tests may disturb what is timed: the verdict is not looked at where that matters."""
    given = os.environ | {"PYTHONPATH": str(ROOT), "TRITON_INTERPRET": "1"} | environment
    done = subprocess.run(
        [sys.executable, "-m", "evbench.cli.main", *arguments], cwd=cwd, env=given, capture_output=True, text=True, check=False, timeout=550
    )
    return done.returncode, done.stdout + done.stderr


def measure(*arguments: str, folder: Path, cwd: Path = ROOT, **environment: str) -> tuple[int, str]:
    """`run` with little work. What is measured goes into the folder `out` of this one."""
    paths = ("--video", str(small_clip(0)), "--out", str(folder / "out"))
    command, *options = arguments
    return run(command, *FEW, *paths, *options, cwd=cwd, TMPDIR=str(folder), **environment)


def side(folder: Path, name: str = "optimized") -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "result.json").read_text(encoding="utf-8"))[name]
    return found


def test_each_example_is_named_with_a_command_and_fits_its_promise() -> None:
    assert [path.name for path in EXAMPLES] == ["my_engine.py", "my_pipeline.py", "my_variant.py"]
    for path in EXAMPLES:
        assert f"[examples/{path.name}](../examples/{path.name})" in PAGE
        assert [line for line in PAGE.splitlines() if line.startswith("    evbench compare") and path.name in line]
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 110
        assert not re.search(r"^(from|import) evbench\.", text, re.MULTILINE), "only what `import evbench` has"
        assert {name for name in re.findall(r"\bevbench\.(\w+)", text)} - {"py"} <= set(evbench.__all__)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


@pytest.mark.slow
def test_my_variant(tmp_path: Path) -> None:
    code, listed = run(*command("variants --plugin"), "--device", "cpu")
    assert code == 0 and "fused-norms" in listed
    *line, preset, tiny = command("my_variant.py --baseline")
    assert (preset, tiny) == ("--preset", "tiny"), "in its place comes a model of which Triton's interpreter sees less"
    code, said = measure(*line, *shlex.split(least_model("video-llava")), folder=tmp_path)
    assert code in (0, 3, 4, 6), said
    optimized = side(tmp_path / "out")
    assert {found["part"]: found["active"] for found in optimized["activations"]}["vision"] is True  # type: ignore[attr-defined]
    checks = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["outputs"]["checks"]
    assert len(checks) > 20 and {check["grade"] for check in checks} == {"pass"}
    assert "vision=fused-norms of my_variant.py" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert str(ROOT) not in (tmp_path / "out" / "result.json").read_text(encoding="utf-8")


@pytest.mark.slow
def test_my_pipeline(tmp_path: Path) -> None:
    code, said = measure(*command("my_pipeline.py:Captioner"), "--trace-tokens", "2", folder=tmp_path)
    assert code in (0, 3, 4, 6), said
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert result["outputs"]["reference"] == "float64" and {check["grade"] for check in result["outputs"]["checks"]} == {"pass"}
    assert all(found["active"] for found in result["optimized"]["activations"])
    code, again = run("report", str(tmp_path / "out"), cwd=tmp_path)
    assert code == 0, f"without the class: {again}"


@pytest.mark.slow
def test_my_engine(tmp_path: Path) -> None:
    folder = saved("llava_onevision")
    workload = asked("auto", weights=folder, prompt="What is in the clip?", videos=(small_clip(0),))
    answer, _ = run_stages(build(parse("baseline"), workload), Path(workload.samples[0].path), 4)
    line = [str(folder) if word == "FOLDER" else word for word in command("my_engine.py:Engine")]
    with serving(answer.tokens) as (url, requests):
        code, said = measure(*line, "--prompt", workload.prompt, folder=tmp_path, ENGINE_URL=url)
    assert code in (4, 6) and len(requests) > 20, said
    optimized = side(tmp_path / "out")
    assert optimized["plugins"][0]["unseen"] == ["preprocess", "vision", "generate"]  # type: ignore[index]
    if code == 4:
        whole = " ".join(said.split())
        assert "UNSEEN: preprocess, vision and logits of the optimized side cannot be seen" in whole and "tokens identical, all 4" in whole
        assert re.search(r"ttft +[\d.]+ \w+ +[\d.]+ \w+\s*$", said, re.MULTILINE), "both times, and no ratio"


def test_the_smallest_file_of_the_page_works(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    use([tmp_path / "mine.py"])
    workload, variant = asked("video-llava", preset="tiny"), parse("mine")
    require(variant, "video-llava", "video", "cpu")
    pipeline, _ = build_pipeline(BuildRequest(variant, workload), 0.0)
    found = prove(variant, "video-llava", "video", "cpu", gather(pipeline, "off", [Path(workload.samples[0].path)], 2, instruments("cpu")))
    assert all(one.active for one in found), found
    assert [one.choice for one in found if one.part == "vision"] == [variant["vision"]]


@pytest.mark.slow
def test_external_results(tmp_path: Path) -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert not read_table(Path("table.json"), text.encode()).unread
    (tmp_path / "table.json").write_text(text, encoding="utf-8")
    line = [word if word != "optimized" else "baseline" for word in command("--baseline table.json --optimized optimized")]
    code, said = measure(*line, "--preset", "tiny", folder=tmp_path, cwd=tmp_path)
    assert code == 4 and "tokens: DIFFERENT from token" in said, said
    assert "median of 200 | median of" in (tmp_path / "out" / "side-by-side.md").read_text(encoding="utf-8")
    second = [word if word != "folder-of-an-earlier-run" else "out" for word in command("table.json#before")]
    code, said = run(*second, "--out", "again", cwd=tmp_path)
    assert code == 4 and "nothing is claimed" in said and (tmp_path / "again" / "side-by-side.md").exists(), said


@pytest.mark.parametrize("architecture", ["llava_onevision", "qwen2_5_vl", "internvl", ""])
def test_my_variant_fits_the_tower_of_any_model(architecture: str) -> None:
    use([ROOT / "examples" / "my_variant.py"])
    workload = asked("auto", weights=saved(architecture)) if architecture else asked("video-llava", preset="tiny")
    variant, path = parse("fused-norms"), Path(workload.samples[0].path)
    require(variant, workload.model, "video", "cpu")
    outputs = []
    for one in (variant, parse("baseline")):
        found: dict[str, Any] = {}
        pipeline, _ = build_pipeline(BuildRequest(one, workload), 0.0)
        run_stages(pipeline, path, 2, observe=found.__setitem__)
        outputs.append(found["vision"].values())
    ours, theirs = outputs
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4) and not torch.equal(ours, theirs)
    evidence = gather(build_pipeline(BuildRequest(variant, workload), 0.0)[0], "off", [path], 2, instruments("cpu"))
    (vision,) = [one for one in prove(variant, workload.model, "video", "cpu", evidence) if one.part == "vision"]
    assert vision.active and "my_variant.FusedNorm.forward" in vision.evidence, vision
