"""The documentation: it builds without a warning, needs nothing from elsewhere, and misses nothing that it must tell.

`python -m tests.test_docs` draws the picture of a report again.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import evbench
from docs import reference
from docs.links import ROOT, site_path
from evbench import results
from evbench.pipelines.registry import PARTS
from evbench.report import explained
from evbench.session.outputs import MOST_LOST, MOST_SAMPLES
from evbench.variants.named import VARIANTS
from evbench.verdict.judgement import Verdict
from tests.pages import PAGES, sentences
from tests.perfetto import chromium
from tests.test_page import written

PICTURE = ROOT / "docs" / "images" / "report.png"
SHOWN = ROOT / "profiles" / "h200" / "video-llava-7b"
"""What the picture is of."""
MOST_BYTES = 300_000
MESSAGES = "docs/troubleshooting.md"


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """`make docs`."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]  # with --quiet nothing would be strict
    environment = os.environ | {"PYTHONPATH": str(root), "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def headings(page: Path) -> list[str]:
    """Their ids."""
    return re.findall(r"<h[1-6] id=\"([^\"]+)\"", page.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    for page in PAGES:
        name = site_path(page).removesuffix(".md") + ".html"
        assert (site / name).exists()
        assert f'href="{name}" class="md-nav__link' in start, page


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=\"?((?:https?:)?//[^\"\s>]+)")
    outside = {(page.name, found) for page in site.rglob("*.html") for found in loaded.findall(page.read_text(encoding="utf-8"))}
    assert outside == set()
    styles = [style.read_text(encoding="utf-8") for style in site.rglob("*.css")]
    assert styles
    assert not [found for style in styles for found in re.findall(r"(?:url\(|@import\s+)['\"]?(?:https?:)?//[^)'\"]+", style)]


@pytest.mark.slow
def test_every_choice_command_and_exported_name_has_its_section(site: Path) -> None:
    choices = {f"{part.name}{name}" for part in PARTS.values() for name in part.choices}
    assert choices <= set(headings(site / "choices.html"))
    assert {f"evbench-{name.replace(' ', '-')}" for name in reference.command_names()} <= set(headings(site / "commands.html"))
    exported = {f"{getattr(evbench, name).__module__}.{name}" for name in evbench.__all__}
    assert exported <= set(headings(site / "python.html"))


FAULTS = {
    "nowhere.md": "[no such page](nowhere.md)",
    "outputs.md#nowhere": "[no such heading](outputs.md#nowhere)",
    "../profiles/nowhere/report.md": "[no such recording](../profiles/nowhere/report.md)",
}
"""What is named -> a line that leads there, and must not."""


@pytest.mark.slow
def test_what_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, root)
        elif path.name in ("evbench", "profiles", "tests"):
            (root / path.name).symlink_to(path)
    with (root / "docs" / "glossary.md").open("a", encoding="utf-8") as file:
        file.write("\n".join(["", *FAULTS.values()]))
    (root / "docs" / "forgotten.md").write_text("# A page that is in no menu\n", encoding="utf-8")
    done = build(root, tmp_path / "site")
    assert done.returncode == 1
    assert not [told for told in (*FAULTS, "forgotten.md") if told not in done.stderr]


# What must be told.


def flags() -> set[str]:
    """Names that any module of evbench.verdict gives to a flag."""
    found = set()
    for file in (ROOT / "evbench" / "verdict").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "flags":
                assert isinstance(node.slice, ast.Constant), f"{file.name}, line {node.lineno}: a flag that no test can name"
                found.add(str(node.slice.value))
    return found


def test_every_flag_has_its_entry_and_every_entry_its_flag() -> None:
    section = re.search(r"^## Flags$(.*?)^## ", PAGES[MESSAGES], re.MULTILINE | re.DOTALL)
    assert section is not None
    entries = re.findall(r"^### (\S+)\n\n(.+)$", section[1], re.MULTILINE)
    assert len(flags()) >= 14
    assert sorted(flags()) == [name for name, _ in entries], "in the order of the alphabet"
    assert sorted(flags()) == list(explained.FLAGS), "a page says of each what follows from it"


def test_every_verdict_that_claims_nothing_has_its_entry() -> None:
    claims = {Verdict.FASTER, Verdict.SAME, Verdict.SLOWER}
    for verdict in set(Verdict) - claims:
        assert f"\n### {verdict}\n" in PAGES[MESSAGES]
    table = re.findall(r"^\| ([A-Z_]+) \| \d \|", PAGES["docs/first-comparison.md"], re.MULTILINE)
    assert table == [str(verdict) for verdict in Verdict]


