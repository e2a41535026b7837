"""/v1/responses, without memory: what went before is sent along in `input`, nothing is kept between requests.

The same chat as /v1/chat/completions in newer clothes, with every field of sampling. `previous_response_id` and
`conversation` would need a store and are refused; `store` is taken and means nothing. Tools are served by
/v1/chat/completions.
"""

import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from phidelity.completion import Completion
from phidelity.records import Conversation, Message
from phidelity.server import messages, tokens
from phidelity.server.answer import Answer
from phidelity.server.errors import ApiError
from phidelity.server.events import event, send, with_pings
from phidelity.server.protocol import MOST_ALTERNATIVES, Body, ChatMessage, List, Sampling
from phidelity.server.service import Service

REFUSED = {
    "previous_response_id": "Nothing is kept between requests; send what was said before in input",
    "conversation": "Nothing is kept between requests; send what was said before in input",
    "background": "Requests are answered while the client waits; leave background out",
    "prompt": "There are no stored prompts here; send the text in input",
    "response_format": "Here the form of an answer stands in text.format; give it there",
    "max_tokens": "Here the limit is max_output_tokens; give that",
    "tools": "Tools are served at /v1/chat/completions alone; leave them out or ask there",
}
LOGPROBS = "message.output_text.logprobs"
"""What `include` names for log-probabilities."""
MOST_METADATA = 16
"""Pairs of `metadata`, as OpenAI has it."""


class InputItem(ChatMessage):
    """A message; other items (calls, references) are not read."""

    type: Literal["message"] = "message"
    id: str | None = None
    status: str | None = None


def _few(pairs: Any) -> Any:
    if isinstance(pairs, dict) and len(pairs) > MOST_METADATA:
        raise ValueError(f"it has {len(pairs):,} entries; at most {MOST_METADATA} are read")
    return pairs


class TextFormat(Body):
    """How the answer is written."""

    format: dict[str, Any] | None = None


