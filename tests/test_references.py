from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from evbench.errors import UserError
from evbench.session import references


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
    references.keep(name, made)
    assert references.find(name) is not None
    assert references.copy(name, tmp_path / "back").read_bytes() == made.read_bytes()
    assert references.name("other weights", seen) != name
    assert references.name("weights", file(tmp_path / "other", fill=b"b")) != name


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "LIMIT", 25)
    for number in range(3):
        references.keep(f"{number}.safetensors", file(tmp_path / "made"))
        os.utime(cache / f"{number}.safetensors", (number, number))
    references.copy("1.safetensors", tmp_path / "used")
    references.keep("3.safetensors", file(tmp_path / "made"))
    assert sorted(one.name for one in cache.iterdir()) == ["1.safetensors", "3.safetensors"]


def test_what_is_cut_off_is_made_again(tmp_path: Path, cache: Path) -> None:
    references.keep("x.safetensors", stored(tmp_path / "made"))
    whole = (cache / "x.safetensors").read_bytes()
    for damaged in (whole[:-8], b"", b"no such thing"):
        (cache / "x.safetensors").write_bytes(damaged)
        assert references.find("x.safetensors") is None
    references.keep("x.safetensors", tmp_path / "made")
    assert references.find("x.safetensors") is not None


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(file(tmp_path / "blocked")))
    with pytest.raises(UserError, match=r"blocked/evbench/references .*set XDG_CACHE_HOME"):
        references.keep("x.safetensors", stored(tmp_path / "made"))


def test_other_code_is_another_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert references.code_identity("2.14") == references.code_identity("2.14") != references.code_identity("2.13")
    (tmp_path / "pipelines").mkdir()
    for name in ("pipelines/one.py", "observe.py", "worker.py"):
        file(tmp_path / name)
    monkeypatch.setattr(references, "__file__", str(tmp_path / "references.py"))
    before = references.code_identity()
    file(tmp_path / "pipelines" / "one.py", fill=b"b")
    assert references.code_identity() != before
