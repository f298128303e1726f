"""What each command takes: its help lists that and nothing else, with examples that can be copied."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from docs.reference import command_names, find
from evbench.api import config_file
from evbench.api.option import name_of
from evbench.api.options import Options
from evbench.cli import acceptance, compare_models, limits, scaling, sweep, trace
from evbench.cli.main import COMMANDS, make_app
from evbench.cli.options import SessionOptions

SLOW_TO_IMPORT = {"numpy", "av", "PIL", "torch", "transformers", "evbench.session", "evbench.inputs"}
NAMES = command_names()
SHARED = {name_of(field.name) for group in (Options, SessionOptions) for field in dataclasses.fields(group)}
NOT_TAKEN = {
    "compare": set[str](),
    "run": set[str](),
    "ladder": {"--target"},
    "sweep": set(map(name_of, sweep.NOT_TAKEN)),
    "scaling": set(map(name_of, scaling.NOT_TAKEN)),
    "compare-models": set(map(name_of, compare_models.NOT_TAKEN)),
    "selftest": {"--target", "--precision", "--max-time", "--details"},
    "trace": set(map(name_of, trace.OF_TIMED_RUNS)),
    "limits": set(map(name_of, limits.NOT_TAKEN)),
    "acceptance": set(map(name_of, acceptance.NOT_TAKEN)) - {"--target"},  # it has one of its own
}
"""Command -> options that it shares with none."""
WITHOUT = {
    *((name, "Trace") for name in ("sweep", "compare-models", "acceptance")),
    *(("limits", panel) for panel in ("Trace", "Measuring")),
}
"""Commands and groups of which they have no option."""


def told(*arguments: str, columns: int = 80) -> list[str]:
    done = CliRunner().invoke(make_app(), arguments, env={"COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    return [line.rstrip() for line in done.output.splitlines()]


def examples_of(name: str) -> list[str]:
    lines = told(*name.split(), "--help")
    return [line.strip() for line in lines[lines.index(" Examples:") + 1 :] if line.strip()]


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_examples_that_stand_whole_at_80_columns_and_can_be_copied(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / config_file.NAME).write_text('baseline = "baseline"\noptimized = "optimized"\n')  # it is read as the line is parsed
    found = examples_of(name)
    assert found == find(name).epilog.splitlines()[1:], "none is cut or folded"
    assert any(example.startswith(f"evbench {name}") for example in found)
    for example in found:
        program, *arguments = shlex.split(example)
        assert program == "evbench"
        command = next(other for other in NAMES if example.startswith(f"evbench {other} ") or example == f"evbench {other}")
        rest = arguments[len(command.split()) :]
        find(command).make_context(command, rest)  # else it raises


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_help_lists_what_a_command_takes_and_nothing_else(name: str) -> None:
    taken = {option for parameter in find(name).params for option in (*parameter.opts, *parameter.secondary_opts)}
    lines = told(name, "--help", columns=200)
    shared = {found[1] for line in lines if (found := re.match(r"│ +(?:\* +)?(--[\w-]+)", line))} & SHARED
    assert shared == SHARED - NOT_TAKEN[name] == taken & SHARED


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_options_stand_in_groups(name: str) -> None:
    panels = [match[1] for line in told(name, "--help") if (match := re.match(r"╭─ (\w+) ─", line))]
    wanted = ["Model", "Input", "Measuring", "Trace", "Session"]
    expected = [panel for panel in wanted if (name, panel) not in WITHOUT]
    assert [panel for panel in panels if panel not in ("Arguments", "Options")] == expected


@pytest.mark.parametrize("name", NAMES)
def test_no_line_of_help_is_wider_than_the_terminal(name: str) -> None:
    assert max(map(len, told(*name.split(), "--help"))) <= 80
    assert not [line for line in told(*name.split(), "--help") if "…" in line], "nothing is cut"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["scenes", "--help"], ["models", "--help"]])
def test_help_and_version_import_only_what_prints(arguments: list[str]) -> None:
    """Each of these takes a tenth of a second and more."""
    script = f"import sys; from evbench.cli.main import main; sys.argv = {['evbench', *arguments]!r}\n"
    script += f"try: main()\nfinally: assert not {SLOW_TO_IMPORT!r} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_list_of_commands_says_of_each_what_its_own_help_begins_with() -> None:
    group: Any = typer.main.get_command(make_app())
    assert list(group.commands) == [*COMMANDS, "scenes", "models"]
    for name in COMMANDS:
        assert group.commands[name].help == find(name).help != ""
    shown = " ".join(word for line in told("--help") for word in line.split() if word != "│")
    assert all(find(name).help.partition("\n\n")[0] in shown for name in COMMANDS)
