# ruff: noqa: E501  what is asked and the field at fault stand on one line
"""What a field does, and what is told where one cannot: by the client's own names, with nothing dropped in silence."""

import enum
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel
from server_world import CONTEXT, NAME, Running, error_of, post, raw, served, status_of, tokenizer

from phidelity.engine.worker import Piece
from phidelity.server.chats import ChatReply
from phidelity.server.metrics import Metrics
from phidelity.server.tools import read_call

CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
ASKED: Any = [{"role": "user", "content": "The cat?"}]
SURE = {"type": "object", "properties": {"z": {"type": "boolean"}}, "required": ["z"], "additionalProperties": False}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with served() as running:
        yield running
        assert running.is_at_rest()


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as one:
        yield one


def ask(server: Running, path: str, body: dict[str, Any] | bytes) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(server.url + path, content=content, headers={"Content-Type": "application/json"}, timeout=60)


def form(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


# ---- no 5xx, and errors that say where -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"input": "hi", "max_output_tokens": 3, "instructions": "\\ud800"}',
        b'{"input": "hi", "max_output_tokens": 3, "metadata": {"a": "\\ud800"}}',
        b'{"input": "hi", "max_output_tokens": 3, "text": {"format": {"type": "text", "x": "\\ud800"}}}',
        b'{"input": "hi", "max_output_tokens": 3, "text": {"format": {"type": "text", "x": NaN}}}',
        b'{"input": "hi", "max_output_tokens": 3, "text": {"format": {"type": "text", "x": 1e999}}, "stream": true}',
        b'{"input": "hi", "max_output_tokens": 3, "text": {"format": {"type": "json_object", "x": NaN}}, "stream": true}',
        b'{"input": "hi", "metadata": {"a": NaN}}',
        b'{"input": "hi", "text": {"format": {"type": "json_schema", "schema": {"maximum": 1e999}}}}',
    ],
)
def test_no_text_or_number_breaks_the_server(server: Running, body: bytes) -> None:
    reply = ask(server, RESPONSES, body)
    assert reply.status_code in (200, 400)
    assert b"NaN" not in reply.content
    assert b"Infinity" not in reply.content
    assert httpx.get(server.url + "/health").status_code == 200


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"messages": "\xff"}', "invalid unicode code point at line 1 column 15"),
        (b'{"messages": "\\ud800"}', "hex escape at line 1 column"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "number out of range at line 1 column"),
        (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "recursion limit exceeded at line 1 column"),
        (b'{"a": 1,\n "b" 2}', "expected `:` at line 2 column 6"),
    ],
)
def test_what_is_no_json_is_told_with_place_and_cause(server: Running, body: bytes, told: str) -> None:
    error = ask(server, CHAT, body).json()["error"]
    assert told in error["message"]
    assert error["code"] == "invalid_json"


