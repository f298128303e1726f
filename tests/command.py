"""The command as a person types it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from evbench.cli import main


def evbench(arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evbench.cli", *shlex.split(arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600, env=os.environ | environment)


def refused(arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run in this process, expect exit code 2 and one line, and return it."""
    monkeypatch.setattr(sys, "argv", ["evbench", *shlex.split(arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    output = capsys.readouterr()
    assert caught.value.code == 2
    assert output.out == ""
    (line,) = output.err.splitlines()
    return line
