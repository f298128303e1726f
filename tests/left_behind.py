"""What the files of a session tell of the machine."""

from __future__ import annotations

import gzip
import os
import re
import socket
import tempfile
from pathlib import Path


def places_in(file: Path) -> list[str]:
    """Places of this machine that a file names: its user's folder, a temporary one, the current one, or its own name."""
    content = file.read_bytes()
    text = (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode("utf-8", errors="replace")
    folders = {os.path.expanduser("~"), tempfile.gettempdir(), "/tmp", os.getcwd(), str(file.parent.absolute())} - {"/"}
    found = [folder for folder in sorted(folders) if re.search(rf"(?<![\w.-]){re.escape(folder)}(?![\w.-])", text)]
    return found + [name for name in ("host_name", f'"{socket.gethostname()}"') if name in text]
