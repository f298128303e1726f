"""Perfetto's own viewer and its trace processor, in a browser without a window."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from evbench.traces import serve

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
LOADED = "() => window.app && window.app.trace && !window.app.isLoadingTrace"
QUERY = """async query => {
    const result = await window.app.trace.engine.query(query), rows = [];
    for (const row = result.iter({}); row.valid(); row.next()) {
        const values = {};
        for (const column of result.columns()) {
            const value = row.get(column);
            values[column] = typeof value === 'bigint' ? Number(value) : value;
        }
        rows.push(values);
    }
    return rows;
}"""


def browser_path() -> str | None:
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


class Viewer:
    """A trace that is open in Perfetto."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What its trace processor answers."""
        return list(self.page.evaluate(QUERY, query))

    def value(self, query: str) -> Any:
        (row,) = self.rows(query)
        (value,) = row.values()
        return value

    def pinned(self) -> list[str]:
        return list(self.page.evaluate("() => window.app.trace.workspace.pinnedTracks.map(track => track.name)"))


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, trace: Path) -> Iterator[Viewer]:
    """By `evbench open --offline`'s own server and link."""
    desk = serve.share(trace.name, trace.read_bytes(), offline=True)
    server = serve.listen(desk, 0)
    port = server.server_address[1]
    serving = threading.Thread(target=serve.hand_over, args=(desk, server), daemon=True)
    serving.start()
    page = browser.new_page()
    try:
        page.goto(desk.link(port))
        page.wait_for_function(LOADED, timeout=120_000)
        yield Viewer(page)
    finally:
        page.close()
        desk.fetched.set()
        with mock.patch.object(serve, "QUIET", 0.0):
            serving.join()
