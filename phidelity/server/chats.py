"""/v1/chat/completions: a chat in, its next turn out, whole or as a stream of chunks."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Collection
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from phidelity.completion import Completion
from phidelity.engine.worker import Piece
from phidelity.server import messages, tokens, tools
from phidelity.server.answer import Answer
from phidelity.server.errors import ApiError
from phidelity.server.events import DONE, event, send, to_json, with_pings
from phidelity.server.grammar import schema_of
from phidelity.server.protocol import ChatRequest, refuse
from phidelity.server.service import Service


async def chat(service: Service, body: ChatRequest, http: HttpRequest, headers: dict[str, str]) -> Response:
    """Answer a chat."""
    refuse(body)
    service.check_model(body.model)
    llm = service.llm
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true. Set it or leave both out.", param="top_logprobs")
    given = body.model_copy(update={"max_tokens": body.max_completion_tokens or body.max_tokens})
    alternatives = (body.top_logprobs or 0) if body.logprobs else None
    params = given.params(llm.context_len, llm.context_len, alternatives, None)
    service.check_room(body.n or 1)
    offered = None
    if body.tools or body.tool_choice:
        schema = schema_of(body.response_format, "response_format")
        offered = await asyncio.to_thread(tools.offer, body.tools, body.tool_choice, service.grammars, schema)
    preamble = offered.preamble if offered else ""
    allow = offered.allow if offered else await service.held(body.response_format)
    ids = await service.ids([messages.conversation(body.messages, preamble)], room=1, param="messages")
    answer = service.answer(ids, params, body.n or 1, is_streamed=bool(body.stream), allow=allow)
    reply = ChatReply(service, body, answer, functions=offered.names if offered else ())
    return await send(answer, reply, bool(body.stream), http.receive, headers)


class ChatReply:
    """The answer in OpenAI's shapes."""

    def __init__(self, service: Service, body: ChatRequest, answer: Answer, *, functions: Collection[str]) -> None:
        """`functions` are the names that may be called."""
        self._body, self._answer, self._functions = body, answer, functions
        self._held: dict[int, str] = {}
        self._plain: set[int] = set()
        """Choices that have begun as text, which no call can follow."""
        self._tokenizer = service.llm.tokenizer
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": service.settings.name,
        }
        chunk = {**self._head, "object": "chat.completion.chunk"}
        self._start = json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))[:-1].encode()
        self._wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        self._null_usage = b',"usage":null' if self._wants_usage else b""

    def whole(self, completions: list[Completion]) -> dict[str, Any]:
        """One object."""
        usage, timings = self._answer.usage(), self._answer.timings()
        choices = (self._choice(choice, one) for choice, one in enumerate(completions))
        return {**self._head, "choices": choices, "usage": usage, "timings": timings}

    def _choice(self, choice: int, one: Completion) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": one.text, "refusal": None}
        call = tools.read_call(one.text, self._functions)
        if call:
            message |= {"content": None, "tool_calls": [call]}
        return {
            "index": choice,
            "message": message,
            "logprobs": self._logprobs(choice, one.tokens, one.logprobs, one.alternatives),
            "finish_reason": "tool_calls" if call else one.finish_reason,
        }

    async def events(self) -> AsyncGenerator[bytes]:
        """Chunks: the role first, then text, then the reason; then usage where it is asked for, then the end."""
        for choice in range(len(self._answer.requests)):
            yield self._chunk(choice, b'{"role":"assistant","content":"","refusal":null}')
        async for news in with_pings(self._answer):
            if isinstance(news, bytes):
                yield news
                continue
            assert news.piece
            if data := self._piece(news.choice, news.piece):
                yield data
        if self._answer.is_left:
            return
        if self._wants_usage:
            whole = {"choices": [], "usage": self._answer.usage(), "timings": self._answer.timings()}
            yield event({**self._head, "object": "chat.completion.chunk", **whole})
        yield DONE

    def failure(self, error: ApiError) -> bytes:
        """OpenAI's error object as an event."""
        return event(error.body)

    def _piece(self, choice: int, piece: Piece) -> bytes:
        data = b""
        logprobs = b"null"
        if self._body.logprobs and piece.tokens:
            found = self._logprobs(choice, piece.tokens, piece.logprobs, piece.alternatives)
            logprobs = to_json(found).encode()
        text, delta, reason = piece.text, b"{}", piece.finish_reason
        if self._functions:
            text, call = self._hold(choice, piece)
            if call:
                delta, reason = json.dumps({"tool_calls": [{"index": 0, **call}]}).encode(), "tool_calls"
        if text or logprobs != b"null":
            content = json.dumps(text, ensure_ascii=False).encode()
            data = self._chunk(choice, b'{"content":' + content + b"}", logprobs)
        if reason == "tool_calls":
            data += self._chunk(choice, delta)
        if piece.finish_reason:
            timings = b""
            if not self._wants_usage:
                timings = b',"timings":' + json.dumps(self._answer.timings()).encode()
            data += self._chunk(choice, b"{}", reason=json.dumps(reason).encode(), more=timings)
        return data

    def _hold(self, choice: int, piece: Piece) -> tuple[str, dict[str, Any] | None]:
        """Text that may go out now: what begins a call is held back until the whole of it is there."""
        held = self._held.get(choice, "") + piece.text
        if choice in self._plain or not held.startswith("{"):
            if piece.text:
                self._plain.add(choice)
            return piece.text, None
        self._held[choice] = held
        if not piece.finish_reason:
            return "", None
        call = tools.read_call(held, self._functions)
        return ("", call) if call else (held, None)

    def _chunk(
        self, choice: int, delta: bytes, logprobs: bytes = b"null", reason: bytes = b"null", more: bytes = b""
    ) -> bytes:
        """Written by hand, since one is made for every token."""
        return (b'data: %b,"choices":[{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]%b%b}\n\n') % (
            self._start,
            choice,
            delta,
            logprobs,
            reason,
            self._null_usage,
            more,
        )

    def _logprobs(self, choice: int, said: Any, logprobs: Any, alternatives: Any) -> dict[str, Any] | None:
        if not self._body.logprobs:
            return None
        ends = self._answer.requests[choice].sequence.end_ids
        n = len(said) - 1 if said and said[-1] in ends else len(said)
        top = self._body.top_logprobs or 0
        return tokens.chat_logprobs(self._tokenizer, said[:n], logprobs[:n], alternatives[:n], top)
