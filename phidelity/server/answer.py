"""One request of a client under way: its choices in the engine, and the news of them on the event loop.

The engine calls on its own thread after every token; `Bell` gathers these calls, so that a step of 64 streams wakes
the loop once. Whoever reads falls behind at his own cost: what is new is taken from the sequence's own lists, several
tokens at a time. `close` cancels what still runs, which the engine sees before its next step.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from phidelity.completion import Completion, SamplingParams
from phidelity.engine.llm import LLM
from phidelity.engine.worker import Piece, Request
from phidelity.server.errors import ApiError
from phidelity.server.metrics import Metrics

TICK = 1.0
"""Seconds between looks at the clock while nothing comes (*ours*)."""
GATHER = 0.02
"""Seconds for which tokens are gathered before readers are woken (*ours*); slower engines are not held up."""
PING = 10.0
"""Seconds of silence after which a stream says that it lives (*ours*)."""


class Bell:
    """Wakes readers on the loop from the engine's thread, many with one call and at most every `GATHER` seconds.

    So a fast model's tokens reach a client a few at a time, and HTTP takes less of the processor; what is urgent (a
    first token, an end) does not wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: deque[asyncio.Event] = deque()
        self._is_called = self._is_urgent = False
        self._last = 0.0

    def ring(self, event: asyncio.Event, *, is_urgent: bool) -> None:
        """Set `event` on the loop, soon; from any thread."""
        self._events.append(event)
        if not self._is_called or (is_urgent and not self._is_urgent):
            self._is_called, self._is_urgent = True, is_urgent
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._deliver if is_urgent else self._deliver_in_time)

    def _deliver_in_time(self) -> None:
        wait = self._last + GATHER - time.monotonic()
        if wait > 0:
            self._loop.call_later(wait, self._deliver)
        else:
            self._deliver()

    def _deliver(self) -> None:
        self._is_called = self._is_urgent = False
        self._last = time.monotonic()
        while self._events:
            self._events.popleft().set()


class News(NamedTuple):
    """What is new of one choice, or with `choice` -1 that there is nothing and time has passed."""

    choice: int
    piece: Piece | None


class _Choice:
    """One sequence, and when it began to speak."""

    def __init__(self, answer: "Answer") -> None:
        self.answer = answer
        self.prompt: tuple[int, ...] = ()
        """As it was asked: choices of one prompt have one and the same object."""
        self.request: Request | None = None
        self.first = self.last = 0.0

    def news(self) -> None:
        """Called by the engine."""
        self.last = time.perf_counter()
        is_urgent = not self.first or self.request is None or self.request.is_done
        self.first = self.first or self.last
        if self.answer.is_streamed or is_urgent:
            self.answer.ring(is_urgent=is_urgent)


