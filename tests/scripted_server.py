"""The chat window's files and a scripted model behind OpenAI's streaming API: for what no real model says on demand.

The script decides by the last message; the policy and the files are those of the real server.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from phidelity.server.app import SAFE, WEB

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
MODEL = {"id": "tiny", "object": "model", "created": 0, "owned_by": "phidelity", "max_model_len": 512}
Refusal = tuple[int, dict[str, Any], dict[str, str]]
Script = Callable[[dict[str, Any]], "Iterator[Any] | Refusal"]
"""Of a request's body: pieces of text, of (text, tokens), seconds to wait, or None to break off; or a refusal."""


class Scripted(ThreadingHTTPServer):
    """Serves until shut down; keeps the bodies it was asked with and how many clients left early."""

    daemon_threads = True

    def __init__(self, script: Script, model: dict[str, Any] | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.script, self.model = script, MODEL | (model or {})
        self.asked: list[dict[str, Any]] = []
        self.n_left = 0
        self.key = ""

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            return self._keyed(lambda: self._json(200, {"object": "list", "data": [self.server.model]}))
        name = self.path.split("?")[0].strip("/") or "index.html"
        file = WEB / name
        if "/" in name or not file.is_file():
            return self._json(404, {"error": {"message": "not here"}})
        return self._send(200, file.read_bytes(), {**SAFE, "Content-Type": KINDS[file.suffix]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._keyed(lambda: self._answer(body))

    def _keyed(self, act: Callable[[], None]) -> None:
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            return self._json(401, {"error": {"message": "no key"}})
        return act()

    def _answer(self, body: dict[str, Any]) -> None:
        self.server.asked.append(body)
        answer = self.server.script(body)
        if isinstance(answer, tuple):
            status, error, headers = answer
            return self._json(status, {"error": error}, headers)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            n = self._stream(answer)
        except OSError:
            self.server.n_left += 1
            return None
        if n is None:
            return None
        usage = {"prompt_tokens": 5, "completion_tokens": n, "total_tokens": n + 5}
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")
        return None

    def _stream(self, pieces: Iterator[Any]) -> int | None:
        n = 0
        for piece in pieces:
            if piece is None:
                return None
            if isinstance(piece, float):
                time.sleep(piece)
                continue
            text, tokens = piece if isinstance(piece, tuple) else (piece, None)
            n += len(tokens) if tokens else 1
            logprobs = {"content": tokens} if tokens else None
            self._event(
                {"choices": [{"index": 0, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": None}]}
            )
        return n

    def _event(self, data: Any) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def _json(self, status: int, data: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def scripted(script: Script, **how: Any) -> Iterator[Scripted]:
    """A scripted server while the block lasts."""
    server = Scripted(script, **how)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
