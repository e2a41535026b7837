"""A real server in this process: uvicorn on a thread, a small random model, and clients of every kind."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch

from phidelity.engine.llm import LLM
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.server import run
from phidelity.server.service import Service, Settings
from phidelity.tokenizer.bpe import Tokenizer, train

CONTEXT = 1024
NAME = "tiny"


@cache
def tokenizer() -> Tokenizer:
    return train(['the cat sat on the mat and 12 cats sat there with the dog, "né" {"name": true}'] * 3, 400)


@cache
def model() -> Transformer:
    config = ModelConfig(
        n_layers=2, d_model=32, n_heads=4, n_kv_heads=2, d_ff=64, vocab_size=416, context_len=CONTEXT,
        rope_theta=10_000.0,
    )  # fmt: skip
    return Transformer(config).initialise(torch.Generator().manual_seed(1)).requires_grad_(False)


def fresh_llm(**options: Any) -> LLM:
    return LLM(model(), tokenizer(), "digest", **options)


class Running(NamedTuple):
    """A server that answers."""

    url: str
    port: int
    service: Service
    llm: LLM
    server: run.Server

    def stats(self) -> dict[str, int]:
        return self.llm.stats()

    def is_at_rest(self, seconds: float = 10.0) -> bool:
        """Whether everything ends soon and every block comes back."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            stats = self.stats()
            is_free = stats.get("blocks_free") == stats.get("blocks")
            if is_free and not (stats["running"] or stats["waiting"] or self.service.n_open):
                return True
            time.sleep(0.02)
        return False


@contextmanager
def served(llm: LLM | None = None, drain: float = 5.0, load: Any = None, **settings: Any) -> Iterator[Running]:
    """A server on a free port; everything is stopped at the end."""
    llm = llm or fresh_llm()
    listener = run.bind("127.0.0.1", 0, has_keys=True, forced=False)
    url = run.url_of(listener)
    service = Service(Settings(**{"name": NAME, "notice": "a miniature", **settings}))
    ready, servers = threading.Event(), []
    thread = threading.Thread(
        target=run.serve,
        args=(service, listener, load or (lambda: llm)),
        kwargs={"drain": drain, "on_ready": ready.set, "on_server": servers.append},
    )
    thread.start()
    try:
        assert load or ready.wait(30)
        while not servers:
            time.sleep(0.01)
        yield Running(url, int(url.rsplit(":", 1)[1]), service, llm, servers[0])
    finally:
        if servers and thread.is_alive():
            servers[0].loop.call_soon_threadsafe(servers[0].begin_drain)
        thread.join(30)
        llm.close()
        assert not thread.is_alive()


def raw(port: int, data: bytes, *, seconds: float = 10.0) -> bytes:
    """What a server sends for these bytes, until it closes or `seconds` pass."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        received = b""
        try:
            connection.sendall(data)
            while part := connection.recv(1 << 16):
                received += part
        except (TimeoutError, ConnectionError):
            pass
        return received


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A request as bytes, after which the connection is closed."""
    head = [
        f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}", *headers,
    ]  # fmt: skip
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply else 0


def error_of(reply: bytes) -> dict[str, Any]:
    return json.loads(reply.split(b"\r\n\r\n", 1)[1])["error"]
