from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from evbench.errors import UserError
from evbench.session import references
from evbench.variants.named import REFERENCE, change


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "evbench" / "references"


def file(path: Path, size: int = 10, fill: bytes = b"a") -> Path:
    path.write_bytes(fill * size)
    return path


def stored(path: Path) -> Path:
    save_file({"vision": np.zeros(4)}, path)
    return path


def test_what_is_kept_is_found_by_its_content(tmp_path: Path) -> None:
    seen, made = file(tmp_path / "seen"), stored(tmp_path / "made")
    name = references.name("weights", seen)
    assert references.find(name) is None
    references.store(name, made)
    assert references.find(name) is not None
    assert references.copy(name, tmp_path / "back").read_bytes() == made.read_bytes()
    assert references.name("other weights", seen) != name
    assert references.name("weights", file(tmp_path / "other", fill=b"b")) != name


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "LIMIT", 25)
    for number in range(3):
        references.store(f"{number}.safetensors", file(tmp_path / "made"))
        os.utime(cache / f"{number}.safetensors", (number, number))
    references.copy("1.safetensors", tmp_path / "used")
    references.store("3.safetensors", file(tmp_path / "made"))
    assert sorted(one.name for one in cache.iterdir()) == ["1.safetensors", "3.safetensors"]


def test_what_is_cut_off_is_made_again(tmp_path: Path, cache: Path) -> None:
    references.store("x.safetensors", stored(tmp_path / "made"))
    whole = (cache / "x.safetensors").read_bytes()
    for damaged in (whole[:-8], b"", b"no such thing"):
        (cache / "x.safetensors").write_bytes(damaged)
        assert references.find("x.safetensors") is None
    references.store("x.safetensors", tmp_path / "made")
    assert references.find("x.safetensors") is not None


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(file(tmp_path / "blocked")))
    with pytest.raises(UserError, match=r"blocked/evbench/references .*set XDG_CACHE_HOME"):
        references.store("x.safetensors", stored(tmp_path / "made"))


PACKAGES = {"torch": "2.14", "torchvision": "0.29", "transformers": "5.10"}


def test_whatever_the_reference_depends_on_is_in_its_identity() -> None:
    usual = references.identity("weights", "float64", "cpu", PACKAGES)
    assert references.identity("weights", "float64", "cpu", {**PACKAGES, "numpy": "3"}) == usual, "it is not computed with numpy"
    others = [
        references.identity("other", "float64", "cpu", PACKAGES),
        references.identity("weights", "float32", "cpu", PACKAGES),
        references.identity("weights", "float64", "cuda", PACKAGES),
        references.identity("weights", "float64", "cpu", {**PACKAGES, "torch": "2.13"}),
    ]
    assert len({usual, *others}) == 5


def test_other_choices_of_the_reference_are_another_identity() -> None:
    other = change(REFERENCE, {"attention": "sdpa"})
    usual = references.identity("weights", "float64", "cpu", PACKAGES)
    assert references.identity("weights", "float64", "cpu", PACKAGES, other) != usual
    renamed = dataclasses.replace(REFERENCE, name="renamed")
    assert references.identity("weights", "float64", "cpu", PACKAGES, renamed) == usual, "its name computes nothing"


@pytest.mark.parametrize("changed", ["pipelines/vision/clip.py", "stages.py", "worker/capture_outputs.py"])
def test_other_code_is_another_identity(changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pipelines/vision/clip.py", "stages.py", "worker/capture_outputs.py", "report/render.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        file(tmp_path / name)
    monkeypatch.setattr(references, "__file__", str(tmp_path / "session" / "references.py"))
    before = references.code_identity()
    file(tmp_path / "report" / "render.py", fill=b"b")
    assert references.code_identity() == before, "a report computes nothing"
    file(tmp_path / changed, fill=b"b")
    assert references.code_identity() != before


def test_each_pattern_of_source_files_finds_some() -> None:
    evbench = Path(references.__file__).parent.parent
    found = {pattern: references.source_files(evbench, pattern) for pattern in references.SOURCES}
    assert all(found.values()), "else a file was moved, and its changes would go unnoticed"
    assert evbench / "pipelines" / "vision" / "clip.py" in found["pipelines/**/*.py"]
