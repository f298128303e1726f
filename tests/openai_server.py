"""A small server with the part of OpenAI's interface that examples/my_engine.py asks for. It knows one answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def serving(tokens: Sequence[int], *, with_ids: bool = True) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address, and the requests for answers so far.

    Args:
        tokens: the answer, of which as many as are asked for are streamed.
        with_ids: whether it sends token ids.
    """
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            self._answer("application/json", json.dumps({"data": [{"id": "served"}]}).encode())

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(request)
            events = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]
            for token in tokens[: request["max_tokens"]]:
                events.append(
                    {"choices": [{"index": 0, "delta": {"content": f" {token}"}, **({"token_ids": [token]} if with_ids else {})}]}
                )
            self._answer(
                "text/event-stream", b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
            )

        def _answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
