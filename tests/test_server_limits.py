"""What a few bytes may cost a server: the loop is held by nobody, memory has bounds, slow readers have an end."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from server_world import Running, error_of, fresh_llm, post, raw, served, status_of

from phidelity.completion import SamplingParams
from phidelity.server import answer, events, run
from phidelity.server.events import to_json

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "The cat?"}]}
HEAVY = {**ASKED, "max_tokens": 900, "ignore_eos": True, "logprobs": True, "top_logprobs": 20, "temperature": 1}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with served() as running:
        yield running
        assert running.is_at_rest()


@contextmanager
def watched(server: Running) -> Iterator[list[float]]:
    """How long each look at /health took while the block ran."""
    seconds: list[float] = []
    is_over = threading.Event()

    def look() -> None:
        with httpx.Client(base_url=server.url) as client:
            while not is_over.is_set():
                began = time.monotonic()
                client.get("/health", timeout=60)
                seconds.append(time.monotonic() - began)
                time.sleep(0.01)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        while not seconds:
            time.sleep(0.01)
        yield seconds
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (TEXT, b'{"prompt": [' + b"{}," * 160_000 + b"{}]}", 413),
        (TEXT, b'{"prompt": [' + b"{}," * 2_600_000 + b"{}]}", 413),
        (TEXT, b'{"prompt": [' + b"{}," * 19_000 + b"{}]}", 400),
        (TEXT, b'{"prompt": [' + b"[1]," * 2_000_000 + b"[1]]}", 413),
        (TEXT, b'{"prompt": [' + b'"a",' * 200_000 + b'"a"]}', 400),
        (CHAT, b'{"messages": [' + b"{}," * 19_000 + b"{}]}", 400),
        (CHAT, b'{"messages": [], "stop_token_ids": [' + b'"",' * 160_000 + b'""]}', 400),
        (CHAT, b'{"messages": [], "a": [' + b"[]," * 2_700_000 + b"1]}", 413),
        (CHAT, json.dumps({**ASKED, "logit_bias": {str(n): "" for n in range(200_000)}}).encode(), 400),
        ("/tokenize", b'{"prompt": "' + b" " * 1_000_000 + b'"}', 200),
    ],
)
def test_a_body_of_many_small_things_holds_nobody_up(server: Running, path: str, body: bytes, status: int) -> None:
    with watched(server) as seconds:
        reply = raw(server.port, post(path, body), seconds=60)
    assert status_of(reply) == status
    assert len(reply) < 2500 or status == 200
    assert max(seconds) < 2.0  # it was 3 to 100 s; tenths on an idle machine


def test_commas_and_brackets_in_texts_are_no_values(server: Running) -> None:
    content = '[{,\\"' * 200_000
    reply = httpx.post(server.url + CHAT, json={"messages": [{"role": "user", "content": content}]}, timeout=60)
    assert reply.json()["error"]["code"] == "context_length_exceeded"


def test_a_large_whole_answer_is_written_beside_the_loop(server: Running) -> None:
    with watched(server) as seconds:
        found = httpx.post(server.url + CHAT, json={**HEAVY, "max_tokens": 200, "n": 8}, timeout=120).json()
    assert [len(one["logprobs"]["content"]) for one in found["choices"]] == [200] * 8
    assert max(seconds) < 2.0


def test_json_in_pieces_is_json() -> None:
    value = {
        "a": [{"b": [1, 2.5, None]}, [], {}],
        "c": {"d": {"e": {"f": {"g": ["x", {"y": 1}]}}}},
        "é": list(range(2500)),
    }
    assert json.loads(to_json(value)) == value
    assert json.loads(to_json([])) == []


def connected(server: Running, body: dict[str, Any], more: bytes = b"", buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(post(CHAT, json.dumps(body).encode()).replace(b"Connection: close\r\n", b"") + more)
    return connection


def test_a_slow_reader_has_the_time_of_a_request_and_no_more() -> None:
    slow = {**HEAVY, "n": 64, "stream": True}
    with served(queue=0, timeout=2) as running, connected(running, slow, buffer=2048) as connection:
        connection.recv(100)
        began = time.monotonic()
        while running.service.n_open and time.monotonic() < began + 30:
            time.sleep(0.2)
            with suppress(ConnectionError):
                connection.recv(100)
        assert running.is_at_rest()
        assert time.monotonic() - began < 25
        assert httpx.post(running.url + CHAT, json={**ASKED, "max_tokens": 1}).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_sends_more_and_then_leaves_is_seen(server: Running, stream: bool) -> None:
    before = server.stats().get("completion_tokens", 0)
    body = {**ASKED, "max_tokens": 900, "ignore_eos": True, "temperature": 1, "n": 16, "stream": stream}
    with connected(server, body, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"):
        while server.stats().get("completion_tokens", 0) < before + 50:
            time.sleep(0.005)
    assert server.is_at_rest()
    assert server.stats()["completion_tokens"] - before < 16 * 800


def test_a_request_behind_another_is_left_and_the_connection_closed(server: Running) -> None:
    with connected(
        server, {**ASKED, "max_tokens": 200, "ignore_eos": True}, post("/tokenize", b'{"prompt": "x"}')
    ) as one:
        one.settimeout(20)
        received = b""
        while part := one.recv(1 << 16):
            received += part
    assert received.count(b"HTTP/1.1 200") == 1
    assert json.loads(received.split(b"\r\n\r\n", 1)[1])["choices"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 1_000_000,
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_a_head_has_a_length(server: Running, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        received = b""
        try:
            for at in range(0, len(head), 50_000):
                connection.sendall(head[at : at + 50_000])
                time.sleep(0.01)
            received = connection.recv(1 << 16)
        except ConnectionError:
            return  # closed before all was sent
    assert status_of(received) == 431
    assert str(run.HEAD)[:2] in error_of(received)["message"]


def test_bodies_in_memory_have_a_bound() -> None:
    with served(body_bytes=100_000, held_bytes=250_000, body_timeout=20) as running:
        stalled = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(3)]
        for one in stalled:
            one.sendall(post(CHAT, b"x" * 90_000, length=95_000))
        one = stalled[-1]
        one.settimeout(10)
        assert status_of(one.recv(1000)) == 503
        for one in stalled:
            one.close()
        end = time.monotonic() + 10
        while httpx.post(running.url + CHAT, json={**ASKED, "max_tokens": 1}).status_code != 200:
            assert time.monotonic() < end


def test_progress_and_times_of_a_long_prompt_are_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "TICK", 0.001)
    llm = fresh_llm()
    llm.warm()
    assert llm.engine
    llm.engine.runner.budget = 16  # so that the prompt takes many steps
    body = {"messages": [{"role": "user", "content": "x " * 400}], "stream": True, "max_tokens": 4, "n": 3}
    with served(llm) as running, httpx.stream("POST", running.url + CHAT, json=body, timeout=60) as reply:
        began, first, told = time.monotonic(), 0.0, []
        timings: dict[str, Any] = {}
        for line in reply.iter_lines():
            if line.startswith(": prompt "):
                told.append(tuple(map(int, line.removeprefix(": prompt ").split("/"))))
            if line.startswith("data: {"):
                data = json.loads(line.removeprefix("data: "))
                if data["choices"][0]["delta"].get("content"):
                    first = first or time.monotonic() - began
                timings = data.get("timings") or timings
        asked = running.llm.stats()["prompt_tokens"]
    of = {of for _, of in told}
    assert len(told) > 3
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(of) == 1
    assert of.pop() < 900 < asked
    assert timings["prompt_ms"] / 1000 > 0.5 * first
    assert timings["predicted_ms"] < timings["prompt_ms"]


def test_a_stream_without_trouble_outlives_the_patience_with_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STUCK", 0.2)
    with served(fresh_llm(n_running=1)) as running:
        busy = running.llm.submit((1, 2), SamplingParams(max_tokens=600, ignore_end=True))
        body = {**ASKED, "stream": True, "max_tokens": 300, "ignore_eos": True}
        with httpx.stream("POST", running.url + CHAT, json=body, timeout=60) as reply:
            assert [line for line in reply.iter_lines() if line][-1] == "data: [DONE]"
        assert busy.is_done
