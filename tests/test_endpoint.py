"""A Completer behind a real HTTP endpoint that answers well, badly, late, or not any more."""

import json
import threading
import time

import pytest
from mock_endpoint import echo

from phidelity.completion import SamplingParams
from phidelity.config import UserError
from phidelity.endpoint import HttpCompleter
from phidelity.records import Conversation, Message
from phidelity.traffic import Limits, Pacer, wait_before

ASK = Conversation(id="a", messages=(Message(role="user", content="2+2?"),))
GREEDY = SamplingParams()


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
    assert "secret" not in completer.name + repr(completer)


def test_a_prompt_asked_twice_gets_two_seeds_and_the_same_ones_again(endpoint):
    def seeds() -> list[int]:
        endpoint.seen.clear()
        HttpCompleter(endpoint.url, "phi", n_parallel=1).complete([ASK, ASK], SamplingParams(temperature=1, seed=3))
        return [body["seed"] for _, body, _ in endpoint.seen]

    first = seeds()
    assert len(set(first)) == 2
    assert seeds() == first


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_endpoint_is_asked_again(endpoint, status):
    endpoint.script = lambda place, body: (status, {}, b"busy") if place < 2 else None
    completer = HttpCompleter(endpoint.url, "phi", patience=(0.0, 0.0, 0.0))
    assert completer.complete([ASK], GREEDY)[0].text == '"2+2?"'
    assert len(endpoint.seen) == 3
    assert (completer.totals.requests, completer.totals.retries, completer.totals.failures) == (3, 2, 0)


def test_what_is_damaged_on_the_way_is_asked_again(endpoint):
    damaged = [b'{"choices": [{"mess', b"<html><body>Bad gateway</body></html>", b'{"error": "try later"}', b"\xff\xfe"]
    endpoint.script = lambda place, body: (200, {}, damaged[place]) if place < len(damaged) else None
    assert HttpCompleter(endpoint.url, "phi", patience=(0.0,) * 4).complete([ASK], GREEDY)[0].text == '"2+2?"'
    assert len(endpoint.seen) == 5


def test_an_endpoint_that_asks_for_a_pause_gets_it(endpoint):
    endpoint.script = lambda place, body: (429, {"Retry-After": "0.4"}, b"slow down") if place == 0 else None
    start = time.monotonic()
    HttpCompleter(endpoint.url, "phi", patience=(0.0,)).complete([ASK], GREEDY)
    assert time.monotonic() - start >= 0.4


def test_an_endpoint_that_asks_for_an_hour_has_refused(endpoint):
    endpoint.script = lambda place, body: (429, {"Retry-After": "3600"}, b"quota")
    with pytest.raises(UserError, match=r"asks to wait 360[01] s; status 429: quota"):
        HttpCompleter(endpoint.url, "phi").complete([ASK], GREEDY)
    assert len(endpoint.seen) == 1


def test_pauses_grow_with_jitter_and_heed_the_endpoint():
    waits = [wait_before(8.0, {}, f"request {n}", 1) for n in range(200)]
    assert min(waits) >= 4.0
    assert max(waits) <= 8.0
    assert len(set(waits)) > 190
    assert 30 <= wait_before(1.0, {"retry-after": "30"}, "request", 1) <= 31
    assert wait_before(1.0, {"retry-after": "Mon, 01 Jan 2024 00:00:00 GMT"}, "request", 1) <= 1
    assert wait_before(1.0, {"retry-after": "soon"}, "request", 1) <= 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_refuses_is_not_asked_again(endpoint, status):
    endpoint.script = lambda place, body: (status, {}, b"no such key or model")
    with pytest.raises(UserError, match=rf"did not answer \(status {status}.*Check url, model and key"):
        HttpCompleter(endpoint.url, "phi", n_parallel=1).complete([ASK] * 5, GREEDY)
    assert len(endpoint.seen) == 1


def test_an_endpoint_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/v1 did not answer"):
        HttpCompleter("http://127.0.0.1:9/v1", "phi", patience=()).complete([ASK], GREEDY)


def test_a_reply_of_another_kind_is_refused(endpoint):
    endpoint.script = lambda place, body: (200, {}, b"<html>hello</html>")
    with pytest.raises(UserError, match=r"sent no completion: '<html>"):
        HttpCompleter(endpoint.url, "phi", patience=()).complete([ASK], GREEDY)


def test_an_endpoint_that_dies_halfway_leaves_what_it_said(endpoint):
    endpoint.script = lambda place, body: (500, {}, b"out of memory") if place >= 10 else None
    heard: list[int] = []
    completer = HttpCompleter(endpoint.url, "phi", n_parallel=2, patience=(0.0,))
    with pytest.raises(UserError, match=r"after 10 of 40 answers \(status 500: out of memory\)"):
        completer.complete(["p"] * 40, GREEDY, lambda index, _: heard.append(index))
    assert len(heard) == 10
    assert len(endpoint.seen) < 40


