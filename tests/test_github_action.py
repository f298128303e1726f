"""The workflow in examples/: valid YAML, with commands and options that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from docs.reference import find
from evbench.cli.report import Exports
from tests.pages import PAGES

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "evbench-action.yml"


def workflow() -> dict[Any, Any]:
    read = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(read, dict)
    return read


def steps() -> list[dict[str, Any]]:
    (job,) = workflow()["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest" and 0 < job["timeout-minutes"] <= 360
    return list(job["steps"])


def commands() -> list[list[str]]:
    """What the steps run, word by word."""
    lines = [line for step in steps() if "run" in step for line in step["run"].splitlines()]
    return [shlex.split(line) for line in lines]


def test_it_is_a_workflow_that_may_only_read() -> None:
    read = workflow()
    assert set(read) == {"name", True, "permissions", "jobs"}  # YAML 1.1 reads `on` as true, as GitHub does not
    assert "pull_request" in read[True] and "pull_request_target" not in read[True], "code of a fork gets no secrets"
    assert read["permissions"] == {"contents": "read"}
    for step in steps():
        assert ("run" in step) != ("uses" in step)
        assert "uses" not in step or re.fullmatch(r"actions/(checkout|setup-python|upload-artifact)@v\d+", step["uses"])
        assert "${{" not in step.get("run", ""), "nothing of a pull request becomes part of a command"


def test_its_commands_and_options_exist() -> None:
    told = [words for words in commands() if words[0] == ".venv/bin/evbench"]
    assert [words[1] for words in told] == ["compare", "report"]
    for words in told:
        find(words[1]).make_context(words[1], words[2:])  # else it raises
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert [words[1] for words in commands() if words[0] == "make"] == ["setup"] and "setup" in targets


def test_it_uploads_what_it_writes_also_where_the_comparison_fails() -> None:
    compare, report = (words for words in commands() if words[0] == ".venv/bin/evbench")
    folder = compare[compare.index("--out") + 1]
    assert report[2] == folder
    written = {report[place + 1] for place, word in enumerate(report) if word.startswith("--")}
    (upload,) = [step for step in steps() if step.get("uses", "").startswith("actions/upload-artifact")]
    assert set(upload["with"]["path"].split()) == {f"{folder}/", *written}
    for step in steps()[-2:]:
        assert step["if"] == f"always() && hashFiles('{folder}/result.json') != ''"
    assert compare[compare.index("--device") + 1] == "cpu"
    assert {"--junit", "--markdown", "--csv"} == {word for word in report if word.startswith("--")} <= {*Exports(*[Path("x")] * 4).files()}


def test_the_documentation_links_it() -> None:
    assert "(../examples/evbench-action.yml)" in PAGES["docs/history.md"]