def test_a_missing_content_type_is_named(server: Running) -> None:
    for given in (b"", b"Content-Type: text/plain\r\n"):
        request = post(CHAT, b"{}").replace(b"Content-Type: application/json\r\n", given)
        reply = raw(server.port, request)
        assert status_of(reply) == 415
        assert "Content-Type: application/json" in error_of(reply)["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (TEXT, {"prompt": [5] * 2 * CONTEXT}, "prompt"),
        (CHAT, {"messages": [{"role": "user", "content": "x " * CONTEXT}]}, "messages"),
        (RESPONSES, {"input": "x " * CONTEXT}, "input"),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image"}]}], "instructions": "a"}, "input.0.content.0"),
        (TEXT, {"prompt": [5000]}, "prompt"),
        (TEXT, {"prompt": "a", "stop_token_ids": [5000]}, "stop_token_ids"),
        (TEXT, {"prompt": "a", "stop": 5}, "stop"),
        (TEXT, {"prompt": ["a", [1]]}, "prompt.1"),
        (TEXT, {"prompt": [[1], ["a"]]}, "prompt.1.0"),
        (CHAT, {"messages": [{"role": "user", "content": [{"x": 1}]}]}, "messages.0.content.0.type"),
        (RESPONSES, {"input": "a", "text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        (RESPONSES, {"input": "a", "text": {"format": {"type": "x"}}}, "text.format.type"),
        (RESPONSES, {"input": "a", "tool_choice": "required"}, "tool_choice"),
        (RESPONSES, {"input": "a", "response_format": {"type": "text"}}, "response_format"),
        (CHAT, {"messages": [{"role": "assistant", "content": None, "function_call": {"name": "f"}}]}, "messages.0.function_call"),
        (CHAT, {"messages": ASKED, "tools": [{"type": "function", "function": {"name": "f"}}], "response_format": {"type": "bogus"}}, "response_format.type"),
    ],
)  # fmt: skip
def test_the_field_at_fault_has_the_clients_name(server: Running, path: str, body: Any, param: str) -> None:
    reply = ask(server, path, body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


def test_unknown_fields_are_named_wherever_they_stand(server: Running) -> None:
    message = {
        "role": "user",
        "content": [{"type": "text", "text": "a", "glow": 1}],
        "sparkle": 1,
        "name": "Mia",
        "zip": None,
    }
    body = {"messages": [message], "stream": True, "stream_options": {"shine": 1}, "max_tokens": 1}
    told = ask(server, CHAT, body).headers["warning"]
    for name in ("messages.0.sparkle", "messages.0.name", "messages.0.content.0.glow", "stream_options.shine"):
        assert name in told
    assert "zip" not in told
    body = {
        "input": "a",
        "max_output_tokens": 1,
        "text": {"verbosity": "low"},
        "include": ["reasoning.encrypted_content"],
    }
    told = ask(server, RESPONSES, body).headers["warning"]
    assert "text.verbosity" in told
    assert "reasoning.encrypted_content" in told


# ---- /v1/responses -------------------------------------------------------------------------------------------------


def test_a_response_has_every_field_of_sampling(client: openai.OpenAI) -> None:
    (c,) = tokenizer().encode("c")
    more: Any = {"seed": 3, "top_k": 40, "logit_bias": {str(c): 100}, "stop": ["ccc"]}
    assert client.responses.create(model=NAME, input="a", extra_body=more).output_text == ""
    more = {"seed": 3, "presence_penalty": 0.5, "min_p": 0.01}
    one, two = (client.responses.create(model=NAME, input="a", max_output_tokens=20, extra_body=more) for _ in range(2))
    assert one.output_text == two.output_text


def test_a_response_has_log_probabilities(client: openai.OpenAI) -> None:
    asked: Any = {"model": NAME, "input": "The cat?", "temperature": 0, "max_output_tokens": 8, "top_logprobs": 2}
    said = client.responses.create(**asked)
    Response.model_validate(said.model_dump(), strict=True)
    found = said.output[0].content[0].logprobs
    chat = client.chat.completions.create(
        model=NAME, messages=ASKED, temperature=0, max_tokens=8, logprobs=True, top_logprobs=2
    )
    expected = chat.choices[0].logprobs.content
    assert [(one.token, one.logprob) for one in found] == [(one.token, one.logprob) for one in expected]
    assert all(len(one.top_logprobs) == 2 for one in found)
    deltas = [
        token.logprob
        for event in client.responses.create(**asked, stream=True)
        if event.type == "response.output_text.delta"
        for token in event.logprobs
    ]
    assert deltas == [one.logprob for one in found]
    included = client.responses.create(**{**asked, "top_logprobs": None}, include=["message.output_text.logprobs"])
    assert len(included.output[0].content[0].logprobs) == len(found)


def test_an_error_amid_a_response_is_an_event_of_its_own() -> None:
    body = {"input": "a", "stream": True, "ignore_eos": True}
    with served(timeout=0.05) as running:
        lines = [line for line in ask(running, RESPONSES, body).text.split("\n") if line]
    assert lines[-2] == "event: error"
    data = json.loads(lines[-1].removeprefix("data: "))
    assert (data["type"], data["code"]) == ("error", "timeout")
    assert {"message", "param", "sequence_number"} < set(data)


# ---- tools and structured output -----------------------------------------------------------------------------------


class Color(enum.Enum):
    red = "red"
    blue = "blue"


class Inner(BaseModel):
    b: bool
    c: Color


class Paint(BaseModel):
    one: Inner
    other: Inner | None


@pytest.mark.parametrize("choice", ["required", "auto"])
def test_functions_of_nested_models_are_called(client: openai.OpenAI, choice: Any) -> None:
    tool = openai.pydantic_function_tool(Paint)
    bias: Any = {str(tokenizer().encode("{")[0]): 100}
    said = client.chat.completions.create(
        model=NAME, messages=ASKED, tools=[tool], tool_choice=choice, max_tokens=400, logit_bias=bias
    )
    (call,) = said.choices[0].message.tool_calls
    Paint.model_validate_json(call.function.arguments)


def test_a_schema_that_cannot_be_is_told_without_our_grammar(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"$ref": "#/$defs/none"}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=NAME, messages=ASKED, tools=[tool])
    assert caught.value.param == "tools"
    assert "%json" not in str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
def test_tools_and_a_form_of_the_answer_hold_together(server: Running, stream: bool) -> None:
    number = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}}, "required": ["a"]}
    tools = [{"type": "function", "function": {"name": "f", "parameters": number}}]
    for seed in range(6):
        body = {"messages": ASKED, "tools": tools, "response_format": form(SURE), "seed": seed, "stream": stream}
        text, calls = said_by(ask(server, CHAT, body), stream)
        assert bool(text) != bool(calls)
        assert set(json.loads(text)) == {"z"} if text else calls[0]["function"]["name"] == "f"


