"""Files with choices of somebody else's, for tests; and a process in which none is left in use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evbench.plugins.use import forget_all

HEAD = "import evbench\nfrom evbench import Evidence, Generation, Work\n"


def written(folder: Path, body: str, name: str = "mine.py") -> Path:
    """A file with these lines behind its imports."""
    path = folder / name
    path.write_text(HEAD + body, encoding="utf-8")
    return path


@contextmanager
def nothing_left() -> Iterator[None]:
    """Afterwards no plug-in is in use, and none is imported."""
    before = dict(sys.modules), list(sys.path)
    try:
        yield
    finally:
        forget_all()
        for name in sys.modules.keys() - before[0].keys():
            if str(getattr(sys.modules[name], "__file__", "")).startswith(("/tmp", "/var/tmp")):
                del sys.modules[name]
        sys.path[:] = before[1]
