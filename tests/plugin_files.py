"""Files with choices of somebody else's, for tests; and a process in which none is left in use."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evbench.plugins.use import forget_all

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
TEMPORARY = tempfile.gettempdir()
HEAD = "import evbench\nfrom evbench import Evidence, Generation, Work\n"


def written(folder: Path, body: str, name: str = "mine.py") -> Path:
    """A file with these lines behind its imports."""
    path = folder / name
    path.write_text(HEAD + body, encoding="utf-8")
    return path


@contextmanager
def nothing_left() -> Iterator[None]:
    """Afterwards no plug-in is in use, and none of those that have been in use is imported."""
    path = list(sys.path)
    try:
        yield
    finally:
        forget_all()
        for name, module in tuple(sys.modules.items()):
            file = Path(getattr(module, "__file__", None) or ROOT)
            if file.parent == EXAMPLES or (file.is_relative_to(TEMPORARY) and not file.is_relative_to(ROOT)):
                del sys.modules[name]
        sys.path[:] = path
