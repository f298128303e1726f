"""The report in HTML: what it says, that nothing foreign acts in it, and that it needs nothing beside itself."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evbench import results
from evbench.cli import report as report_command
from evbench.errors import UserError
from evbench.report import comparison, explained, page, raw_runs, timings
from evbench.report.render import without_empty_columns
from evbench.report.said import first_difference, marked
from evbench.results import Activation, Result, Side
from evbench.session.outputs import worst_picture
from evbench.verdict.judge import judge
from evbench.verdict.series import decode_steps, runs_in_order
from evbench.verdict.worst_frame import WorstFrame, worst_frame
from tests import test_console, test_snapshot
from tests.examples import CLIP, PRESERVED, make_check, make_result, make_session, make_side, scaled
from tests.test_results import PROFILES

HOSTILE = "</svg></style></title><script>alert(1)</script><img src=x onerror=alert(1)>\"' onload='x' & $\\frac{1}{0}$ \x1b[31m\u202e"
EMBEDDED = "data:image/png;base64,"
PICTURE = worst_picture({0: WorstFrame(2, 9.4, (np.full((3, 4, 3), 9, np.uint8),) * 3)})
RECORDED = ("h200/video-llava-7b", "h200/eventgpt-7b", "h200/ready-made-7b", "cpu/video-llava-small")


def written(result: Result) -> str:
    judgement = judge(result)
    return page.to_html(result, judgement, comparison.describe(result, judgement))


class Elements(HTMLParser):
    """Every element with its attributes, and all text that is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.shown: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside != "style":
            self.shown.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.shown)


def require_self_contained(text: str) -> None:
    """No script, and nothing that a browser would load."""
    for tag, attributes in Elements(text).elements:
        assert tag not in ("script", "iframe", "link", "object", "embed", "base", "form", "image", "foreignobject"), tag
        assert not [name for name in attributes if name.startswith("on") or name in ("srcset", "style", "action")], attributes
        assert ("src" in attributes) == (tag == "img"), attributes
        assert attributes.get("src", EMBEDDED).startswith(EMBEDDED), attributes
        assert attributes.get("href", "#").startswith("#"), attributes
    assert not re.findall(r"url\((?!#)", text)
    assert "@import" not in text
    assert "default-src &#x27;none&#x27;" in text


def hostile() -> Result:
    """All of it that comes from outside is an attack."""

    def side(variant: str) -> results.SideResult:
        made = scaled(make_side(variant=variant), 1.0 if variant == "baseline" else 0.5)
        runs = tuple(dataclasses.replace(run, text=f"{variant} {HOSTILE}") for run in made.runs)
        sample = dataclasses.replace(CLIP, path=f"/tmp/{HOSTILE}", sha256=HOSTILE, caption=HOSTILE, beside=results.ImagesBeside(5, HOSTILE))
        workload = dataclasses.replace(made.workload, samples=(sample,), weights=HOSTILE, preset=None)
        found = (Activation("decode", HOSTILE, True, HOSTILE),)
        choices = {"decode": HOSTILE, HOSTILE: HOSTILE}
        return dataclasses.replace(made, variant=variant + HOSTILE, runs=runs, workload=workload, activations=found, choices=choices)

    session = make_session()
    machine = dataclasses.replace(session.machine, cpu=HOSTILE, packages={HOSTILE: HOSTILE}, source=HOSTILE)
    session = dataclasses.replace(session, machine=machine, remarks=(HOSTILE,))
    outputs = dataclasses.replace(PRESERVED, checks=(*PRESERVED.checks, make_check(rule=HOSTILE, location=HOSTILE, detail=HOSTILE)))
    outputs = dataclasses.replace(outputs, worst_picture=PICTURE)
    return dataclasses.replace(make_result(side("optimized"), side("baseline"), (session,), outputs), command=HOSTILE, evbench=HOSTILE)


