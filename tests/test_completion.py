"""Completion of commands and options, in a real shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="no bash here")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with the command `evbench`."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "evbench"
    command.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom evbench.cli.start import main\nmain()\n")
    command.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def shell(script: str, path: str, program: str | None = BASH, **environment: str) -> subprocess.CompletedProcess[str]:
    assert program is not None
    # Two lines: a shell that has one command only becomes that command, and is none that could be found.
    command = [program, "-c", f"{script}\nexit $?"]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PATH": path, **environment}, timeout=60, check=False)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("evbench ver", ["verify"]),
        ("evbench scenes ", ["make", "show"]),
        ("evbench compare --basel", ["--baseline"]),
        ("evbench scenes make --se", ["--seconds", "--seed"]),
        ("evbench report ", []),
        ("evbench nosuch --", []),
    ],
)
def test_a_shell_completes_commands_and_options(words: str, completed: list[str], path: str) -> None:
    *before, last = words.split(" ")
    script = f'eval "$(evbench --show-completion)"; COMP_WORDS=({" ".join(before)} "{last}"); COMP_CWORD={len(before)}\n'
    done = shell(script + '_evbench_completion evbench; printf "%s\\n" "${COMPREPLY[@]}"', path)
    assert done.stderr == ""
    if words == "evbench nosuch --":  # what `evbench` itself takes
        assert set(done.stdout.split()) == {"--version", "--install-completion", "--show-completion", "--help"}
    else:
        assert done.stdout.split() == completed


def test_it_is_installed_once_for_the_shell_that_it_is_typed_in(path: str, tmp_path: Path) -> None:
    for _ in range(2):
        done = shell("evbench --install-completion", path, HOME=str(tmp_path))
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / ".bashrc").read_text().count("evbench.sh") == 1
    installed = shell(f"source {tmp_path / '.bash_completions' / 'evbench.sh'}; complete -p evbench", path)
    assert installed.stdout == "complete -o default -F _evbench_completion evbench\n"


@pytest.mark.parametrize("option", ["--install-completion", "--show-completion"])
def test_what_cannot_be_completed_is_refused_in_one_line(option: str, path: str, tmp_path: Path) -> None:
    done = shell(f"evbench {option} zsh", path, HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"evbench: {option} takes nothing behind it: it is for the shell that it is typed in; leave out zsh\n"
    if (plain := shutil.which("dash")) is not None:
        done = shell(f"evbench {option}", path, plain, HOME=str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        told = f"evbench: {option} is for bash, zsh, fish and PowerShell, and this is dash; type it in one of them\n"
        assert done.stderr == told
    assert not list(tmp_path.iterdir())