def said_by(reply: httpx.Response, stream: bool) -> tuple[str, list[Any]]:
    if not stream:
        message = reply.json()["choices"][0]["message"]
        return message["content"] or "", message.get("tool_calls") or []
    data = [json.loads(line[6:]) for line in reply.text.split("\n") if line.startswith("data: {")]
    deltas = [one["choices"][0]["delta"] for one in data if one["choices"]]
    text = "".join(one.get("content") or "" for one in deltas)
    return text, [call for one in deltas for call in one.get("tool_calls") or []]


@pytest.mark.parametrize("pieces", [["Sure: ", '{"name": "rm", ', '"arguments": {}}'], ["a", "{", "}"], ["{", "}"]])
def test_a_stream_gives_what_the_whole_gives(pieces: list[str]) -> None:
    reply = ChatReply.__new__(ChatReply)
    reply._held, reply._plain, reply._functions = {}, set(), {"rm"}
    found = [reply._hold(0, Piece(text, (), (), (), "")) for text in pieces]
    found.append(reply._hold(0, Piece("", (), (), (), "stop")))
    assert "".join(text for text, _ in found) == "".join(pieces)
    assert not any(call for _, call in found)
    assert read_call("".join(pieces), {"rm"}) is None
    if pieces[0] != "{":
        assert [text for text, _ in found[:-1]] == pieces, "text is not held back"


LINK = {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"], "additionalProperties": False}
FIELDS = {f"f{n}": {"enum": ["a long text that takes many tokens"]} for n in range(3)}
LATE = {"type": "object", "properties": {**FIELDS, "n": {"$ref": "#/$defs/n"}}, "required": [*FIELDS, "n"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"$defs": {"n": LINK}, "$ref": "#/$defs/n"},
        {"$defs": {"n": LINK}, **LATE, "additionalProperties": False},
    ],
)
def test_a_schema_without_finite_answers_is_a_400(server: Running, schema: Any) -> None:
    reply = ask(server, CHAT, {"messages": ASKED, "max_tokens": 400, "response_format": form(schema)})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_json_schema"