class ResponsesRequest(Sampling):
    """POST /v1/responses."""

    input: str | List[InputItem]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1, lt=2**31)
    n: int | None = Field(None, ge=1, le=1)
    top_logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    include: List[str] | None = None
    store: bool | None = None
    text: TextFormat | None = None
    tools: List[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    metadata: Annotated[dict[str, str] | None, BeforeValidator(_few)] = None
    truncation: Literal["auto", "disabled"] | None = None

    @property
    def n_top(self) -> int | None:
        """Alternatives a token; None where no log-probabilities are asked for."""
        is_asked = self.top_logprobs is not None or LOGPROBS in (self.include or ())
        return (self.top_logprobs or 0) if is_asked else None

    def unknown(self, where: str = "") -> Iterator[str]:
        """As of every body, and what else could be included."""
        yield from super().unknown(where)
        yield from (f"include.{one}" for one in self.include or () if one != LOGPROBS)


async def respond(service: Service, body: ResponsesRequest, http: HttpRequest, headers: dict[str, str]) -> Response:
    """Answer."""
    _refuse(body)
    service.check_model(body.model)
    llm = service.llm
    service.check_room(1)
    given = body.model_copy(update={"max_tokens": body.max_output_tokens})
    params = given.params(llm.context_len, llm.context_len, body.n_top, None)
    allow = await service.held(body.text.format if body.text else None, "text.format")
    ids = await service.ids([_conversation(body)], room=1, param="input")
    answer = service.answer(ids, params, 1, is_streamed=bool(body.stream), allow=allow)
    reply = Reply(service, body, answer)
    return await send(answer, reply, bool(body.stream), http.receive, headers)


def _refuse(body: ResponsesRequest) -> None:
    extra = body.model_extra or {}
    for name, told in REFUSED.items():
        if extra.get(name, getattr(body, name, None)):
            raise ApiError(400, f"{name}: {told[0].lower()}{told[1:]}.", param=name, code="unsupported_parameter")
    if body.tool_choice not in (None, "none", "auto"):
        told = f"tool_choice is {body.tool_choice!r:.80} and tools are served at /v1/chat/completions alone."
        raise ApiError(400, f"{told} Leave it out or ask there.", param="tool_choice", code="unsupported_parameter")
    if body.truncation == "auto":
        told = "Nothing is cut silently here; leave truncation out and send what fits."
        raise ApiError(400, told, param="truncation", code="unsupported_parameter")


def _conversation(body: ResponsesRequest) -> Conversation:
    turns = [ChatMessage(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    if not turns:
        raise ApiError(400, "input is empty; expected a text or at least one message.", param="input")
    found = messages.conversation(turns, where="input")
    if not body.instructions:
        return found
    first = Message(role="system", content=body.instructions)
    return found.model_copy(update={"messages": (first, *found.messages)})


class Reply:
    """The answer in the shapes of this API."""

    def __init__(self, service: Service, body: ResponsesRequest, answer: Answer) -> None:
        self._answer, self._body, self._tokenizer = answer, body, service.llm.tokenizer
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
            "top_logprobs": body.top_logprobs,
            "text": {"format": _echoed((body.text and body.text.format) or {})},
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
        logprobs = self._logprobs(completion.tokens, completion.logprobs, completion.alternatives)
        return self._finished(completion.text, completion.finish_reason, logprobs)

    def failure(self, error: ApiError) -> bytes:
        """An event of this API."""
        found = error.body["error"]
        return self._event("error", code=found["code"], message=found["message"], param=found["param"])

    def _logprobs(self, said: Any, logprobs: Any, alternatives: Any) -> list[dict[str, Any]]:
        """Of the tokens of a piece, but for the end."""
        if self._body.n_top is None:
            return []
        ends = self._answer.requests[0].sequence.end_ids
        n = len(said) - 1 if said and said[-1] in ends else len(said)
        found = tokens.chat_logprobs(self._tokenizer, said[:n], logprobs[:n], alternatives[:n], self._body.n_top)
        return list(found["content"])

    def _finished(self, text: str, reason: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
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
        output = [self._message([_part(text, logprobs)], status)]
        return {**self._head, "status": status, "incomplete_details": why, "output": output, "usage": usage}

    async def events(self) -> AsyncGenerator[bytes]:
        """What happens, by name, each with its number."""
        begun = {**self._head, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
        where = {"item_id": self._item, "output_index": 0, "content_index": 0}
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        yield self._event("response.output_item.added", output_index=0, item=self._message([], "in_progress"))
        yield self._event("response.content_part.added", **where, part=_part("", []))
        text, reason, logprobs = "", "", []
        async for news in with_pings(self._answer):
            if isinstance(news, bytes):
                yield news
                continue
            assert news.piece
            piece = news.piece
            text, reason = text + piece.text, piece.finish_reason
            new = self._logprobs(piece.tokens, piece.logprobs, piece.alternatives)
            logprobs += new
            if piece.text or new:
                yield self._event("response.output_text.delta", **where, delta=piece.text, logprobs=new)
        if self._answer.is_left:
            return
        done = self._finished(text, reason, logprobs)
        yield self._event("response.output_text.done", **where, text=text, logprobs=logprobs)
        yield self._event("response.content_part.done", **where, part=_part(text, logprobs))
        yield self._event("response.output_item.done", output_index=0, item=done["output"][0])
        yield self._event(f"response.{done['status']}", response=done)

    def _event(self, kind: str, **data: Any) -> bytes:
        self._n_events += 1
        return event({"type": kind, "sequence_number": self._n_events - 1, **data}, kind)

    def _message(self, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        return {"type": "message", "id": self._item, "status": status, "role": "assistant", "content": content}


def _part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _echoed(form: dict[str, Any]) -> dict[str, Any]:
    """The form of the answer as it was understood."""
    if form.get("type") != "json_schema":
        return {"type": form.get("type", "text")}
    found = {name: form.get(name) for name in ("name", "schema", "strict", "description") if name in form}
    return {"type": "json_schema", "name": "", **found}
