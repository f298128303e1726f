"""Libraries are asked (`evbench.doctor.questions`), each in a process of its own, several at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from evbench.doctor.facts import Answer
from evbench.errors import first_line
from evbench.machine import cores
from evbench.worker.client import how_it_ended

SECONDS = 12.0
"""For all questions together. What has not answered by then is ended."""
LOOK_SECONDS = 0.02
LATE = "did not answer within {:.0f} s; the first import after an installation is slow, so try again"


def ask(questions: Mapping[str, str], seconds: float = SECONDS) -> dict[str, Answer]:
    """Question -> argument; as many at a time as there are cores, in this order. Returns question -> answer."""
    deadline = time.monotonic() + seconds
    waiting, answers = deque(questions.items()), dict[str, Answer]()
    running: dict[str, subprocess.Popen[bytes]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            while (waiting or running) and time.monotonic() < deadline:
                while waiting and len(running) < max(2, cores.usable()):
                    question, argument = waiting.popleft()
                    running[question] = _start(folder, question, argument)
                for question in [question for question, process in running.items() if process.poll() is not None]:
                    answers[question] = _answer(folder, question, running.pop(question).returncode)
                time.sleep(LOOK_SECONDS)
        finally:
            for process in running.values():
                _end(process)
        late = LATE.format(seconds)
        answers |= {question: Answer(_said(folder, question), late) for question in running}
        answers |= {question: Answer({}, late) for question, _ in waiting}
    return answers


def _start(folder: Path, question: str, argument: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "evbench.doctor.questions", str(folder / question), question, argument]
    with (folder / f"{question}.log").open("wb") as log:
        # A session of its own, so that what a library starts can be ended with it.
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answer(folder: Path, question: str, code: int) -> Answer:
    return Answer(_said(folder, question), "" if code == 0 else _fault(folder, question, code))


def _said(folder: Path, question: str) -> dict[str, object]:
    """Of several values under one name, the last. A line that was cut by the end of the process is left out."""
    file = folder / question
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return dict(json.loads(line) for line in lines if line.endswith("]"))


def _fault(folder: Path, question: str, code: int) -> str:
    text = (folder / f"{question}.log").read_text(encoding="utf-8", errors="replace")
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "it wrote nothing")
    return f"fails: {first_line(RuntimeError(last))}" if code == 1 else how_it_ended(code, last)
