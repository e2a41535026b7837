"""Answers on their way: whole as JSON, or as server-sent events with comments while nothing comes.

What is large is written on a thread, in pieces between which the loop has its turn. A stream ends when the client
goes, and also when it takes less than a piece in `STUCK` seconds or the request's time is over.
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from phidelity.completion import Completion
from phidelity.server.answer import PING, Answer, News
from phidelity.server.errors import ApiError, as_api_error

DONE = b"data: [DONE]\n\n"
LARGE = 2000
"""Tokens (an alternative counts, too) from which on a whole answer is written on a thread (*ours*)."""
STUCK = 120.0
"""Seconds in which a reader has to take what is buffered (uvicorn holds 64 KiB) (*ours*)."""
LAST = 5.0
"""The same for the end of a stream (*ours*)."""
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=list)


def event(data: Mapping[str, Any], name: str = "") -> bytes:
    """One event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {_JSON.encode(data)}\n\n".encode()


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
        """The answer at its end; what may be long in it is an iterator, so that it is never there as objects."""
        ...

    def failure(self, error: ApiError) -> bytes:
        """What a stream says when it cannot go on."""
        ...


async def send(
    answer: Answer, reply: Reply, is_streamed: bool, receive: Receive, headers: Mapping[str, str]
) -> Response:
    """The response of a route, as a stream or whole; the answer is closed whatever happens."""
    if is_streamed:
        return EventStream(answer, reply, headers)
    try:
        completions = await answer.completions(receive)
        if sum(map(_weight, completions)) < LARGE:
            written = _JSON.encode(reply.whole(completions)).encode()
        else:
            written = await asyncio.to_thread(lambda: to_json(reply.whole(completions)).encode())
        return Response(written, headers=dict(headers), media_type="application/json")
    finally:
        answer.close()


def _weight(one: Completion) -> int:
    alternatives = sum(len(top or ()) for top in (*one.alternatives, *one.prompt_alternatives))
    return len(one.tokens) + len(one.prompt_logprobs) + alternatives


def to_json(value: Any, depth: int = 5) -> str:
    """JSON, made in pieces: the encoder lets no other thread run until it is done with what it is given.

    Of an iterator only one thing is there at a time: a million objects at once keep the garbage collector busy.
    """
    if depth and isinstance(value, Mapping):
        return f"{{{','.join(f'{_JSON.encode(key)}:{to_json(one, depth - 1)}' for key, one in value.items())}}}"
    if depth and isinstance(value, list) and value and not isinstance(value[0], Mapping | list):
        return f"[{','.join(_JSON.encode(value[at : at + 1000])[1:-1] for at in range(0, len(value), 1000))}]"
    if (depth and isinstance(value, list)) or isinstance(value, Iterator):
        return f"[{','.join(to_json(one, max(depth - 1, 0)) for one in value)}]"
    return _JSON.encode(value)


class EventStream(Response):
    """Sends the events that `events` makes of an answer, and closes the answer whatever happens.

    The first event is waited for before the status is sent only in that a refusal is made by whoever calls; an error
    amid the stream is an event of its own, since the status has gone out.
    """

    media_type = "text/event-stream"

    def __init__(self, answer: Answer, reply: Reply, headers: Mapping[str, str] | None = None) -> None:
        self._answer, self._reply, self._events = answer, reply, reply.events()
        self.status_code, self.background = 200, None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        watcher = asyncio.ensure_future(self._answer.leave_when_gone(receive))
        patience = _Patience()

        async def give(data: bytes, seconds: float, *, more_body: bool = True) -> None:
            patience.begin(seconds)
            await send({"type": "http.response.body", "body": data, "more_body": more_body})
            patience.end()

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                async for data in self._events:
                    await give(data, min(STUCK, self._answer.seconds_left))
            except Exception as error:
                refusal = as_api_error(error)
                await give(self._reply.failure(refusal), LAST)
                if refusal.status == 500 and refusal is not error:
                    raise
            await give(b"", LAST, more_body=False)
        except asyncio.CancelledError:
            if not patience.is_lost:
                raise
            scope["extensions"]["phidelity.abort"]()
            await asyncio.sleep(0)  # so that the connection is known to be gone
        finally:
            patience.close()
            watcher.cancel()
            self._answer.close()
            await self._events.aclose()


class _Patience:
    """Cancels the task that makes it when something has taken too long, to the second: one timer, not one a piece."""

    def __init__(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._due, self.is_lost = math.inf, False
        self._timer = self._loop.call_later(1.0, self._look)

    def begin(self, seconds: float) -> None:
        """Something begins that may take so long."""
        self._due = self._loop.time() + seconds

    def end(self) -> None:
        """It is done."""
        self._due = math.inf

    def close(self) -> None:
        """Nothing more will come."""
        self._timer.cancel()

    def _look(self) -> None:
        self.is_lost = self._loop.time() > self._due
        if self.is_lost and self._task:
            self._task.cancel()
        else:
            self._timer = self._loop.call_later(1.0, self._look)
