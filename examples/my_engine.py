"""An engine outside: a server with OpenAI's interface on this machine, such as vLLM or SGLang, against evbench's own baseline.

vllm serve FOLDER --port 8000 --limit-mm-per-prompt '{"image": 8}'
evbench compare --pipeline examples/my_engine.py:Engine --model auto --weights FOLDER --baseline baseline --optimized engine
"""

from __future__ import annotations

import base64
import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

import evbench

URL = os.environ.get("ENGINE_URL", "http://127.0.0.1:8000/v1")


class Engine:
    """A server with OpenAI's interface on this machine."""

    variants: dict[str, dict[str, str]] = {"engine": {}}
    evidence = {"engine": [evbench.Evidence("generate", "request to the server", r"function:my_engine\.Engine\.stream$")]}
    compares_with = "any"
    """It stands in for whatever --model says, so that the other side can be a variant of evbench."""
    unseen = ("preprocess", "vision", "generate")
    """The server computes these, and shows neither pixel values nor features nor logits: tokens and times are all that is compared."""

    def __init__(self, workload: evbench.Workload, dtype: str) -> None:
        self.workload = workload
        self.open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # never by way of a proxy
        self.served = json.load(self.reply("/models"))["data"][0]["id"]

    def load(self, path: Path) -> Any:
        """-> frames [count, height, width, 3] uint8."""
        return evbench.frames_of(path, self.workload)

    def preprocess(self, frames: Any) -> list[dict[str, Any]]:
        """-> the message: frames as PNG, and the question."""
        content: list[dict[str, Any]] = []
        for frame in frames:
            file = io.BytesIO()
            Image.fromarray(frame).save(file, "png", compress_level=1)
            url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
            content.append({"type": "image_url", "image_url": {"url": url}})
        return [{"role": "user", "content": [*content, {"type": "text", "text": self.workload.prompt}]}]

    def vision(self, message: Any) -> Any:
        """The server's: nothing is done here, so its time is part of generate."""
        return message

    def generate(self, message: Any, new_tokens: int, choose: Any) -> tuple[list[int], str]:
        """-> tokens and text. Each token is timed when it comes."""
        tokens, text = list[int](), ""
        for piece in self.stream(message, new_tokens):
            if not isinstance(ids := piece.get("token_ids"), list):
                raise evbench.UserError(f"the server at {URL} sends no token_ids; take one that knows return_token_ids, as vLLM does")
            for token in ids:
                choose.unseen()
                tokens.append(token)
            text += piece["delta"].get("content") or ""
        return tokens, text

    def stream(self, message: Any, new_tokens: int) -> Iterator[dict[str, Any]]:
        """The choices of the server's events, as they come."""
        asked = {"model": self.served, "messages": message, "max_tokens": new_tokens, "temperature": 0, "stream": True}
        own = {"ignore_eos": not self.workload.stop_at_end, "return_token_ids": True}  # of vLLM
        with self.reply("/chat/completions", asked | own) as lines:
            for line in lines:
                event = line.decode().strip().removeprefix("data: ")
                if event and event != "[DONE]":
                    # The first event of vLLM has the role of the message and no token.
                    yield from (one for one in json.loads(event)["choices"] if "token_ids" in one or one["delta"].get("content"))

    def reply(self, place: str, asked: dict[str, Any] | None = None) -> Any:
        body = None if asked is None else json.dumps(asked).encode()
        try:
            return self.open(urllib.request.Request(URL + place, body, {"Content-Type": "application/json"}), timeout=600)
        except urllib.error.HTTPError as error:
            raise evbench.UserError(f"the server at {URL} refused {place}: {error.code} {error.read()[:200]!r}; mend that") from error
        except OSError as error:
            raise evbench.UserError(f"no server answers at {URL} ({error}); start one, or set ENGINE_URL") from error
