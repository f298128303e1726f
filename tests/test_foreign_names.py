"""Names from outside: what a terminal is given of them, and names that are no text."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from rich.console import Console

from evbench.cli.main import main
from evbench.report.render import Report, Table, plain, to_console, to_rich
from evbench.traces import serve
from tests.cases import CASES
from tests.command import refused

NAMES = ["a[/b].mp4", "[id] x.mp4", "[red]a.mp4", "[bold.mp4", "a:smile:.mp4", "a\\[b].mp4", "[link=http:x]a.mp4", "tail\\"]


def shown(*renderables: object) -> str:
    file = io.StringIO()
    for renderable in renderables:
        Console(file=file, width=200).print(renderable)
    return file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_letter_for_letter_wherever_it_stands(name: str) -> None:
    table = Table(name, (f"Clip {name}", name), ((name, f"2 {name}"),))
    assert shown(to_rich(table, numbers=False)).count(name) == 5
    report = Report(name, {name: name}, name, name, (table,), {name: name}, (name,), ())
    assert shown(to_console(report)).count(name) == 13
    assert shown(plain(name)) == f"{name}\n"


def test_what_would_act_on_a_terminal_is_not_sent_to_it() -> None:
    assert shown(plain("a\x1b[2Jb\rc\ud8ffd\ne")) == "a·[2Jb·c·d\ne\n"


@pytest.mark.parametrize("name", [*NAMES, "new\x1b[31mcolour.mp4", "no text \udcff.mp4"])
def test_the_command_shows_a_clip_by_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, _, _ = name.rpartition("/")
    Path(folder).mkdir(exist_ok=True)
    Path(name).write_bytes((CASES / "reorder_unsaid.ts").read_bytes())
    monkeypatch.setattr(sys, "argv", ["evbench", "frames", name, "--decoder", "plain"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    told = "".join(letter if letter.isprintable() else "·" for letter in name)
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_names_the_file_letter_for_letter(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evbench", "frames", name])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"evbench: {name}: no such file")


def test_a_trace_whose_name_is_no_text_is_served() -> None:
    shared = serve.share(os.fsdecode(b"trace-\xff.json.gz"), b"x", offline=False)
    assert shared.path.endswith("/trace-%FF.json.gz")
    assert quote(shared.path, safe="") in shared.link(9001)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run baseline --device cpu --video {0}.mp4", "has a name that is not UTF-8, and no result could name it; rename it"),
        ("run baseline --device cpu --out {0}", "has a name that is not UTF-8, and no result could name it; give another"),
        ("run baseline --device cpu --prompt {0}", "--prompt is not UTF-8; give it as text"),
        ("run baseline --device cpu --weights {0}", "no such folder"),
    ],
)
def test_what_a_result_could_not_name_is_refused(
    arguments: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"a\xff")
    Path(f"{name}.mp4").write_bytes((CASES / "reorder_unsaid.ts").read_bytes())
    assert told in refused(arguments.format(name), monkeypatch, capsys)
