"""/v1/responses, without memory: what went before is sent along in `input`, nothing is kept between requests.

The same chat as /v1/chat/completions in newer clothes. `previous_response_id` and `conversation` would need a store and
are refused; `store` is taken and means nothing. Tools are served by /v1/chat/completions.
"""

import secrets
import time
from collections.abc import AsyncGenerator
from typing import Any, Literal

from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from phidelity.completion import Completion
from phidelity.server import messages
from phidelity.server.answer import Answer
from phidelity.server.errors import ApiError
from phidelity.server.events import event, send, with_pings
from phidelity.server.protocol import Body, ChatMessage, Sampling
from phidelity.server.service import Service

REFUSED = {
    "previous_response_id": "Nothing is kept between requests; send what was said before in input",
    "conversation": "Nothing is kept between requests; send what was said before in input",
    "background": "Requests are answered while the client waits; leave background out",
    "prompt": "There are no stored prompts here; send the text in input",
}


class InputItem(ChatMessage):
    """A message; other items (calls, references) are not read."""

    type: Literal["message"] = "message"


class TextFormat(Body):
    """How the answer is written."""

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponsesRequest(Body):
    """POST /v1/responses."""

    input: str | list[InputItem]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1, lt=2**31)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    stream: bool | None = None
    store: bool | None = None
    text: TextFormat | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None


async def respond(service: Service, body: ResponsesRequest, http: HttpRequest, headers: dict[str, str]) -> Response:
    """Answer."""
    _refuse(body)
    service.check_model(body.model)
    llm = service.llm
    asked = {"temperature": body.temperature, "top_p": body.top_p, "max_tokens": body.max_output_tokens}
    given = Sampling.model_validate(asked)
    params = given.params(llm.context_len, llm.context_len, None, None)
    allow = await service.held(body.text.format if body.text else None)
    ids = await service.ids(messages.conversation(_turns(body)), room=1)
    answer = service.answer([ids], params, 1, is_streamed=bool(body.stream), allow=allow)
    reply = Reply(service, body, answer)
    return await send(answer, reply, bool(body.stream), http.receive, headers)


def _refuse(body: ResponsesRequest) -> None:
    extra = body.model_extra or {}
    for name, told in REFUSED.items():
        if extra.get(name):
            raise ApiError(400, f"{name}: {told[0].lower()}{told[1:]}.", param=name, code="unsupported_parameter")
    if body.tools:
        told = "Tools are served at /v1/chat/completions alone. Leave them out or ask there."
        raise ApiError(400, told, param="tools", code="unsupported_parameter")
    if body.truncation == "auto":
        told = "Nothing is cut silently here; leave truncation out and send what fits."
        raise ApiError(400, told, param="truncation", code="unsupported_parameter")


def _turns(body: ResponsesRequest) -> list[ChatMessage]:
    first = [ChatMessage(role="system", content=body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        return [*first, ChatMessage(role="user", content=body.input)]
    if not body.input:
        raise ApiError(400, "input is empty; expected a text or at least one message.", param="input")
    return [*first, *body.input]


class Reply:
    """The answer in the shapes of this API."""

    def __init__(self, service: Service, body: ResponsesRequest, answer: Answer) -> None:
        self._answer, self._body = answer, body
        self._id, self._item = f"resp_{secrets.token_hex(16)}", f"msg_{secrets.token_hex(16)}"
        self._n_events = 0
        self._head = {
            "id": self._id,
            "object": "response",
            "created_at": int(time.time()),
            "model": service.settings.name,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "text": {"format": (body.text and body.text.format) or {"type": "text"}},
            "metadata": body.metadata or {},
            "tools": [],
            "tool_choice": "none",
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "truncation": "disabled",
            "error": None,
        }

    def whole(self, completions: list[Completion]) -> dict[str, Any]:
        """The one answer, complete."""
        (completion,) = completions
        return self._finished(completion.text, completion.finish_reason)

    def _finished(self, text: str, reason: str) -> dict[str, Any]:
        """The response when it is done."""
        used = self._answer.usage()
        usage = {
            "input_tokens": used["prompt_tokens"],
            "input_tokens_details": {**used["prompt_tokens_details"], "cache_write_tokens": 0},
            "output_tokens": used["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": used["total_tokens"],
        }
        is_cut = reason == "length"
        status = "incomplete" if is_cut else "completed"
        why = {"reason": "max_output_tokens"} if is_cut else None
        output = [self._message([_part(text)], status)]
        return {**self._head, "status": status, "incomplete_details": why, "output": output, "usage": usage}

    async def events(self) -> AsyncGenerator[bytes]:
        """What happens, by name, each with its number."""
        begun = {**self._head, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
        where = {"item_id": self._item, "output_index": 0, "content_index": 0}
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        yield self._event("response.output_item.added", output_index=0, item=self._message([], "in_progress"))
        yield self._event("response.content_part.added", **where, part=_part(""))
        text, reason = "", ""
        async for news in with_pings(self._answer):
            if isinstance(news, bytes):
                yield news
                continue
            assert news.piece
            text, reason = text + news.piece.text, news.piece.finish_reason
            if news.piece.text:
                yield self._event("response.output_text.delta", **where, delta=news.piece.text, logprobs=[])
        if self._answer.is_left:
            return
        done = self._finished(text, reason)
        yield self._event("response.output_text.done", **where, text=text, logprobs=[])
        yield self._event("response.content_part.done", **where, part=_part(text))
        yield self._event("response.output_item.done", output_index=0, item=done["output"][0])
        yield self._event(f"response.{done['status']}", response=done)

    def _event(self, kind: str, **data: Any) -> bytes:
        self._n_events += 1
        return event({"type": kind, "sequence_number": self._n_events - 1, **data}, kind)

    def _message(self, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        return {"type": "message", "id": self._item, "status": status, "role": "assistant", "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
