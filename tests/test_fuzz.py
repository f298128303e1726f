"""Hostile files of every kind are opened or refused in a line, and do nothing else; and what looks for faults finds them."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evbench.errors import UserError
from tests import fuzz, fuzz_coverage
from tests.dev_packages import needs
from tests.fuzz import Outcome, open_one, run, told
from tests.hostile_inputs import TARGETS, Target, edited

pytestmark = pytest.mark.slow


def test_hostile_files_of_every_kind_are_opened_or_refused(tmp_path: Path) -> None:
    """For some seconds. `python -m tests.fuzz` goes on for as long as it is told to."""
    found = run(list(TARGETS), tmp_path, 20, 60.0, 7)
    assert [(one.target, one.fault) for one in found] == [(name, "") for name in TARGETS]
    for one in found:
        assert one.opened + one.refused >= min(20, max(4, round(20 * TARGETS[one.target].share))) / 2
    assert sum(one.opened for one in found) > 20 and sum(one.refused for one in found) > 100, "both happen"
    assert {one.target: one.opened for one in found}["TOML"] >= 2, "options are not all refused"


def hangs(folder: Path) -> None:
    time.sleep(60)


def runs_code(folder: Path) -> None:
    pickle.loads(pickle.dumps(os.getcwd))


def starts_a_process(folder: Path) -> None:
    subprocess.run([sys.executable, "--version"], capture_output=True)


def writes_elsewhere(folder: Path) -> None:
    (folder / ".." / "elsewhere").write_text("x")


def makes_a_link_elsewhere(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)


def crashes(folder: Path) -> None:
    raise KeyError("x")


def refuses_in_two_lines(folder: Path) -> None:
    raise UserError("one\ntwo")


CAUGHT: dict[str, tuple[Callable[[Path], None], str]] = {
    "code": (runs_code, "pickle.find_class"),
    "a process": (starts_a_process, "subprocess.Popen"),
    "a file elsewhere": (writes_elsewhere, "open of .*/elsewhere"),
    "a link elsewhere": (makes_a_link_elsewhere, "os.symlink of .*/link"),
    "an error": (crashes, "KeyError"),
    "two lines": (refuses_in_two_lines, "not one line"),
    "a hang": (hangs, "ended with code 1: Timeout"),
}
CHILD = """
import sys
from pathlib import Path
from tests import fuzz, test_fuzz
from tests.hostile_inputs import TARGETS, Target, edited
TARGETS["it"] = Target(lambda: [{"a": b"abc"}], edited, test_fuzz.at_the_second_call(test_fuzz.CAUGHT[sys.argv[1]][0]), seconds=3.0)
fuzz.child('["it"]', sys.argv[2], "5", "60", "0")
"""


def at_the_second_call(opened: Callable[[Path], None]) -> Callable[[Path], None]:
    """The first is of a whole file."""
    calls: list[Path] = []

    def open_it(folder: Path) -> None:
        calls.append(folder)
        if len(calls) > 1:
            opened(folder)

    return open_it


@pytest.mark.parametrize("name", CAUGHT)
def test_what_a_file_must_not_cause_is_caught(name: str, tmp_path: Path) -> None:
    """In a process of its own: what watches stays in it for ever."""
    command = [sys.executable, "-c", CHILD, name, str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    done = subprocess.run(command, cwd=fuzz.ROOT, capture_output=True, text=True, timeout=100)
    shown = f"ended with code {done.returncode}: {done.stderr}" if done.returncode else done.stdout
    assert re.search(CAUGHT[name][1], shown), shown[-2000:]
    assert (tmp_path / "out" / "input" / "a").exists(), "the file is kept"


def test_what_is_opened_or_refused_is_counted(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise UserError("it is damaged; copy it again")

    assert open_one(Target(list, edited, lambda folder: None), {"a": b""}, tmp_path / "input")
    assert not open_one(Target(list, edited, refuse), {"a": b""}, tmp_path / "input")


def test_a_record_has_the_command_the_counts_and_the_faults() -> None:
    found = [Outcome("MP4", 10, 90, 5.0, 0.5, 2**20), Outcome("npz", 0, 3, 1.0, 0.1, 0, "KeyError: 'x'\nTraceback")]
    text = told(found, "python -m tests.fuzz", "abc")
    assert text.splitlines()[:2] == ["$ python -m tests.fuzz", f"evbench at abc, Python {sys.version.split()[0]}"]
    assert "1 faults\nnpz: KeyError: 'x'\n" in text and text.count("FAULT") == 1 and "103" in text
    assert told(found[:1], "", "").endswith("no fault\n")


FOUND = """
import sys
from tests import fuzz_coverage, hostile_inputs, test_fuzz
hostile_inputs.TARGETS["it"] = hostile_inputs.Target(lambda: [{"a": b"abc"}], hostile_inputs.edited, test_fuzz.breaks_at_a_z)
fuzz_coverage.child("it", sys.argv[1], "20", "1")
"""


def breaks_at_a_z(folder: Path) -> None:
    if (folder / "a").read_bytes()[:1] == b"z":
        raise KeyError("z")


@needs("atheris")
def test_atheris_reaches_more_of_a_parser_and_finds_no_fault(tmp_path: Path) -> None:
    """For two seconds. `python -m tests.fuzz_coverage` goes on for as long as it is told to."""
    examples, before, after, fault = fuzz_coverage.run("EVT", tmp_path / "fuzz", 2.0, 1)
    assert not fault
    assert examples > 20
    assert after > before > 100


@needs("atheris")
def test_what_atheris_finds_is_a_fault_and_its_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "reached").mkdir()
    done = subprocess.run([sys.executable, "-c", FOUND, str(tmp_path)], cwd=fuzz.ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0 and "KeyError" in done.stdout + done.stderr, done.stderr
    assert (tmp_path / "input" / "a").read_bytes()[:1] == b"z"


def test_a_record_of_coverage_has_the_counts_and_the_faults() -> None:
    rows = [("npy", 3000, 206, 247, ""), ("EVT", 5, 156, 156, "the process ended with code 77: KeyError")]
    text = fuzz_coverage.told(rows, "python -m tests.fuzz_coverage", "abc")
    assert re.search(r"^npy +3,000 +206 +247$", text, re.MULTILINE)
    assert re.search(r"^EVT +5 +156 +156  FAULT$", text, re.MULTILINE) and "3,005" in text
    assert text.endswith("1 faults\nEVT: the process ended with code 77: KeyError\n")
    assert fuzz_coverage.told(rows[:1], "", "").endswith("no fault\n")
