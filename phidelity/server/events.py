"""Server-sent events: one line of JSON each, comments while nothing comes, and an end when the client goes."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Protocol

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from phidelity.completion import Completion
from phidelity.server.answer import PING, Answer, News
from phidelity.server.errors import as_api_error

DONE = b"data: [DONE]\n\n"


def event(data: Mapping[str, Any], name: str = "") -> bytes:
    """One event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


async def with_pings(answer: Answer) -> AsyncIterator[News | bytes]:
    """News of an answer, and comments: how far a long prompt is, and that a silent stream lives."""
    told, last = (0, 0), time.monotonic()
    async for news in answer.news():
        if news.choice >= 0:
            last = time.monotonic()
            yield news
            continue
        if any(progress := answer.progress()) and progress != told:
            told, last = progress, time.monotonic()
            yield b": prompt %d/%d\n\n" % progress
        elif time.monotonic() - last > PING:
            last = time.monotonic()
            yield b": ping\n\n"


class Reply(Protocol):
    """What a route makes of an answer."""

    def events(self) -> AsyncGenerator[bytes]:
        """The answer as it comes."""
        ...

    def whole(self, completions: list[Completion]) -> Mapping[str, Any]:
        """The answer at its end."""
        ...


async def send(
    answer: Answer, reply: Reply, is_streamed: bool, receive: Receive, headers: Mapping[str, str]
) -> Response:
    """The response of a route, as a stream or whole; the answer is closed whatever happens."""
    if is_streamed:
        return EventStream(answer, reply.events(), headers)
    try:
        return JSONResponse(reply.whole(await answer.completions(receive)), headers=dict(headers))
    finally:
        answer.close()


class EventStream(Response):
    """Sends the events that `events` makes of an answer, and closes the answer whatever happens.

    The first event is waited for before the status is sent only in that a refusal is made by whoever calls; an error
    amid the stream is an event of its own, since the status has gone out.
    """

    media_type = "text/event-stream"

    def __init__(self, answer: Answer, events: AsyncGenerator[bytes], headers: Mapping[str, str] | None = None) -> None:
        self._answer, self._events = answer, events
        self.status_code, self.background = 200, None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        watcher = asyncio.ensure_future(self._answer.leave_when_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                async for data in self._events:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            except Exception as error:
                refusal = as_api_error(error)
                await send({"type": "http.response.body", "body": event(refusal.body), "more_body": True})
                if refusal.status == 500 and refusal is not error:
                    raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watcher.cancel()
            self._answer.close()
            await self._events.aclose()
