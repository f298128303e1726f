"""The command as a person types it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from evbench.cli.main import main


def evbench(arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evbench.cli.main", *shlex.split(arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600, env=os.environ | environment)


@contextmanager
def interruptible(arguments: str, folder: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command, running; it heeds Ctrl-C as on a terminal. Killed at the end if it still runs."""
    command = [sys.executable, "-m", "evbench.cli.main", *shlex.split(arguments)]
    # A shell that starts this test in the background has told its children to ignore the signal.
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    pipe = subprocess.PIPE
    environ = os.environ | environment
    with subprocess.Popen(command, cwd=folder, env=environ, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed) as running:
        try:
            yield running
        finally:
            running.kill()


def wait_for(raw: Path, text: str, times: int) -> None:
    """Until the file holds the text so often."""
    deadline = time.monotonic() + 120
    while not (raw.exists() and raw.read_text().count(text) >= times):
        assert time.monotonic() < deadline, f"{text} is not there {times} times"
        time.sleep(0.05)


def is_running(process: int) -> bool:
    """Also false for one that has ended, and that nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def workers(running: subprocess.Popen[str]) -> list[int]:
    """Process numbers of those that the command has started."""
    return [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]


def kill_a_worker(running: subprocess.Popen[str]) -> None:
    """The first of those that the command has started."""
    os.kill(workers(running)[0], signal.SIGKILL)


def refused(arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run in this process, expect exit code 2 and one line, and return it."""
    monkeypatch.setattr(sys, "argv", ["evbench", *shlex.split(arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    output = capsys.readouterr()
    assert caught.value.code == 2, output
    assert output.out == ""
    (line,) = output.err.splitlines()
    return line