def test_one_question_that_cannot_be_answered_is_an_error_among_answers(endpoint):
    endpoint.script = lambda place, body: (400, {}, b"bad prompt") if body["prompt"] == "b" else None
    answers = HttpCompleter(endpoint.url, "phi").complete(["a", "b", "c"], GREEDY)
    assert [answer.finish_reason for answer in answers] == ["length", "error", "length"]


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 512 tokens.",
        '{"error": {"code": 400, "type": "exceed_context_size_error"}}',
        "the request exceeds the available context size, try increasing it",
    ],
)
def test_a_prompt_over_the_context_is_said_to_be_so(endpoint, message):
    endpoint.script = lambda place, body: (400, {}, message.encode())
    (answer,) = HttpCompleter(endpoint.url, "phi").complete([ASK], GREEDY)
    assert (answer.text, answer.finish_reason) == ("", "context_exceeded")


def test_a_null_content_is_an_empty_answer_that_says_so(endpoint):
    endpoint.script = lambda place, body: (200, {}, echo(body, message={"content": None}))
    (answer,) = HttpCompleter(endpoint.url, "phi").complete([ASK], GREEDY)
    assert (answer.text, answer.finish_reason) == ("", "null")


def test_odd_contents_and_counts_lose_no_answer(endpoint):
    parts = [{"type": "text", "text": "4"}, {"type": "image_url"}, {"type": "text", "text": "2"}]
    reply = {"choices": [{"message": {"content": parts}}], "usage": {"prompt_tokens": -1, "completion_tokens": 1.5}}
    endpoint.script = lambda place, body: (200, {}, json.dumps(reply).encode())
    (answer,) = HttpCompleter(endpoint.url, "phi").complete([ASK], GREEDY)
    assert (answer.text, answer.usage.prompt_tokens, answer.usage.completion_tokens) == ("42", 0, 0)


def test_a_reply_nested_without_end_is_asked_again(endpoint):
    endpoint.script = lambda place, body: (200, {}, b"[" * 200_000) if place == 0 else None
    (answer,) = HttpCompleter(endpoint.url, "phi", patience=(0.0,)).complete([ASK], GREEDY)
    assert answer.text == '"2+2?"'


def test_a_megabyte_is_read_whole(endpoint):
    endpoint.script = lambda place, body: (200, {}, echo(body, message={"content": "ä" * 1_000_000}))
    assert len(HttpCompleter(endpoint.url, "phi").complete([ASK], GREEDY)[0].text) == 1_000_000


def test_a_silent_endpoint_is_given_up_at_its_deadline(endpoint):
    release = threading.Event()
    endpoint.script = lambda place, body: release.wait(20) and None
    start = time.monotonic()
    with pytest.raises(UserError, match="did not answer"):
        HttpCompleter(endpoint.url, "phi", patience=(), timeout=0.3).complete([ASK], GREEDY)
    release.set()
    assert time.monotonic() - start < 10


def test_tokens_and_cost_add_up_and_each_try_is_logged(endpoint, tmp_path):
    endpoint.script = lambda place, body: (503, {}, b"busy") if place == 0 else None
    completer = HttpCompleter(
        endpoint.url, "phi", key="secret", patience=(0.0,), prices=(2.0, 10.0), log=tmp_path / "log.jsonl"
    )
    completer.complete(["a", "b"], GREEDY)
    assert (completer.totals.prompt_tokens, completer.totals.completion_tokens) == (6, 10)
    assert completer.totals.cost == pytest.approx((6 * 2 + 10 * 10) / 1e6)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sorted((row["status"], row["try"]) for row in rows) == [(200, 0), (200, 1), (503, 0)]
    assert "secret" not in (tmp_path / "log.jsonl").read_text()


def test_requests_are_spread_over_the_minute():
    now = [0.0]
    pacer = Pacer(Limits(requests=60), lambda: now[0])
    assert [pacer.reserve(10) for _ in range(4)] == [0, 1, 2, 3]
    now[0] = 10.0
    assert pacer.reserve(10) == 0


def test_tokens_are_spread_over_the_minute_and_given_back():
    pacer = Pacer(Limits(tokens=600), lambda: 0.0)
    assert pacer.reserve(100) == 0
    assert pacer.reserve(100) == 10
    pacer.settle(reserved=100, used=10)
    assert pacer.reserve(100) == 11


def test_a_limited_completer_takes_its_time(endpoint):
    start = time.monotonic()
    HttpCompleter(endpoint.url, "phi", limits=Limits(requests=600)).complete(["p"] * 6, GREEDY)
    assert time.monotonic() - start >= 0.5


def test_log_probabilities_come_from_an_endpoint_that_echoes(endpoint):
    def script(place, body):
        n = len(body["prompt"])
        sent = {"tokens": [*"abcdef"][: n + 1], "token_logprobs": [None, *(-0.5 * k for k in range(1, n + 1))]}
        reply = {"choices": [{"text": "x", "logprobs": sent}], "usage": {"prompt_tokens": n, "completion_tokens": 1}}
        return 200, {}, json.dumps(reply).encode()

    endpoint.script = script
    completer = HttpCompleter(endpoint.url, "phi")
    assert completer.logprobs([(7, 8, 9), (7, 8)]) == [(-0.5, -1.0), (-0.5,)]
    assert completer.score(["abc"])[0].tokens == ["a", "b", "c"]
    assert endpoint.seen[0][1]["echo"] is True


def test_an_endpoint_without_log_probabilities_says_so(endpoint):
    completer = HttpCompleter(endpoint.url, "phi")
    with pytest.raises(UserError, match="gives no log-probabilities of prompts"):
        completer.logprobs([(1, 2)])
