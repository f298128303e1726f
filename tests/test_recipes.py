"""The recipes of CONTRIBUTING.md, carried out in a copy of the project: they work, and take no more files than they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evbench
from tests.h264 import write

ROOT = Path(__file__).parent.parent
RECIPES = Path(__file__).parent / "recipes"

CHOICE = """        "sequential": Choice(
            "the frames of the plain decoder",
            {"video": "evbench.pipelines.load.sequential:decode_sequential"},
            (Evidence("load", "call of it", r"function:evbench\\.pipelines\\.load\\.sequential\\.decode_sequential$"),),
            kinds=VIDEO,
        ),
"""
MODEL = """MODELS["toy"] = Model(
    title="Toy",
    pipeline="evbench.pipelines.toy:Toy",
    kinds=("video",),
    frames=VIDEO_FRAMES,
    parts=("decode", "prefetch"),
    model_type="toy",
    presets={"tiny": Preset({}, {}, 1_872)},
)
"""
METRIC = '    MetricDefinition("stages-of-a-run", "count", "synchronized stages", lambda given: len(given.side.runs[0].stages or ())),\n'


class Project:
    """A copy of the project, and the files in which it differs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("kernels", "pipelines"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        ignored = shutil.ignore_patterns("__pycache__", "data", "kernels", "pipelines")
        shutil.copytree(ROOT / "evbench", folder / "evbench", ignore=ignored)
        for name in ("kernels", "pipelines"):
            (folder / "evbench" / name).symlink_to(folder / name)
        (folder / "evbench" / "data").symlink_to(ROOT / "evbench" / "data")

    def add(self, name: str, source: Path) -> None:
        shutil.copyfile(source, self.folder / name)

    def insert(self, name: str, before: str, text: str) -> None:
        """Put `text` in front of the first line that begins with `before`."""
        path = self.folder / name
        first, found, rest = path.read_text(encoding="utf-8").partition(before)
        assert found, f"{name} has no {before!r}"
        path.write_text(first + text + found + rest, encoding="utf-8")

    def changed(self) -> set[str]:
        """Files that the original does not have, or has with another content."""
        copied = [path for top in ("evbench", "kernels", "pipelines") for path in (self.folder / top).rglob("*.py")]
        originals = {path: ROOT / path.relative_to(self.folder) for path in copied}
        differing = (path for path, original in originals.items() if not original.exists() or original.read_bytes() != path.read_bytes())
        return {str(path.relative_to(self.folder)) for path in differing}

    def run(self, *arguments: str) -> str:
        """What a command prints that works. Two blocks are too few for a claim (4), and other tests may disturb them (6)."""
        command = [sys.executable, "-m", "evbench.cli.main", *arguments]
        environment = os.environ | {"PYTHONPATH": str(self.folder), "TMPDIR": str(self.folder)}  # the lock of a device lies there
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode in (0, 4, 6), done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.mark.slow
def test_a_choice_a_metric_and_a_model_take_as_many_files_as_the_recipes_say(project: Project) -> None:
    project.add("pipelines/load/sequential.py", RECIPES / "sequential.py")
    project.insert("pipelines/load/choices.py", '        "threaded": Choice(', CHOICE)
    assert project.changed() == {"pipelines/load/sequential.py", "pipelines/load/choices.py"}, "its code, and one file beside it"

    before = project.changed()
    project.add("pipelines/toy.py", RECIPES / "toy.py")
    project.insert("pipelines/registry.py", "DEFAULT_MODEL = ", MODEL)
    assert project.changed() - before == {"pipelines/toy.py", "pipelines/registry.py"}

    before = project.changed()
    project.insert("evbench/verdict/metrics.py", '    MetricDefinition("decode-step"', METRIC)
    project.insert("evbench/report/metrics.py", '"decode-step"', '"stages-of-a-run", ')
    assert project.changed() - before == {"evbench/verdict/metrics.py", "evbench/report/metrics.py"}

    assert "the frames of the plain decoder" in " ".join(project.run("variants", "--model", "toy", "--details").split())
    write(project.folder / "clip.mp4", [np.full((48, 64, 3), 12 * shade, np.uint8) for shade in range(16)], {})
    sides = ("--video", "clip.mp4", "--baseline", "baseline", "--optimized", "baseline+decode=sequential")
    plan = ("--blocks", "2", "--invocations", "1", "--warmup", "5", "--new-tokens", "8", "--trace-tokens", "0", "--details")
    shown = project.run("compare", "--model", "toy", "--device", "cpu", *sides, *plan, "--out", "out")
    assert "stages-of-a-run" in shown
    result = json.loads((project.folder / "out" / "result.json").read_text(encoding="utf-8"))
    active = {found["part"]: found["active"] for found in result["optimized"]["activations"]}
    assert active == {"decode": True, "prefetch": True, "decoding": True}
    assert {check["grade"] for check in result["outputs"]["checks"]} == {"pass"}
    verdict = json.loads((project.folder / "out" / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["metrics"]["stages-of-a-run"]["sides"] == {"baseline": 4.0, "optimized": 4.0}


def test_the_copy_is_not_what_is_tested_elsewhere(project: Project) -> None:
    assert not Path(evbench.__file__).is_relative_to(project.folder)
