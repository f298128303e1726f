"""Who may fetch a trace from `evbench open`, and how it ends."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from evbench.cli.open import open_command
from evbench.errors import UserError
from evbench.traces import serve
from evbench.traces.overview import PINNED

pytestmark = pytest.mark.slow

UI = {"Origin": serve.UI}


@contextmanager
def serving(desk: serve.Share) -> Iterator[int]:
    server = serve.listen(desk, 0)
    thread = threading.Thread(target=serve.hand_over, args=(desk, server), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        desk.fetched.set()
        thread.join()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> serve.Share:
    monkeypatch.setattr(serve, "QUIET", 0.2)
    file = tmp_path / "a trace.json.gz"
    file.write_bytes(b"0123456789" * 1000)
    return serve.share(file.name, file.read_bytes(), offline=False)


def ask(port: int, path: str, headers: dict[str, str], method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(serve.HOST, port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_perfetto_gets_the_trace_and_then_nobody_is_served(desk: serve.Share) -> None:
    server = serve.listen(desk, 0)
    port = server.server_address[1]
    thread = threading.Thread(target=serve.hand_over, args=(desk, server), daemon=True)
    thread.start()
    status, headers, body = ask(port, desk.path, UI)
    thread.join(timeout=10)
    assert (status, body) == (200, desk.content)
    assert headers["access-control-allow-origin"] == serve.UI
    assert not thread.is_alive(), "it ends when the trace was fetched"
    with pytest.raises(ConnectionError):
        ask(port, desk.path, UI)


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": serve.UI, "Host": "evil.example:9001"}]
)
def test_nobody_else_gets_it(headers: dict[str, str], desk: serve.Share) -> None:
    with serving(desk) as port:
        status, answered, body = ask(port, desk.path, headers)
    assert status == 404
    assert b"0123456789" not in body
    assert "access-control-allow-origin" not in answered


def begin(port: int, path: str) -> socket.socket:
    """A browser that has asked for the trace, and reads nothing yet."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect((serve.HOST, port))
    reader.sendall(f"GET {path} HTTP/1.0\r\nHost: {serve.HOST}:{port}\r\nOrigin: {serve.UI}\r\n\r\n".encode())
    return reader


def read_all(reader: socket.socket) -> bytes:
    found = b""
    while chunk := reader.recv(2**16):
        found += chunk
    return found.partition(b"\r\n\r\n")[2]


def test_a_slow_reader_is_waited_for(desk: serve.Share) -> None:
    desk.content = b"0123456789" * 2_000_000
    server = serve.listen(desk, 0)
    port = server.server_address[1]
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(serve.hand_over, desk, server)
        with begin(port, desk.path) as slow:
            wait_until(lambda: bool(desk.downloads))
            assert ask(port, desk.path, UI)[2] == desk.content
            wait_until(desk.fetched.is_set)
            with pytest.raises(TimeoutError):
                done.result(timeout=0.3)
            assert read_all(slow) == desk.content
        done.result(timeout=10)


@pytest.mark.parametrize("size", [100, 20_000_000], ids=["all of it in a buffer", "more than any buffer"])
def test_a_download_that_is_broken_off_is_none(size: int, desk: serve.Share) -> None:
    desk.content = b"0" * size
    with serving(desk) as port:
        with begin(port, desk.path) as reader:
            wait_until(lambda: bool(desk.downloads))
            reader.recv(10)
        wait_until(lambda: not desk.downloads)
        assert not desk.fetched.is_set()
        assert ask(port, desk.path, UI)[2] == desk.content
        wait_until(desk.fetched.is_set)


def test_a_reader_that_stalls_is_given_up(desk: serve.Share, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.Handler, "timeout", 0.2)
    desk.content = b"0" * 20_000_000
    with serving(desk) as port, begin(port, desk.path):
        wait_until(lambda: bool(desk.downloads))
        wait_until(lambda: not desk.downloads)
        assert not desk.fetched.is_set()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_checked_is_served_whatever_becomes_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "trace.json"
    file.write_text('{"traceEvents": []}')
    served: list[bytes] = []

    def replaced(shared: serve.Share, server: serve.TraceServer) -> None:
        file.write_text("[another]")
        server.server_close()
        served.append(shared.content)

    monkeypatch.setattr(serve, "PORT", 0)
    monkeypatch.setattr(serve, "open_browser", lambda link: True)
    monkeypatch.setattr(serve, "hand_over", replaced)
    open_command(file)
    assert served == [b'{"traceEvents": []}']


@pytest.mark.parametrize("path", ["/", "/trace.json.gz", "/x/a%20trace.json.gz", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/%00"])
@pytest.mark.parametrize("offline", [False, True])
def test_no_other_file_is_handed_out(path: str, offline: bool, desk: serve.Share, tmp_path: Path) -> None:
    if offline:
        (tmp_path / "viewer").mkdir()
        desk.viewer = tmp_path / "viewer"
    with serving(desk) as port:
        assert ask(port, path, {} if offline else UI)[0] == 404
    assert serve.share(desk.name, desk.content, offline=False).path != desk.path, "the path is drawn by lot"


def test_a_browser_may_ask_first(desk: serve.Share) -> None:
    with serving(desk) as port:
        status, headers, _ = ask(port, desk.path, UI | {"Access-Control-Request-Private-Network": "true"}, "OPTIONS")
        assert (status, headers["access-control-allow-private-network"]) == (204, "true")
        assert ask(port, desk.path, {"Origin": "https://evil.example"}, "OPTIONS")[0] == 404
        assert ask(port, desk.path, UI, "HEAD")[1]["content-length"] == "10000"
        assert not desk.fetched.is_set()


def test_the_link_opens_the_trace_with_its_stages_pinned(desk: serve.Share) -> None:
    link = urlsplit(desk.link(9001))
    query = parse_qs(link.fragment.removeprefix("!/?"))
    assert f"{link.scheme}://{link.netloc}" == serve.UI
    assert query["url"] == [f"http://127.0.0.1:9001{desk.path}"]
    commands = json.loads(query["startupCommands"][0])
    assert commands == [{"id": "dev.perfetto.PinTracksByRegex", "args": [name]} for name in PINNED]


def test_a_taken_port_is_told(desk: serve.Share) -> None:
    with serving(desk) as port, pytest.raises(UserError, match="is taken"):
        serve.listen(desk, port)


def test_without_the_viewer_offline_says_what_to_install(desk: serve.Share, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        serve.share(desk.name, desk.content, offline=True)


def test_without_a_screen_there_is_no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not serve.open_browser("http://127.0.0.1/")
    assert "ssh -L 9001:127.0.0.1:9001" in serve.how_from_elsewhere(9001)
