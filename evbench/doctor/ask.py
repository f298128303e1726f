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
from evbench.doctor.faults import fault
from evbench.machine import cores

SECONDS = 10.0
"""For all questions together. What has not answered by then is ended."""
LOOK_SECONDS = 0.02
LATE = "takes more than {:.0f} s"


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
        answers |= {question: Answer(_said(folder, question), late, late=True) for question in running}
        answers |= {question: Answer({}, late, late=True) for question, _ in waiting}
    return answers


def _start(folder: Path, question: str, argument: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "evbench.doctor.questions", str(os.getpid()), str(folder / question), question, argument]
    with (folder / f"{question}.log").open("wb") as log:
        # A session of its own, so that what a library starts can be ended with it.
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answer(folder: Path, question: str, code: int) -> Answer:
    return Answer(_said(folder, question), fault(code, (folder / f"{question}.log").read_text(encoding="utf-8", errors="replace")))


def _said(folder: Path, question: str) -> dict[str, object]:
    """Of several values under one name, the last. A line that was cut by the end of the process is left out."""
    file = folder / question
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return dict(json.loads(line) for line in lines if line.endswith("]"))
