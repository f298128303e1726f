"""Cached outputs of the reference, by content: an hour of float64 is spent once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from evbench.choices import Variant
from evbench.errors import UserError
from evbench.variants.named import REFERENCE

LIMIT = 2 * 2**30
"""Bytes in the cache."""


def folder() -> Path:
    """By the XDG base directory specification."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "evbench" / "references"


SOURCES = (
    "choices.py",
    "colours.py",
    "models.py",
    "stages.py",
    "pipelines/**/*.py",
    "worker/build.py",
    "worker/capture_outputs.py",
    "worker/handlers.py",
    "worker/process.py",
)
"""Files that compute the reference, in the folder of evbench. It uses no kernel of ours."""


def identity(fingerprint: str, dtype: str | None, device: str, packages: Mapping[str, str | None], variant: Variant = REFERENCE) -> str:
    """Of everything that the reference's outputs depend on but its input.

    Args:
        fingerprint: of the weights.
        dtype: that it computes in.
        packages: name -> version.
        variant: its choices.
    """
    versions = {name: packages.get(name) for name in ("torch", "torchvision", "transformers")}
    return json.dumps([fingerprint, dtype, device, versions, variant.choices(), [file.sha256 for file in variant.plugins], code_identity()])


def code_identity() -> str:
    """Of the files that compute the reference, as they are now."""
    digest = hashlib.sha256()
    evbench = Path(__file__).parent.parent
    for file in sorted(file for pattern in SOURCES for file in source_files(evbench, pattern)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def source_files(evbench: Path, pattern: str) -> list[Path]:
    """Files in the folder of evbench. Its folder `pipelines` is a link, which `**` alone would not follow."""
    folder, _, name = pattern.partition("/**/")
    return list((evbench / folder).rglob(name)) if name else list(evbench.glob(pattern))


def name(identity: str, baseline: Path) -> str:
    """Of the file with the reference's outputs for the baseline's outputs in this file."""
    digest = hashlib.sha256(identity.encode())
    with baseline.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{digest.hexdigest()}.safetensors"


def find(name: str) -> Path | None:
    """The cached file. None if there is none, or it is cut off and has to be computed again."""
    file = folder() / name
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="np"):
            return file
    except (SafetensorError, OSError):
        return None


def copy(name: str, target: Path) -> Path:
    """Copy it out of the cache, where another session may remove it at any time. Raises OSError."""
    os.utime(folder() / name)
    shutil.copyfile(folder() / name, target)
    return target


def store(name: str, file: Path) -> None:
    """Store a file, and remove those that were not used for longest beyond LIMIT. Raises UserError if the cache cannot be written."""
    place = folder()
    unfinished = place / f"{name}.{os.getpid()}.part"
    try:
        place.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(file, unfinished)
            unfinished.replace(place / name)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {place} ({error.strerror}); mend that, or set XDG_CACHE_HOME to another folder") from error
    stored = sorted(place.glob("*.safetensors"), key=lambda one: one.stat().st_mtime, reverse=True)
    left = LIMIT
    for one in stored:
        left -= one.stat().st_size
        if left < 0:
            one.unlink(missing_ok=True)
