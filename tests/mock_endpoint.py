"""An OpenAI-style endpoint for tests, which does what its script says."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 3, "completion_tokens": 5}


class Endpoint(ThreadingHTTPServer):
    """Answers with what it was asked, unless `script` (place of the request, body) says otherwise."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict, str]] = []
        self.script = lambda place, body: None
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            place = len(self.server.seen)
            self.server.seen.append((self.path, body, self.headers.get("Authorization", "")))
        status, headers, reply = self.server.script(place, body) or (200, {}, echo(body))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(reply)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        pass


def echo(body: dict, **more: object) -> bytes:
    text = json.dumps(body.get("messages", [{}])[-1].get("content") or body.get("prompt"))
    choice = {"message": {"content": text}} if "messages" in body else {"text": text}
    return json.dumps({"choices": [choice | {"finish_reason": "length"} | more], "usage": USAGE}).encode()
