"""README and the pages of docs/ show what was recorded, link to what exists, and name commands and options that there are."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

from docs.links import ROOT
from docs.reference import anchor, command_names, find
from evbench import results
from evbench.cli import completion
from evbench.pipelines.registry import MODELS, PARTS
from tests.pages import LINK, PAGES, links, sentences, shell_lines
from tests.test_console import printed

README = PAGES["README.md"]
RECORDED = ROOT / "profiles" / "cpu" / "video-llava-small"
FIRST = "docs/first-comparison.md"
SAYS = "says:\n\n"
"""Stands in front of what a comparison prints, on the page FIRST."""
LONGEST = 120
"""Lines of the README."""


def block() -> str:
    """What the recorded comparison prints at 80 columns, but for the folder that it was written to."""
    lines = printed(results.read(RECORDED)).splitlines()
    return "\n".join(f"    {line}".rstrip() for line in lines if not line.startswith(("Written to", "To see"))) + "\n"


def test_the_printed_report_is_what_the_recorded_run_prints() -> None:
    assert SAYS + block() in PAGES[FIRST], "python -m tests.test_readme writes it again"
    quoted = README[README.index("begins:\n\n") :].splitlines()[2]
    assert quoted == block().splitlines()[0]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= LONGEST


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    found = links(page)
    assert not [path for path, _ in found if not (ROOT / path).exists()]
    for path, heading in found:
        if heading and "<!-- generated: " not in PAGES[path]:
            headings = re.findall(r"^#+ (.+)$", PAGES[path], re.MULTILINE)
            assert heading in map(anchor, headings), f"{path} has no #{heading}"


def test_every_page_is_linked_from_the_readme_or_from_a_page_that_is() -> None:
    reached, waiting = set[str](), {"README.md"}
    while waiting:
        page = waiting.pop()
        reached.add(page)
        waiting |= {path for path, _ in links(page) if path in PAGES} - reached
    assert reached == set(PAGES)


# Figures.

REPORTS = sorted({(page, path.removesuffix("/report.md")) for page in PAGES for path, _ in links(page) if path.endswith("/report.md")})
TABLE = {"Video-LLaVA": "profiles/h200/video-llava-7b", "EventGPT": "profiles/h200/eventgpt-7b"}
"""First word of a row of the table at full size -> where it was measured."""
UNDECIDED = "no difference in time is shown"
"""Is said of a result without a claim."""


@pytest.mark.parametrize(("page", "folder"), REPORTS)
def test_results_that_are_linked_have_ended_with_a_claim_or_are_told_as_undecided(page: str, folder: str) -> None:
    verdict = json.loads((ROOT / folder / "verdict.json").read_text(encoding="utf-8"))
    result = results.read(ROOT / folder)
    if result.optimized is None:
        assert verdict["verdict"] is None, "one variant by itself: nothing is claimed"
    elif verdict["verdict"] == "INCONCLUSIVE":
        assert re.search(rf"{UNDECIDED} \(\[[^]]+\]\({folder}/report\.md\)\)", sentences(page))
    elif verdict["verdict"] == "LOSSY":
        assert f"({folder}/report.md): LOSSY, " in sentences(page)
    else:
        assert verdict["verdict"] in ("FASTER", "SLOWER", "SAME"), verdict["reasons"]
    if str(result.sessions[0].machine.source).endswith("-dirty"):
        said = f"({folder}/report.md) (recorded by an earlier version)"
        assert said in sentences(page), "say so, or record it from a clean commit"


def test_every_speedup_that_is_given_is_that_of_the_report_beside_it() -> None:
    has = r"\]\((profiles/[^)]+)/report\.md\)(?: has(?: a speedup of)?)? (\d[\d.]*x) \((\d[\d.]*x) - (\d[\d.]*x)\)"
    given = [found for page in PAGES for found in re.findall(has, sentences(page))]
    assert len(given) >= 5
    for folder, ratio, low, high in given:
        assert f"end-to-end speedup {ratio}, 95% CI {low} - {high}" in (ROOT / folder / "report.md").read_text(encoding="utf-8"), folder


@pytest.mark.parametrize("page", PAGES)
def test_every_ratio_stands_in_a_recording_that_the_page_links_to(page: str) -> None:
    """As it is written, or with more digits."""
    given = re.findall(r"(?<![\w.])(\d+\.\d+)x", sentences(page))
    files = {path for path, _ in links(page) if path.startswith("profiles/") and path.endswith((".md", ".txt"))}
    numbers = [number for path in files for number in re.findall(r"\d+\.\d+", (ROOT / path).read_text(encoding="utf-8"))]
    for ratio in given:
        digits = len(ratio.partition(".")[2])
        assert any(f"{float(number):.{digits}f}" == ratio for number in numbers), f"{ratio}x is in no recording that {page} links to"


def test_every_time_of_the_table_stands_in_the_report() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines() if line.startswith(("| Video", "| Event"))
    ]
    assert len(rows) == 4
    for variant, *times in rows:
        model, _, name = variant.partition(", ")
        report = (ROOT / TABLE[model] / "report.md").read_text(encoding="utf-8")
        assert name in report.splitlines()[0]
        assert not [time for time in times if f"| {time} |" not in report], variant


def test_the_row_that_is_explained_is_of_the_report_below_it() -> None:
    page = PAGES["docs/reading-a-report.md"]
    (row,) = re.findall(r"^\| load \|.*$", page, re.MULTILINE)
    (link,) = re.findall(r"That row is from \[[^]]+\]\(\.\./([^)]+)\)", page)
    assert row in (ROOT / link).read_text(encoding="utf-8").splitlines()


def one(pattern: str) -> re.Match[str]:
    """The one place, of all pages, where this is said."""
    (found,) = [found for page in PAGES for found in re.finditer(pattern, sentences(page))]
    return found


def test_what_is_said_of_self_tests_stands_in_them() -> None:
    faults = one(r"\[(\d+ of \d+) faults were caught, and (\d+ of \d+) equal computations passed\]\(([^)]+)\)")
    floor = one(r"\[(\d+) % here\]\(([^)]+)\)")
    planted = one(r"`--plant (\S+)` makes.*?\[found there, and nowhere else\]\(([^)]+)\), in (\d+) blocks over (\d+) invocations")
    assert f"**Passed: {faults[1]} faults caught, {faults[2]} equal computations passed**" in (ROOT / faults[3]).read_text(encoding="utf-8")
    (row,) = [line for line in (ROOT / floor[2]).read_text(encoding="utf-8").splitlines() if line.startswith("| end-to-end |")]
    assert round(float(row.split("|")[4].strip().removesuffix("%"))) == int(floor[1])
    recorded = (ROOT / planted[2]).read_text(encoding="utf-8")
    assert f"--plant {planted[1]} --blocks {planted[3]} --invocations {planted[4]} " in recorded
    assert "**Passed: the delay of " in recorded


def test_what_is_said_of_captions_stands_in_the_recording() -> None:
    said = one(
        r"Of (\d+) others.*? Video-LLaVA captions (\d+) exactly right .*? and (\d+) when asked for details, EventGPT (\d+) of both "
        r"\(\[[^]]+\]\(([^)]+)\)\)"
    )
    text = (ROOT / said[5]).read_text(encoding="utf-8")
    video, events = (re.findall(rf"^\| {model}, .*$", text, re.MULTILINE)[0] for model in ("Video-LLaVA", "EventGPT"))
    assert [f"{count} of {said[1]}" in row for count, row in ((said[2], video), (said[3], video), (said[4], events))] == [True] * 3
    grown = one(r"EventGPT in (\d+ of \d+) answers \(\[and in float32\]\(([^)]+)\)\)")
    assert f"| EventGPT | {grown[1]} |" in (ROOT / grown[2]).read_text(encoding="utf-8")


def test_what_is_said_of_drafts_stands_in_the_recording() -> None:
    said = one(r"\]\((profiles/cpu/acceptance/[^)]+)\) (\d\.\d+) tokens per pass in blocks of four; .*? is (\d\.\d) %")
    text = (ROOT / said[1]).read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| 4 \| \d+ \|.*$", text, re.MULTILINE)
    assert f"| {said[2]} |" in row
    assert f"{said[3]}%" in text


# Choices.


def test_the_table_of_choices_is_that_of_the_registry() -> None:
    start = README.index("| part |")
    lines = README[start : README.index("\n\n", start)].splitlines()[2:]
    rows = {cells[0].split()[0]: cells[1:] for line in lines if (cells := [cell.strip() for cell in line.strip("|").split("|")])}
    listed = {part: [[choice for choice in cell.split(", ") if choice] for cell in cells] for part, cells in rows.items()}
    models = (("video-llava", "eventgpt"), ("auto",))

    def known(part: str, names: tuple[str, ...]) -> list[str]:
        has = [model for model in names if part in MODELS[model].parts]
        return [name for name, entry in PARTS[part].choices.items() if any(MODELS[model].has(part, name) for model in has)]

    assert listed == {part: [known(part, names) for names in models] for part in PARTS}


# Commands and options.


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists_and_takes_these_options(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in shell_lines(page):
        if "--config" in line:
            (tmp_path / "evbench.toml").write_text("baseline = 'baseline'\noptimized = 'optimized'\n", encoding="utf-8")
            monkeypatch.chdir(tmp_path)
        program, *arguments = shlex.split(re.sub(r"\s#.*", "", line))  # not the # of table.json#before
        if program == "evbench":
            require_command(line, arguments)
        elif program == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert arguments[0] in targets, line
        elif arguments[0].startswith("examples/"):
            assert (ROOT / arguments[0]).is_file(), line
        else:
            assert arguments[0] == "-m"
            assert importlib.util.find_spec(arguments[1]) is not None, line


def require_command(line: str, arguments: list[str]) -> None:
    """Raises what typer raises for an option that there is not."""
    if arguments in (["--help"], ["--version"], *([option] for option in completion.OPTIONS)):
        return
    name = next(name for size in (2, 1) if (name := " ".join(arguments[:size])) in command_names())
    command = find(name)
    command.make_context(command, arguments[len(name.split()) :])


@pytest.mark.parametrize("page", PAGES)
def test_every_option_and_command_in_a_sentence_exists(page: str) -> None:
    options = {option for name in command_names() for one in find(name).params for option in (*one.opts, *one.secondary_opts)}
    options |= {"--help", "--version", *completion.OPTIONS, "--depth"}  # --depth: of git clone
    for code in re.findall(r"`([^`]+)`", sentences(page)):
        assert not [option for option in re.findall(r"(?<!\S)--[a-z][\w-]*", code) if option not in options], code
        if found := re.match(r"evbench ([a-z][\w-]*(?: [a-z][\w-]*)?)", code):
            words = found[1].split()
            groups = {name.split()[0] for name in command_names()}
            assert " ".join(words) in command_names() or words[0] in groups, code


def test_no_sentence_stands_on_two_pages() -> None:
    """What is told twice is mended once."""
    seen: dict[str, str] = {}
    for page in PAGES:
        for sentence in re.split(r"(?<=[.:]) ", LINK.sub(r"\1", sentences(page))):
            if len(sentence) > 60:
                assert seen.setdefault(sentence, page) == page, f"{page} and {seen[sentence]}: {sentence}"


if __name__ == "__main__":
    before, _, behind = PAGES[FIRST].partition(SAYS)
    left = behind.splitlines(keepends=True)
    while left[0].startswith("    ") or not left[0].strip():
        left.pop(0)
    Path(ROOT / FIRST).write_text(f"{before}{SAYS}{block()}\n{''.join(left)}", encoding="utf-8")