class Answer:
    """The choices of one request; made by `Service.answer`, and to be closed."""

    def __init__(
        self, llm: LLM, bell: Bell, metrics: Metrics, n: int, *, is_streamed: bool, seconds: float, on_close: Any
    ) -> None:
        self.is_streamed = is_streamed
        self.arrived = time.perf_counter()
        self._llm, self._bell, self._metrics, self._on_close = llm, bell, metrics, on_close
        self._event = asyncio.Event()
        self._choices = [_Choice(self) for _ in range(n)]
        self._deadline = self.arrived + seconds if seconds else float("inf")
        self._is_left = self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None

    def ring(self, *, is_urgent: bool) -> None:
        """Wake the reader; from any thread."""
        self._bell.ring(self._event, is_urgent=is_urgent)

    def submit(self, prompts: list[tuple[tuple[int, ...], int]], params: SamplingParams, allow: Any = None) -> None:
        """Hand each (prompt, repeat) to the engine; `allow` makes what restricts the tokens of one."""
        for choice, (ids, repeat) in zip(self._choices, prompts, strict=True):
            options = {"allowed": allow()} if allow else {}
            choice.prompt = ids
            choice.request = self._llm.submit(ids, params, repeat=repeat, on_news=choice.news, **options)

    @property
    def requests(self) -> list[Request]:
        """Those in the engine, in the order of the choices."""
        return [choice.request for choice in self._choices if choice.request]

    @property
    def seconds_left(self) -> float:
        """Until its time is over; infinite where there is no limit."""
        return self._deadline - time.perf_counter()

    @property
    def is_left(self) -> bool:
        """Whether the client has gone."""
        return self._is_left

    def leave(self) -> None:
        """The client has gone: end everything."""
        self._is_left = True
        self._cancel()
        self._event.set()

    async def leave_when_gone(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
        """Wait for the client to go."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.leave()

    async def news(self) -> AsyncIterator[News]:
        """What comes, choice by choice, until all have ended or the client is gone; now and then that nothing came."""
        live = dict(enumerate(self.requests))
        last: dict[int, float] = {}
        self._tick()
        while live and not self._is_left:
            await self._event.wait()
            self._event.clear()
            self._check_time()
            has_news = False
            for choice, request in list(live.items()):
                piece = request.take()
                if not (piece.text or piece.tokens or piece.finish_reason):
                    continue
                has_news = True
                if piece.tokens:
                    now, n = time.perf_counter(), len(piece.tokens)
                    if choice in last:
                        self._metrics.observe("inter_token_latency", (now - last[choice]) / n, n)
                    last[choice] = now
                if piece.finish_reason:
                    del live[choice]
                    check_end(request)
                yield News(choice, piece)
            if not has_news:
                yield News(-1, None)

    async def completions(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> list[Completion]:
        """All of them, when they have ended; cancelled when the client goes."""
        watcher = asyncio.ensure_future(self.leave_when_gone(receive))
        self._tick()
        try:
            while not self._is_left and not all(request.is_done for request in self.requests):
                await self._event.wait()
                self._event.clear()
                self._check_time()
            if self._is_left:
                raise ApiError(499, "The client has gone.")
            for request in self.requests:
                check_end(request)
            return [request.result() for request in self.requests]
        finally:
            watcher.cancel()

    def timings(self) -> dict[str, Any]:
        """Milliseconds and tokens, by llama.cpp's names; of the first choice where they differ."""
        choice = self._choices[0]
        assert choice.request
        n = len(choice.request.sequence.logprobs)
        first, last = choice.first or time.perf_counter(), choice.last or time.perf_counter()
        seconds = last - first
        return {
            "prompt_n": choice.request.prompt_tokens - choice.request.prefix_hit_tokens,
            "cache_n": choice.request.prefix_hit_tokens,
            "prompt_ms": round(1000 * (first - self.arrived), 3),
            "predicted_n": n,
            "predicted_ms": round(1000 * seconds, 3),
            "predicted_per_second": round((n - 1) / seconds, 2) if n > 1 and seconds > 0 else None,
        }

    def usage(self) -> dict[str, Any]:
        """Tokens read (once for all choices of a prompt) and written."""
        prompts = {id(one.prompt): one.request for one in self._choices if one.request}
        n_read = sum(one.prompt_tokens for one in prompts.values())
        n_written = sum(len(one.sequence.logprobs) for one in self.requests)
        return {
            "prompt_tokens": n_read,
            "completion_tokens": n_written,
            "total_tokens": n_read + n_written,
            "prompt_tokens_details": {"cached_tokens": sum(one.prefix_hit_tokens for one in prompts.values())},
        }

    def progress(self) -> tuple[int, int]:
        """Prompt tokens computed so far, and all of them, while no choice has spoken; else (0, 0).

        The choices of one prompt compute it once: the furthest of them counts.
        """
        if any(choice.first for choice in self._choices):
            return 0, 0
        done: dict[int, tuple[int, int]] = {}
        for choice, one in zip(self._choices, self.requests, strict=False):
            read, of = min(one.sequence.n_cached, one.prompt_tokens), one.prompt_tokens
            done[id(choice.prompt)] = max(done.get(id(choice.prompt), (0, 0)), (read, of))
        return sum(read for read, _ in done.values()), sum(of for _, of in done.values())

    def close(self) -> None:
        """Cancel what runs, count what was done, free the places; again is fine."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._timer:
            self._timer.cancel()
        self._cancel()
        now = time.perf_counter()
        for choice in self._choices:
            if not choice.request:
                continue
            self._metrics.ended[choice.request.sequence.finish_reason or "cancelled"] += 1
            self._metrics.observe("e2e_request_latency", now - self.arrived)
            n = len(choice.request.sequence.logprobs)
            if n:
                self._metrics.observe("time_to_first_token", choice.first - self.arrived)
            if n > 1:
                self._metrics.observe("request_time_per_output_token", (choice.last - choice.first) / (n - 1))
        self._on_close()

    def _tick(self) -> None:
        """Wake the reader now and then, so that it looks at the clock."""
        self._event.set()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _cancel(self) -> None:
        for request in self.requests:
            if not request.is_done:
                request.cancel()

    def _check_time(self) -> None:
        if self.seconds_left < 0:
            self._cancel()
            raise ApiError(504, "The request took longer than this server allows (--timeout).", code="timeout")


def check_end(request: Request) -> None:
    """Refuse an answer that was ended by the server or by a failure."""
    reason = request.sequence.finish_reason
    if reason == "error":
        raise ApiError(500, f"The engine could not go on: {request.sequence.error}.", code="engine_error")
    if reason == "cancelled":
        raise ApiError(503, "The server is shutting down; ask again elsewhere or later.", headers={"Retry-After": "5"})
    if request.sequence.allowed and request.sequence.allowed.is_broken:
        told = "The grammar of this schema or these tools found no way on; what was said is no whole JSON. Simplify it."
        raise ApiError(400, told, code="invalid_json_schema")