def test_what_is_foreign_is_text_wherever_it_stands() -> None:
    text = written(hostile())
    require_self_contained(text)
    assert "\x1b" not in text
    assert "\u202e" not in text
    pictured = dataclasses.replace(PRESERVED, worst_picture=PICTURE)
    harmless = written(make_result(scaled(make_side(variant="optimized"), 0.5), outputs=pictured))
    assert {tag for tag, _ in Elements(text).elements} <= {tag for tag, _ in Elements(harmless).elements} | {"mark", "span"}
    assert Elements(text).text.count("<script>alert(1)</script>") > 20, "it is shown letter for letter"


@pytest.mark.parametrize("folder", RECORDED)
def test_a_recorded_comparison_is_one_small_file_that_loads_nothing(folder: str) -> None:
    result = results.read(PROFILES / folder)
    text = written(result)
    require_self_contained(text)
    assert len(text.encode()) < 500_000
    assert text == written(result), "the same each time"
    ids = [attributes["id"] for _, attributes in Elements(text).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"].removeprefix("#") for _, attributes in Elements(text).elements if "href" in attributes}
    clips = set(re.findall(r"url\(#([^)]+)\)", text))
    assert links | clips <= set(ids)


@pytest.mark.parametrize("folder", RECORDED)
def test_every_number_of_the_report_stands_in_it(folder: str) -> None:
    result = results.read(PROFILES / folder)
    judgement = judge(result)
    report = comparison.describe(result, judgement)
    shown = Elements(page.to_html(result, judgement, report)).shown
    for name, *cells in timings.latency(judgement).rows:
        assert {name, *cells} <= set(shown)
    for table in (*report.tables, *report.appendix):
        assert any(text.startswith(table.title) for text in shown), table.title
        assert {cell for row in without_empty_columns(table).rows for cell in row if cell} <= set(shown), table.title
    assert {*report.notes, *report.facts.values(), report.headline} <= set(shown)
    for rows in (raw_runs.runs(result).rows, raw_runs.steps(result).rows):
        assert {cell for row in rows for cell in row} - {"-"} <= set(shown)


def test_a_page_alone_tells_on_what_it_was_measured_what_was_changed_and_what_its_words_mean() -> None:
    result = results.read(PROFILES / "h200/video-llava-7b")
    shown = Elements(written(result)).shown
    text = " ".join(shown)
    head = text[: text.index("Skip to the report") + 3000]
    assert "run in two ways on NVIDIA H200; measured on 2026-11-30." in head
    assert "Grown weights: trained as the preset small" in head
    assert text.count("Grown weights: ") == 1
    assert explained.FLAGS["ONE_INVOCATION"] in shown
    assert "triton: one Triton kernel from the frames' bytes" in text
    assert "loop -> triton (no effect on a video)" in shown
    assert "render: " not in text
    assert "event by event in Python" not in text, "what has no effect is not explained"
    for word in ("prefill", "TTFT", "TPOT", "median", "confidence interval (CI)"):
        assert text.index(word) < text.index("Latency: median of each stage"), word


def test_variants_of_equal_choices_and_choices_that_are_gone_are_told_as_they_are() -> None:
    """The first by the sentence of the report."""
    result = test_snapshot.result()
    assert result.optimized is not None
    equal = dataclasses.replace(result, optimized=dataclasses.replace(result.optimized, choices=result.baseline.choices))
    assert "none: the same variant on both sides" in Elements(written(equal)).shown
    gone = result.baseline.choices | {"decode": "none of today", "a part of then": "one"}
    former = dataclasses.replace(result, optimized=dataclasses.replace(result.optimized, choices=gone))
    shown = Elements(written(former)).shown
    assert f"{result.baseline.choices['decode']} -> none of today" in shown
    assert "unknown -> one" in shown
    assert "What was changed" not in Elements(written(dataclasses.replace(result, optimized=None, outputs=None))).shown


@pytest.mark.parametrize("make", [*test_console.CASES.values(), test_snapshot.result])
def test_results_of_each_verdict_are_drawn(make: Callable[[], Result]) -> None:
    result = make()
    text = written(result)
    require_self_contained(text)
    verdict = judge(result).verdict
    assert verdict is not None
    assert f'<p class="word">{verdict}</p>' in text


def test_one_side_alone_and_blocks_that_do_not_count_have_no_speedup() -> None:
    whole = test_snapshot.result()
    (session,) = whole.sessions
    blocks = tuple(dataclasses.replace(block, disturbances=("busy",)) for block in session.blocks)
    for result in (
        dataclasses.replace(whole, optimized=None, outputs=None),
        dataclasses.replace(whole, sessions=(dataclasses.replace(session, blocks=blocks),)),
    ):
        text = written(result)
        assert 'aria-label="Speedups' not in text
        assert 'aria-label="From ' not in text
        assert 'aria-label="Runs in time order' in text


def test_the_frame_that_differs_most_is_shown_beside_the_baselines() -> None:
    frames = np.zeros((2, 3, 300, 400, 3), np.uint8)
    frames[1, 1, 40:44, 80:90, 0] = 12
    assert worst_frame(frames[0], frames[0]) is None
    assert worst_frame(frames[0], np.where(frames[1] > 0, np.nan, 0)) is None, "NaN is no level, and no number of JSON"
    found = {sample: worst for sample, pair in ((5, frames), (7, (frames[1] // 4, frames[0]))) if (worst := worst_frame(*pair))}
    assert (found[5].frame, found[5].levels, found[5].pictures[2].max()) == (1, 12.0, 8 * 12)
    picture = worst_picture(found)
    assert picture is not None and (picture.sample, picture.frame, picture.levels) == (5, 1, 12.0)
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.png))))
    assert drawn.shape == (300, 1200, 3)
    assert drawn[41, 85].tolist() == [0, 0, 0] and drawn[41, 485].tolist() == [12, 0, 0] and drawn[41, 885].tolist() == [96, 0, 0]
    text = written(make_result(scaled(make_side(), 0.5), outputs=dataclasses.replace(PRESERVED, worst_picture=picture)))
    (shown,) = (attributes for tag, attributes in Elements(text).elements if tag == "img")
    assert shown["src"] == EMBEDDED + picture.png
    assert shown["alt"].startswith("Image 2, where what was loaded differs most, by 12.0 of 255 levels")
    for other in (b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n", base64.b64decode(picture.png)[:-1]):
        with pytest.raises(ValueError, match="no whole PNG"):
            dataclasses.replace(picture, png=base64.b64encode(other).decode())
    with pytest.raises(ValueError):
        dataclasses.replace(picture, png=picture.png + '" onerror="alert(1)')


def test_every_figure_has_a_label_and_a_caption() -> None:
    text = written(results.read(PROFILES / "h200/video-llava-7b"))
    elements = Elements(text).elements
    figures = [attributes for tag, attributes in elements if tag == "svg"]
    assert len(figures) == 7
    assert all(attributes["role"] == "img" and len(attributes["aria-label"]) > 20 for attributes in figures)
    assert [tag for tag, _ in elements].count("figcaption") == len(figures)
    assert "preprocess 320x" in next(label for one in figures if (label := one["aria-label"]).startswith("Speedups"))


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("a red car", "a red car", None),
        ("a red car", "a blue car", ("a [red] car", "a [blue] car")),
        ("a red", "a red car", ("a red[]", "a red[ ]car")),
        ("", "a", ("[]", "[a]")),
    ],
)
def test_the_first_difference_of_two_texts_is_marked(one: str, other: str, shown: tuple[str, str] | None) -> None:
    place = first_difference([one, other])
    if shown is None:
        assert place is None
        assert marked(one, place) == [one]
        return
    for text, expected in zip((one, other), shown, strict=True):
        before, mark, after = (part if isinstance(part, str) else part.text for part in marked(text, place))
        piece = re.sub(r"<.*?>", "", mark).removeprefix("first difference: ").removeprefix("the text ends here")
        assert f"{before}[{piece}]{after}" == expected
        assert "first difference" in mark or "the text ends here" in mark


