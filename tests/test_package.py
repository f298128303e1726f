"""What a user gets who installs evbench instead of cloning it."""

from __future__ import annotations

import email
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from evbench.results import read
from tests.checkpoints import least_model

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINKED = ("kernels", "pipelines")
"""Folders at the top, to which evbench/ has links."""
OF_GPU = {"nvidia-dali-cuda130", "nvidia-nvimgcodec-cu13"}
"""Packages that only a GPU has a use for."""


def needed() -> Iterator[str]:
    """Every file of evbench but notes for who changes it, by its path in a wheel."""
    for top, folder in (("evbench", ROOT / "evbench"), *((f"evbench/{name}", ROOT / name) for name in LINKED)):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix != ".md" and "__pycache__" not in path.parts:
                yield f"{top}/{path.relative_to(folder).as_posix()}"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a copy: a build leaves folders beside the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("evbench", *LINKED, "tests"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "recorded"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("sdist")
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "would be ignored" not in done.stderr, "setuptools finds each folder"
    (found,) = out.glob("*.tar.gz")
    return found


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of what an sdist holds, as an installer does."""
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(out), str(sdist)], check=True, timeout=300)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel is installed by unpacking it."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run_installed(code: str, *arguments: str, installed: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """In an empty folder."""
    folder.mkdir()
    code = f"import evbench; assert evbench.__file__.startswith({str(installed)!r}); {code}"
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "TMPDIR": str(folder.parent),
    }  # a lock of its own: no time is of interest here
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_an_sdist_holds_what_a_wheel_is_built_of_and_nothing_else(sdist: Path) -> None:
    with tarfile.open(sdist) as file:
        names = {member.name.partition("/")[2] for member in file.getmembers() if member.isfile()}
    assert {*needed(), "pyproject.toml", "README.md", "LICENSE"} <= names
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"evbench", "evbench.egg-info", "pyproject.toml", "setup.cfg", "MANIFEST.in", "README.md", "LICENSE", "PKG-INFO"}


@pytest.mark.slow
def test_a_wheel_holds_every_file_of_evbench_and_nothing_beside_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = set(needed())
    some = ("small-video-llava/model.safetensors", "scene.mp4", "scene-events/0.png")
    assert {f"evbench/data/{name}" for name in some} <= expected
    assert {f"evbench/{name}" for name in ("kernels/matvec.py", "pipelines/load/choices.py", "report/page.css", "py.typed")} <= expected
    assert {name for name in names if ".dist-info/" not in name} == expected


@pytest.mark.slow
def test_a_wheel_says_what_it_needs_and_nothing_of_a_gpu_unless_asked(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (metadata,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        told: Message = email.message_from_bytes(file.read(metadata))
    requirements = told.get_all("Requires-Dist", [])
    always = {re.split(r"[\s<>=~!;\[]", line)[0] for line in requirements if "extra ==" not in line}
    assert {"torch", "transformers", "typer"} <= always
    assert not always & OF_GPU
    assert {re.split(r"[\s;]", line)[0] for line in requirements if line.endswith("extra == 'gpu'") or 'extra == "gpu"' in line} == OF_GPU
    assert told["Requires-Python"] == ">=3.11"
    versions = [line.rpartition(" ")[2] for line in told.get_all("Classifier", []) if ":: 3." in line]
    assert versions[0] == told["Requires-Python"].removeprefix(">=")


def test_the_locked_versions_have_the_packages_of_every_extra_that_development_needs() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *extras["gpu"], *extras["dev"], *extras["docs"]]
    assert {re.split(r"[\s<>=~!;\[]", line)[0] for line in asked} <= locked


@pytest.mark.slow
def test_an_installed_evbench_has_the_trained_models_that_it_carries(installed: Path, tmp_path: Path) -> None:
    code = "print(evbench.build('baseline', preset='small', device='cpu')[0].weights_fingerprint)"
    done = run_installed(code, installed=installed, folder=tmp_path / "empty")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == read(ROOT / "profiles" / "cpu" / "video-llava-small").baseline.builds[0].weights_fingerprint


@pytest.mark.slow
def test_an_installed_evbench_compares_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    variants = ["--baseline", "baseline", "--optimized", "baseline+decode=threaded"]
    short = shlex.split(f"{least_model('video-llava')} --blocks 1 --new-tokens 2 --warmup 1 --trace-tokens 0 --out out")
    code = "from evbench.cli.start import main; main()"
    done = run_installed(code, "compare", *variants, *short, installed=installed, folder=folder)
    assert done.returncode in (4, 6), done.stderr  # one block decides nothing, and on a busy machine it is refused
    assert "Outputs         preserved" in done.stdout
    result = read(folder / "out")
    assert result.outputs is not None
    assert str(ROOT) not in (folder / "out" / "result.json").read_text(encoding="utf-8")
    assert (folder / "out" / "report.html").exists()
