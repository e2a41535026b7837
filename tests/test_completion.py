"""Completers behind a real HTTP endpoint, and by script."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from phidelity.completion import SamplingParams, ScriptedCompleter
from phidelity.config import UserError
from phidelity.endpoint import HttpCompleter
from phidelity.records import Conversation, Message

ASK = Conversation(id="a", messages=(Message(role="user", content="2+2?"),))


class Endpoint(ThreadingHTTPServer):
    """Answers with what it was asked; the first `busy` requests get status 503, and `status` overrides."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict, str]] = []
        self.busy, self.status = 0, 200
        self.reply: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body, self.headers.get("Authorization", "")))
        status = 503 if len(self.server.seen) <= self.server.busy else self.server.status
        text = json.dumps(body.get("messages", [{}])[-1].get("content") or body.get("prompt"))
        choice = {"message": {"content": text}} if "messages" in body else {"text": text}
        usage = {"prompt_tokens": 3, "completion_tokens": 5}
        reply = (
            self.server.reply
            or json.dumps({"choices": [choice | {"finish_reason": "length"}], "usage": usage}).encode()
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_chats_texts_and_ids_go_to_their_endpoints(endpoint):
    completer = HttpCompleter(endpoint.url, "phi", key="secret")
    heard: list[int] = []
    answers = completer.complete([ASK, "def f", (1, 2)], SamplingParams(stop=("\n",)), lambda i, _: heard.append(i))
    assert [answer.text for answer in answers] == ['"2+2?"', '"def f"', "[1, 2]"]
    assert answers[0].finish_reason == "length"
    assert answers[0].usage.completion_tokens == 5
    assert sorted(heard) == [0, 1, 2]
    paths = sorted(path for path, _, _ in endpoint.seen)
    assert paths == ["/v1/chat/completions", "/v1/completions", "/v1/completions"]
    assert all(key == "Bearer secret" and body["model"] == "phi" for _, body, key in endpoint.seen)
    assert "secret" not in completer.name


def test_a_prompt_asked_twice_gets_two_seeds_and_the_same_ones_again(endpoint):
    def seeds() -> list[int]:
        endpoint.seen.clear()
        HttpCompleter(endpoint.url, "phi", n_parallel=1).complete([ASK, ASK], SamplingParams(temperature=1, seed=3))
        return [body["seed"] for _, body, _ in endpoint.seen]

    first = seeds()
    assert len(set(first)) == 2
    assert seeds() == first


def test_a_busy_endpoint_is_asked_again(endpoint):
    endpoint.busy = 2
    completer = HttpCompleter(endpoint.url, "phi", patience=(0.0, 0.0, 0.0))
    assert completer.complete([ASK], SamplingParams())[0].text == '"2+2?"'
    assert len(endpoint.seen) == 3


def test_an_endpoint_that_refuses_is_not_asked_again(endpoint):
    endpoint.status = 401
    with pytest.raises(UserError, match=r"did not answer \(status 401.*Check url, model and key"):
        HttpCompleter(endpoint.url, "phi").complete([ASK], SamplingParams())
    assert len(endpoint.seen) == 1


def test_an_endpoint_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/v1 did not answer"):
        HttpCompleter("http://127.0.0.1:9/v1", "phi", patience=()).complete([ASK], SamplingParams())


def test_a_reply_of_another_kind_is_refused(endpoint):
    endpoint.reply = b"<html>hello</html>"
    with pytest.raises(UserError, match=r"sent no completion: '<html>"):
        HttpCompleter(endpoint.url, "phi").complete([ASK], SamplingParams())


def test_a_script_answers_by_prompt_and_occurrence():
    completer = ScriptedCompleter(lambda prompt, n: f"{prompt}/{n}")
    answers = completer.complete(["a", "b", "a"], SamplingParams())
    assert [answer.text for answer in answers] == ["a/0", "b/0", "a/1"]
    assert completer.calls == 3
    with pytest.raises(TypeError):
        completer.logprobs([(1, 2)])