def test_runs_are_in_time_order_and_steps_are_of_the_runs_that_count() -> None:
    result = results.read(PROFILES / "cpu/video-llava-small")
    placed = runs_in_order(result)
    assert [run.turn for run in placed] == sorted(run.turn for run in placed)
    assert len(placed) == sum(len(side.runs) for side in result.variants().values())
    sides: tuple[Side, ...] = ("baseline", "optimized")
    steps = decode_steps(result)
    assert [len(steps[side]) for side in sides] == [71, 71]
    assert all(step.runs == 24 and step.minimum <= step.median <= step.maximum for side in sides for step in steps[side])


def test_a_share_of_the_floor_is_its_time_over_the_median() -> None:
    judgement = judge(results.read(PROFILES / "h200/video-llava-7b"))
    share = judgement.floor_shares()["tpot"]["optimized"]
    assert share == pytest.approx(3.40e-3 / 3.66e-3, rel=2e-3)
    rows = {row[0]: row[1:] for row in timings.floors(judgement).rows}
    assert rows["tpot"] == (
        "3.40 ms",
        "23.1 ms",
        "14.73%",
        "3.66 ms",
        "92.87%",
    )


def recorded(folder: Path) -> Path:
    folder.mkdir()
    (folder / "result.json").write_bytes((PROFILES / "cpu/video-llava-small/result.json").read_bytes())
    return folder


