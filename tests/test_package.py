"""What a user gets who installs evbench instead of cloning it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_holds_all_code_and_the_sample(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a build leaves folders beside the sources
    source.mkdir()
    for name in ("evbench", "pipelines", "kernels"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(source)], check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {f"evbench/{path.name}" for path in (ROOT / "evbench").glob("*.py")}
    code |= {
        f"evbench/{name}/{path.name}"
        for name in ("pipelines", "scenes", "traces", "training")
        for path in (ROOT / "evbench" / name).glob("*.py")
    }
    data = {
        "evbench/py.typed",
        "evbench/report/published.toml",
        *(str(path.relative_to(ROOT)) for path in (ROOT / "evbench" / "data").rglob("*") if path.is_file()),
    }
    assert "evbench/data/small-video-llava/model.safetensors" in data
    assert names >= code | data
    assert not {name for name in names if name.startswith(("kernels/", "pipelines/", "tests/"))}, "nothing beside evbench is installed"
