"""What a server meets from strangers, against the real one over real sockets: the right status, and it stays up."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import phi_process
from server_world import NAME, Running, error_of, fresh_llm, model, post, raw, served, status_of, tokenizer

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.config import UserError
from phidelity.server import events, guard, run
from phidelity.server.auth import read_keys
from phidelity.server.service import Service

CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "The cat?"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with served(body_bytes=1 << 20, body_timeout=1.0) as running:
        yield running
        assert running.is_at_rest()
        assert httpx.post(running.url + CHAT, json=ASKED).status_code == 200


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "body"),
        (b"{", "not valid JSON"),
        (b'{"messages": [}', "not valid JSON"),
        (b"[" * 10_000, "recursion limit"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "recursion limit"),
        (b'{"messages": "\xff\xfe"}', "body"),
        (b"\x00\x01\x02", "not valid JSON"),
        (b"null", "body"),
        (b"[]", "body"),
        (b'"text"', "body"),
        (b"1e999", "body"),
        (b'{"messages": 3}', "messages"),
        (b'{"messages": [{"role": "user"}]}', "content"),
        (b'{"messages": [{"role": "user", "content": 3}]}', "content"),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', "temperature"),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}', "temperature"),
        (b'{"messages": [{"role": "user", "content": "x"}], "seed": 123456789012345678901234567890}', "seed"),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": true}', "max_tokens"),
        (b'{"messages": [{"role": "user", "content": "x"}], "stop": [1]}', "stop"),
        (b'{"messages": [{"role": "user", "content": "x"}], "n": 1000000}', "n"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_400_in_openais_shape(server: Running, body: bytes, told: str) -> None:
    reply = raw(server.port, post(CHAT, body))
    assert status_of(reply) == 400
    error = error_of(reply)
    assert set(error) == {"message", "type", "param", "code"}
    assert told in error["message"]
    assert len(error["message"]) < 2100


def test_half_characters_are_replaced(server: Running) -> None:
    body = b'{"messages": [{"role": "user", "content": "\\ud800 x"}], "max_tokens": 1}'
    assert status_of(raw(server.port, post(CHAT, body))) in (200, 400)
    body = b'{"messages": [{"role": "\\ud800", "content": "x"}], "\\udfff": 1}'
    assert status_of(raw(server.port, post(CHAT, body))) == 400


def test_a_body_of_100_mb_is_refused_and_cut_off(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LINGER", 0.01)
    announced = raw(server.port, post(CHAT, b"{", length=100_000_000))
    assert status_of(announced) == 413
    assert error_of(announced)["code"] == "body_too_large"
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    ).encode()
    part = b"%x\r\n%b\r\n" % (1 << 16, b" " * (1 << 16))
    sent, received = 0, b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head)
        try:
            for _ in range(4000):
                connection.sendall(part)
                sent += len(part)
        except OSError:
            pass
        with suppress(OSError):
            received = connection.recv(1 << 16)
    assert sent < 260_000_000
    assert not received or status_of(received) == 413


def test_whoever_sends_100_mb_sees_why_not(server: Running) -> None:
    for body in (b" " * 100_000_000, (b" " * 1_000_000 for _ in range(100))):
        reply = httpx.post(server.url + CHAT, content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code == 413
        assert reply.json()["error"]["code"] == "body_too_large"


def test_a_body_that_comes_too_slowly_is_a_408(server: Running) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(post(CHAT, b"", length=100))
        for _ in range(4):
            connection.sendall(b" ")
            time.sleep(0.2)
        reply = b""
        while part := connection.recv(1 << 16):
            reply += part
    assert status_of(reply) == 408
    assert time.monotonic() - began < 5


def test_a_head_that_never_ends_is_closed(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.Connection, "idle", 0.5)
    for opening in (b"", b"POST /v1/chat/comp", b"GET /health HTTP/1.1\r\nX-A: "):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            began = time.monotonic()
            closed = False
            while not closed and time.monotonic() - began < 8:
                try:
                    connection.sendall(opening or b"")
                    opening = b"a" if opening else b""
                    connection.settimeout(0.1)
                    closed = connection.recv(100) == b""
                except TimeoutError:
                    continue
                except OSError:
                    closed = True
            assert closed
            assert time.monotonic() - began < 5
    assert httpx.get(server.url + "/health").json() == {"status": "ready"}


def test_what_is_no_http_is_told_so(server: Running) -> None:
    assert status_of(raw(server.port, b"HELLO\r\n\r\n")) == 400
    assert status_of(raw(server.port, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")) == 200
    huge = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 3_000_000
    raw(server.port, huge + b"\r\n\r\n", seconds=3)
    assert httpx.get(server.url + "/health").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CHAT, 405), ("POST", "/v1/nothing", 404), ("GET", "/v1/models/other", 404), ("DELETE", "/health", 405),
        ("GET", "/../../etc/passwd", 404), ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404), ("POST", "/v1/embeddings", 404),
    ],
)  # fmt: skip
def test_paths_that_are_not_there(server: Running, method: str, path: str, status: int) -> None:
    reply = httpx.request(method, server.url + path)
    assert reply.status_code == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("after", [0, 60, 150])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_at_any_stage_costs_nothing(server: Running, stream: bool, after: int) -> None:
    body = json.dumps({**ASKED, "stream": stream, "max_tokens": 900, "ignore_eos": True}).encode()
    request = post(CHAT, body)
    before = server.stats().get("completion_tokens", 0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request[:after] if after else request)
        if not after:
            if stream:
                connection.recv(10)
            else:
                while server.stats().get("completion_tokens", 0) < before + 3:
                    time.sleep(0.005)
    assert server.is_at_rest()
    assert server.stats().get("completion_tokens", 0) - before < 800


def test_a_reader_that_takes_nothing_is_left_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STUCK", 1.0)
    monkeypatch.setattr(events, "LAST", 0.5)
    with served() as running:
        body = {
            **ASKED,
            "stream": True,
            "max_tokens": 1000,
            "ignore_eos": True,
            "logprobs": True,
            "top_logprobs": 20,
            "n": 16,
        }
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", running.port))
            connection.sendall(post(CHAT, json.dumps(body).encode()))
            assert running.is_at_rest(40)


def test_the_queue_is_bounded_and_says_when_to_come_again() -> None:
    with served(fresh_llm(n_running=1), queue=2) as running:
        body = {**ASKED, "max_tokens": 900, "ignore_eos": True, "stream": True, "n": 3}
        with httpx.stream("POST", running.url + CHAT, json=body) as busy:
            lines = busy.iter_lines()
            next(lines)
            refused = httpx.post(running.url + CHAT, json=ASKED)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            lines.close()
        assert running.is_at_rest()
        assert httpx.post(running.url + CHAT, json=ASKED).status_code == 200
        assert httpx.post(running.url + CHAT, json={**ASKED, "n": 5}).status_code == 400
        assert 'status="429"} 1' in httpx.get(running.url + "/metrics").text


def test_a_request_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(timeout=0.3) as running:
        body = {**ASKED, "max_tokens": 1000, "ignore_eos": True, "n": 32, "temperature": 1}
        assert httpx.post(running.url + CHAT, json=body, timeout=20).status_code == 504
        with httpx.stream("POST", running.url + CHAT, json={**body, "stream": True}, timeout=20) as reply:
            lines = [line for line in reply.iter_lines() if line]
        assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "timeout"
        assert running.is_at_rest()


def test_keys_open_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(
        "# ours\nplain-key\nsha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n"
    )
    keys = read_keys(tmp_path / "keys")
    assert keys.n_readable == 1
    assert "plain-key" not in repr(keys)
    with served(keys=keys) as running:
        for header, status in (
            ({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": "Bearer plain-key"}, 200),
            ({"Authorization": "Bearer foo"}, 200), ({"Authorization": "Basic plain-key"}, 401),
            ({"Authorization": "Bearer \xe9"}, 401),
        ):  # fmt: skip
            raw_headers = {name: value.encode("latin-1") for name, value in header.items()}
            reply = httpx.post(running.url + CHAT, json=ASKED, headers=raw_headers)
            assert reply.status_code == status
            if status == 401:
                assert reply.json()["error"]["code"] == "invalid_api_key"
        assert httpx.get(running.url + "/metrics").status_code == 401
        assert httpx.post(running.url + "/tokenize", json={"prompt": "x"}).status_code == 401
        for open_to_all in ("/health", "/docs", "/openapi.json"):
            assert httpx.get(running.url + open_to_all).status_code == 200


def test_keys_beyond_ascii_and_digests_as_they_are_pasted(tmp_path: Path) -> None:
    digest = hashlib.sha256("schlüssel".encode()).hexdigest()
    for text in ("schlüssel\n", f"sha256:{digest}\n", f"sha256:{digest}  -\n"):
        (tmp_path / "keys").write_text(text, encoding="utf-8")
        keys = read_keys(tmp_path / "keys")
        assert keys.admits("Bearer schlüssel".encode().decode("latin-1"))
        assert not keys.admits("Bearer schlussel")
    (tmp_path / "keys").write_text(f"# ours\nsha256:{digest[:-1]}\n")
    with pytest.raises(UserError, match="line 2: sha256: is followed by 63"):
        read_keys(tmp_path / "keys")


@pytest.mark.parametrize("text", ["", "# nothing\n\n"])
def test_a_key_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(UserError, match="no key"):
        read_keys(tmp_path / "keys")


def test_other_sites_and_other_names_are_kept_out() -> None:
    with served(hosts=("127.0.0.1",), origins=("https://friend.example",)) as running:
        assert httpx.get(running.url + "/health", headers={"Host": "evil.example"}).status_code == 403
        evil = httpx.post(running.url + CHAT, json=ASKED, headers={"Origin": "https://evil.example"})
        assert evil.status_code == 403
        assert "access-control-allow-origin" not in evil.headers
        friend = httpx.post(running.url + CHAT, json=ASKED, headers={"Origin": "https://friend.example"})
        assert friend.headers["access-control-allow-origin"] == "https://friend.example"
        asked_before = {
            "Origin": "https://friend.example", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }  # fmt: skip
        assert httpx.options(running.url + CHAT, headers=asked_before).status_code == 200
        assert httpx.post(running.url + CHAT, json=ASKED, headers={"Origin": running.url}).status_code == 200
        for host in ("192.168.1.5:80", "[::1]:80", "127.0.0.2"):  # no name leads to an address
            assert httpx.get(running.url + "/health", headers={"Host": host}).status_code == 200
        for host in ("evil.example:8000", "127.0.0.1.evil.example", "1.2.3", "[::1", ""):
            assert httpx.get(running.url + "/health", headers={"Host": host}).status_code in (400, 403)


@pytest.mark.parametrize(("arguments", "status"), [((), 403), (("--allow-host", "phi.example"), 200)])
def test_without_keys_the_command_answers_to_its_own_names_wherever_it_listens(
    phi: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], status: int
) -> None:
    save_checkpoint(tmp_path / "model", model(), tokenizer())
    found: list[tuple[str, ...]] = []

    def serve(service: Service, listener: socket.socket, *rest: Any, **more: Any) -> None:
        found.append(service.settings.hosts)
        listener.close()

    with monkeypatch.context() as patched:
        patched.setattr(run, "serve", serve)
        for how in (("--host", "127.0.0.2"), ("--host", "0.0.0.0", "--insecure")):
            done = phi("serve", tmp_path / "model", "--port", "0", *how, *arguments)
            assert done.returncode == 0, done.stderr
    for hosts in found:
        with served(hosts=hosts) as running:
            for host, expected in (("phi.example:1", status), ("localhost", 200), ("127.0.0.2:80", 200)):
                assert httpx.get(running.url + "/health", headers={"Host": host}).status_code == expected


def test_loading_is_said_and_then_it_is_ready() -> None:
    gate, llm = threading.Event(), fresh_llm()

    def load() -> Any:
        gate.wait(20)
        return llm

    with served(llm, load=load) as running:
        health = httpx.get(running.url + "/health")
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        refused = httpx.post(running.url + CHAT, json=ASKED)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "loading")
        assert refused.headers["retry-after"]
        gate.set()
        end = time.monotonic() + 20
        while httpx.get(running.url + "/health").status_code != 200 and time.monotonic() < end:
            time.sleep(0.05)
        assert httpx.post(running.url + CHAT, json=ASKED).status_code == 200


def test_draining_ends_what_runs_and_takes_nothing_new() -> None:
    with served() as running:
        body = {**ASKED, "max_tokens": 400, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", running.url + CHAT, json=body, timeout=30) as busy:
            lines = busy.iter_lines()
            next(lines)
            running.server.loop.call_soon_threadsafe(running.server.begin_drain)
            time.sleep(0.05)
            if running.service.n_open:
                assert httpx.get(running.url + "/health").json() == {"status": "draining"}
                assert httpx.post(running.url + CHAT, json=ASKED).status_code == 503
            assert list(lines)[-2:] == ["data: [DONE]", ""]


def test_a_drain_does_not_wait_for_ever() -> None:
    with served(drain=0.2) as running:
        body = {**ASKED, "max_tokens": 1000, "ignore_eos": True, "stream": True, "n": 32, "temperature": 1}
        with httpx.stream("POST", running.url + CHAT, json=body, timeout=30) as busy:
            lines = busy.iter_lines()
            next(lines)
            running.server.loop.call_soon_threadsafe(running.server.begin_drain)
            rest = [line for line in lines if line]
        assert "shutting down" in rest[-1]


def test_the_command_serves_a_run_and_ends_on_sigterm(small_run: Path) -> None:
    process = phi_process("serve", small_run, "--port", "0")
    try:
        lines = [process.stdout.readline() for _ in range(3)]  # type: ignore[union-attr]
        assert lines[0].startswith("loading")
        assert lines[1].startswith("ready: run at http://127.0.0.1:")
        url = lines[1].split(" at ")[1].split(" ")[0]
        curl = subprocess.run(lines[2].removeprefix("try: "), shell=True, capture_output=True, text=True, check=True)
        assert json.loads(curl.stdout)["choices"][0]["message"]["content"] is not None
        assert "miniature" in httpx.get(url + "/v1/models").json()["data"][0]["notice"]
        taken = phi_process("serve", small_run, "--port", url.rsplit(":", 1)[1])
        _, error = taken.communicate(timeout=60)
        assert taken.returncode == 1
        assert "--port" in error
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=30)
        assert process.returncode == 0, error
        assert "memory:" in error
        assert "Traceback" not in error
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()


def test_a_server_without_model_or_open_to_all_is_refused(phi: Any, tmp_path: Path, small_run: Path) -> None:
    missing = phi("serve", tmp_path / "nothing")
    assert (missing.returncode, "does not exist" in missing.stderr) == (1, True)
    exposed = phi("serve", small_run, "--host", "0.0.0.0")
    assert exposed.returncode == 1
    assert "--api-key-file" in exposed.stderr
    elsewhere = phi("serve", small_run, "--host", "no.such.host.invalid")
    assert elsewhere.returncode == 1
    assert "--host" in elsewhere.stderr


def test_tokens_and_templates(server: Running) -> None:
    def ask(path: str, **body: Any) -> Any:
        return httpx.post(server.url + path, json=body)

    found = ask("/tokenize", prompt="the cat<|im_end|>").json()
    assert found["count"] == len(found["tokens"]) > 5
    assert ask("/detokenize", tokens=found["tokens"]).json()["prompt"] == "the cat<|im_end|>"
    chat = ask("/tokenize", messages=[{"role": "user", "content": "hi"}]).json()["tokens"]
    assert ask("/detokenize", tokens=chat).json()["prompt"].endswith("<|im_start|>assistant<|im_sep|>")
    assert (
        ask("/apply-template", messages=[{"role": "user", "content": "hi"}])
        .json()["prompt"]
        .startswith("<|im_start|>user")
    )
    assert ask("/detokenize", tokens=[10**6]).status_code == 400
    assert ask("/tokenize").status_code == 400
    assert ask("/tokenize", prompt="x", model="other").status_code == 404
    assert ask("/tokenize", prompt="x", model=NAME).status_code == 200
    assert "http" not in httpx.get(server.url + "/docs").text.split("<main")[1]