def test_the_page_is_written_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recorded(tmp_path / "out")
    report_command.report_command(folder, html=tmp_path / "a report.html")
    assert not (folder / "report.html").exists()
    require_self_contained((tmp_path / "a report.html").read_text(encoding="utf-8"))
    assert f"Written to {tmp_path / 'a report.html'}" in capsys.readouterr().out


@pytest.mark.parametrize("found", [True, False])
def test_the_page_is_opened_or_its_address_is_told(
    found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    links: list[str] = []

    def browser(link: str) -> bool:
        links.append(link)
        return found

    monkeypatch.setattr(report_command, "open_browser", browser)
    folder = recorded(tmp_path / "out put")
    report_command.report_command(folder, show=True)
    assert links == [(folder / "report.html").as_uri()]
    assert ("No browser here" in capsys.readouterr().out) is not found


@pytest.mark.parametrize(
    ("name", "html", "refusal"),
    [
        ("out", "out/result.json", "does not end in .html or .htm"),
        ("out", "none/a.html", "there is no folder"),
        ("out", "out/a.html", "is a folder"),
        ("ladder", "a.html", "has a ladder.json; give the folder of one, or leave it out"),
        ("ladder", None, "has a ladder.json; give the folder of one, or leave it out"),
    ],
)
def test_a_page_that_cannot_be_is_refused_before_anything_is_written(name: str, html: str | None, refusal: str, tmp_path: Path) -> None:
    folder = recorded(tmp_path / "out")
    (folder / "a.html").mkdir()
    (tmp_path / "ladder").mkdir()
    (tmp_path / "ladder" / "ladder.json").write_text("{}")
    before = (folder / "result.json").read_bytes()
    with pytest.raises(UserError, match=re.escape(refusal)):
        report_command.report_command(tmp_path / name, html=None if html is None else tmp_path / html, show=html is None)
    assert (folder / "result.json").read_bytes() == before
    assert not (folder / "report.md").exists()


def test_only_what_draws_imports_matplotlib() -> None:
    code = "import sys, evbench.cli.report, evbench.session.compare; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_home_that_cannot_be_written_is_nothing_to_tell(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from evbench.cli.start import main; main()", "report", str(recorded(tmp_path / "out"))]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "MPLCONFIGDIR": "/proc/none"}, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "report.html").exists()
