"""The report in HTML as a browser shows it: on a phone and a desk, dark and light, by keyboard and for screen readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evbench import results
from tests.perfetto import browser_path, chromium
from tests.test_page import EMBEDDED, hostile, written
from tests.test_results import PROFILES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser_path() is None, reason="no Chromium here; apt-get install chromium"),
]
SCHEMES = ("light", "dark")
LARGE_TEXT, TEXT, GRAPHICS = 3.0, 4.5, 3.0
"""Contrast that WCAG 2.2 asks for, level AA."""
OPEN_ALL = "() => document.querySelectorAll('details').forEach(one => one.open = true)"
FAINT = """limits => {
    const channel = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const parse = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
    const behind = node => {
        for (; node; node = node.parentElement) {
            const colour = parse(getComputedStyle(node).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const contrast = (one, other) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const found = [];
    let seen = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement, style = getComputedStyle(node);
        if (!walker.currentNode.data.trim() || !node.getClientRects().length) continue;
        const colour = parse(node.closest('svg') ? style.fill : style.color), size = parseFloat(style.fontSize);
        const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? limits.large : limits.text;
        seen += 1;
        if (contrast(light(colour), light(behind(node))) < least) found.push(walker.currentNode.data);
    }
    for (const mark of document.querySelectorAll('figure svg path, figure svg use')) {
        const fill = getComputedStyle(mark).fill, of = mark.getAttribute('fill') ?? '';
        if (fill === 'none' || !of.match(/baseline|optimized|saved|added/) || mark.getAttribute('fill-opacity')) continue;
        seen += 1;
        if (contrast(light(parse(fill)), light(behind(mark))) < limits.graphics) found.push(of);
    }
    return [seen, [...new Set(found)]];
}"""
STRUCTURE = """() => ({
    language: document.documentElement.lang,
    headings: [...document.querySelectorAll('h1, h2, h3')].map(one => Number(one.tagName[1])),
    landmarks: [...document.body.children].map(one => one.localName),
    unnamed: [...document.querySelectorAll('svg, [role=region], nav, img')]
        .filter(one => !one.getAttribute(one.localName === 'img' ? 'alt' : 'aria-label')).map(one => one.outerHTML.slice(0, 80)),
    uncaptioned: [...document.querySelectorAll('table')].filter(one => !one.caption?.textContent).length,
    headless: [...document.querySelectorAll('tbody tr')].filter(one => one.cells[0].scope !== 'row').length,
    twice: [...document.querySelectorAll('[id]')].map(one => one.id).filter((id, place, all) => all.indexOf(id) !== place),
    unscrollable: [...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth && one.tabIndex < 0).length,
})"""
OUTSIDE = """() => [...document.querySelectorAll('figure svg text')].filter(one => {
    const text = one.getBoundingClientRect(), svg = one.closest('svg').getBoundingClientRect();
    return text.width && (text.left < svg.left - 1 || text.right > svg.right + 1);
}).map(one => one.textContent)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {"hostile": hostile(), **{name: results.read(PROFILES / name) for name in ("h200/video-llava-7b", "cpu/video-llava-small")}}
    files = {}
    for name, result in made.items():
        files[name] = folder / f"{name.replace('/', '-')}.html"
        files[name].write_text(written(result), encoding="utf-8")
    return files


@contextmanager
def opened(browser: Any, file: Path, width: int = 1280, scheme: str = "light") -> Iterator[Any]:
    """A page whose scripts a browser may run, and which is asked for nothing but itself and complains of nothing."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    told: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.on("request", lambda request: None if request.url.startswith(EMBEDDED) else asked.append(request.url))
    try:
        page.goto(file.as_uri())
        yield page
        assert told == []
        assert asked == [file.as_uri()]
    finally:
        page.close()


NAMES = ("h200/video-llava-7b", "cpu/video-llava-small", "hostile")


@pytest.mark.parametrize("name", NAMES)
def test_a_phone_shows_it_without_scrolling_sideways(name: str, browser: Any, pages: dict[str, Path]) -> None:
    with opened(browser, pages[name], width=360) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.evaluate(OPEN_ALL)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.evaluate(OUTSIDE) == [], "text of a figure is not cut off"
        small = "() => Math.min(...[...document.querySelectorAll('svg text')].map(one => one.getBoundingClientRect().height))"
        assert page.evaluate(small) > 9, "text of a figure can be read"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NAMES)
def test_text_and_marks_stand_out_in_dark_and_light(name: str, scheme: str, browser: Any, pages: dict[str, Path]) -> None:
    with opened(browser, pages[name], scheme=scheme) as page:
        page.evaluate(OPEN_ALL)
        seen, faint = page.evaluate(FAINT, {"large": LARGE_TEXT, "text": TEXT, "graphics": GRAPHICS})
        assert faint == []
        assert seen > 300
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize("name", NAMES)
def test_screen_readers_find_landmarks_headings_and_names(name: str, browser: Any, pages: dict[str, Path]) -> None:
    with opened(browser, pages[name]) as page:
        found = page.evaluate(STRUCTURE)
        headings = found.pop("headings")
        assert headings[0] == 1
        assert headings.count(1) == 1
        assert found.pop("landmarks") == ["a", "header", "nav", "main", "footer"]
        assert found.pop("language") == "en"
        assert not any(found.values()), found
        assert page.get_by_role("main").count() == page.get_by_role("banner").count() == page.get_by_role("navigation").count() == 1
        assert page.get_by_role("img").count() == page.locator("figure").count() > 3


def test_headings_skip_no_level(browser: Any, pages: dict[str, Path]) -> None:
    with opened(browser, pages["h200/video-llava-7b"]) as page:
        headings = page.evaluate(STRUCTURE)["headings"]
        assert all(later - earlier <= 1 for earlier, later in pairwise(headings)), headings


def test_it_is_read_by_keyboard(browser: Any, pages: dict[str, Path]) -> None:
    with opened(browser, pages["h200/video-llava-7b"]) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0, "it is seen where it is"
        page.keyboard.press("Enter")
        page.wait_for_url("**#report")  # a browser goes there in its own time, after the key
        closed = page.locator("details:not([open])").count()
        page.locator("summary").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_function("closed => document.querySelectorAll('details:not([open])').length === closed - 1", arg=closed)
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "the place is seen"