def test_a_grammar_ends_the_answer_whatever_ignore_eos_says(client: openai.OpenAI) -> None:
    asked: Any = {"model": NAME, "messages": ASKED, "max_tokens": 60, "extra_body": {"ignore_eos": True}}
    said = client.chat.completions.create(**asked, response_format=form(SURE)).choices[0]
    assert (set(json.loads(said.message.content)), said.finish_reason) == ({"z"}, "stop")
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": SURE}}
    said = client.chat.completions.create(**asked, tools=[tool], tool_choice="required").choices[0]
    assert said.message.tool_calls[0].function.name == "f"


def test_special_tokens_are_no_text(client: openai.OpenAI) -> None:
    dummy = tokenizer().special_ids["<|dummy_31|>"]
    bias: Any = {str(dummy): 100}
    said = client.chat.completions.create(model=NAME, messages=ASKED, max_tokens=3, logit_bias=bias, logprobs=True)
    assert said.choices[0].message.content == ""
    assert [one.token for one in said.choices[0].logprobs.content] == ["<|dummy_31|>"] * 3
    assert said.usage.completion_tokens == 3


def test_each_token_has_the_place_where_it_begins(client: openai.OpenAI) -> None:
    prompt = "a 😀漢é b the cat"
    bias: Any = {str(tokenizer().special_ids["<|dummy_3|>"]): 50}
    for stream in (False, True):
        found = client.completions.create(
            model=NAME, prompt=prompt, echo=True, logprobs=0, max_tokens=6, seed=1, logit_bias=bias, stream=stream
        )
        choices = [one.choices[0] for one in found] if stream else [found.choices[0]]
        text = "".join(one.text for one in choices)
        pairs = [pair for one in choices if one.logprobs for pair in zip(one.logprobs.tokens, one.logprobs.text_offset)]
        assert text.startswith(prompt)
        for token, at in pairs:
            assert at <= len(text)
            if not token.startswith(("bytes:", "<|dummy")):
                assert text[at : at + len(token)] == token


# ---- what is told of the server ------------------------------------------------------------------------------------


def test_the_document_says_what_is_answered(server: Running) -> None:
    made = httpx.get(server.url + "/openapi.json").json()
    for path in (CHAT, TEXT, RESPONSES):
        one = made["paths"][path]["post"]
        assert set(one["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
        assert {"400", "401", "413", "415", "429", "503"} < set(one["responses"])
        assert (
            one["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
            in made["components"]["schemas"]
        )
        assert one["security"]
    assert not any("422" in one["responses"] for path in made["paths"].values() for one in path.values())
    assert made["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in json.dumps(made)
    assert "prompt" in httpx.get(server.url + "/docs").text


def test_metrics_mean_what_their_names_say() -> None:
    metrics = Metrics()
    metrics.ended.update({"stop": 3, "length": 2, "cancelled": 7})
    text = metrics.text({"m": {"completion_tokens": 5}, "adapter": {"completion_tokens": 7}})
    assert 'vllm:generation_tokens_total{model_name="m"} 5' in text
    assert 'vllm:generation_tokens_total{model_name="adapter"} 7' in text
    assert 'vllm:request_success_total{model_name="m",finished_reason="stop"} 3' in text
    assert 'vllm:request_success_total{model_name="m",finished_reason="cancelled"}' not in text
    assert 'phi_request_broken_total{model_name="m",finished_reason="cancelled"} 7' in text


def test_the_time_between_tokens_is_counted_for_each_token(client: openai.OpenAI) -> None:
    with served() as running:
        body = {"messages": ASKED, "max_tokens": 30, "ignore_eos": True, "stream": True}
        assert ask(running, CHAT, body).status_code == 200
        text = httpx.get(running.url + "/metrics").text
    (count,) = [line for line in text.split("\n") if line.startswith("vllm:inter_token_latency_seconds_count")]
    assert 20 <= int(count.split(" ")[1]) <= 29