def literals() -> list[str]:
    """All texts in the code, each f-string as one, with `...` for what is put in."""
    found = []
    for top in ("evbench", "pipelines"):
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
                elif isinstance(node, ast.JoinedStr):
                    found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values))
    return found


def test_every_message_that_is_explained_is_one_that_the_code_has() -> None:
    """Piece by piece: what stands between what is put in."""
    explained = re.findall(r"^\| `(.+?)` \| .+ \|$", PAGES[MESSAGES], re.MULTILINE)
    explained += re.findall(r"^- `(.+?)`: ", PAGES[MESSAGES], re.MULTILINE)
    assert len(explained) >= 25
    known = literals()
    for message in explained:
        pieces = [piece for found in message.split("...") if len(piece := found.strip(" ;")) > 3]
        assert pieces
        assert not [piece for piece in pieces if not any(piece in text for text in known)], message


def test_every_choice_tells_its_risk_but_those_that_others_are_measured_against() -> None:
    base = VARIANTS["baseline"]
    silent = {(part.name, name) for part in PARTS.values() for name, choice in part.choices.items() if not choice.risk}
    assert silent <= {(part, base[part]) for part in PARTS}


def test_gains_are_those_of_the_recorded_ladders() -> None:
    """Each line of a ladder's report, about one choice alone."""
    line = re.compile(r"^- (\w+=\S+), added to .*: speedup (\S+), 95% CI (\S+x - \S+x)[.;]", re.MULTILINE)
    for report in (ROOT / "profiles").rglob("ladder.md"):
        said = line.findall(report.read_text(encoding="utf-8"))
        assert said, report
        for choice, ratio, interval in said:
            section = reference.choices().partition(f"\n### {choice}\n")[2].partition("\n### ")[0]
            rows = [row for row in section.splitlines() if f"(../{report.relative_to(ROOT)})" in row]
            assert [row for row in rows if f">end-to-end {ratio}, {interval}</span>" in row], (report, choice)


def test_a_choice_without_a_recording_says_so() -> None:
    section = reference.choices().partition("\n### vision=graph\n")[2].partition("\n### ")[0]
    assert "- **Gain**: no comparison of this choice alone is recorded" in section.splitlines()


def test_terms_of_the_glossary_are_in_the_order_of_the_alphabet() -> None:
    terms = re.findall(r"^- \*\*(.+?)\*\*", PAGES["docs/glossary.md"], re.MULTILINE)
    assert len(terms) > 30
    assert terms == sorted(terms, key=str.lower)


def test_the_page_on_reports_goes_through_the_sections_of_one_in_their_order() -> None:
    sections = re.findall(r"<h2[^>]*>([^<]+)</h2>", written(results.read(SHOWN)))
    told = re.findall(r"\*\*([^*]+)\*\*", PAGES["docs/reading-a-report.md"])
    begin = told.index("How fast")
    assert set(explained.SECTIONS) <= set(sections), "none is explained that there is not"
    assert [section.lower() for section in sections if section != "Before you rely on it"] == [name.lower() for name in told[begin:]]
    assert "Before you rely on it" in told[:begin]


def test_numbers_on_many_samples_are_those_of_the_code() -> None:
    text = sentences("docs/many-samples.md")
    assert f"At each stage {MOST_SAMPLES} samples are compared" in text
    assert f"no more than {MOST_LOST:.0%} of what is right".replace("%", " %") in text


# The picture.


def test_the_picture_is_small_and_of_the_recorded_result() -> None:
    assert PICTURE.stat().st_size < MOST_BYTES
    assert sentences("README.md").count("(docs/images/report.png)") == 1
    with Image.open(PICTURE) as image:
        assert image.text["result"] == fingerprint(), "python -m tests.test_docs draws it again"  # type: ignore[attr-defined]


def fingerprint() -> str:
    """Of what is drawn."""
    return hashlib.sha256((SHOWN / "result.json").read_bytes()).hexdigest()


def draw() -> None:
    """The top of the report: down to the figures of speedups and times."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme="light")
        page.set_content(written(results.read(SHOWN)))
        figure = page.locator("figure").first.bounding_box()
        height = round(figure["y"] + figure["height"]) + 8
        shot = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": 1000, "height": height})
        page.close()
    about = PngInfo()
    about.add_text("result", fingerprint())
    with Image.open(io.BytesIO(shot)) as image:
        image.convert("RGB").quantize(64).save(PICTURE, optimize=True, pnginfo=about)


if __name__ == "__main__":
    draw()
