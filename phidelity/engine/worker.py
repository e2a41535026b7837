"""The one thread that owns the engine, and the requests through which any other thread speaks with it.

The thread lives while there is work and a moment longer. A request keeps no queue: its reader has a place in the
sequence's own lists and takes what is new, so one that never reads costs nothing and holds nobody up. A failure of
the engine itself is raised to those whose requests it ended; later requests begin anew.
"""

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import NamedTuple

from phidelity.completion import Completion
from phidelity.engine.engine import Engine
from phidelity.engine.sequence import Sequence

LINGER = 0.5
"""Seconds the thread waits for more before it ends (*ours*)."""

logger = logging.getLogger(__name__)


class Piece(NamedTuple):
    """What is new of a request since it was last asked."""

    text: str
    """Whole characters only; empty where a stop string may have begun."""
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    alternatives: tuple[object, ...]
    finish_reason: str
    """Empty while there is more to come."""


class Request:
    """A completion under way. Every method may be called from any thread; one reader at a time."""

    def __init__(self, sequence: Sequence, worker: "Worker", complete: Callable[[Sequence], Completion]) -> None:
        self.sequence = sequence
        self._worker = worker
        self._complete = complete
        self._n_text, self._n_tokens = 0, 0
        self._news = threading.Event()
        self._has_ended = threading.Event()
        self._on_news, self._on_end = sequence.on_token, sequence.on_end
        sequence.on_end = self._end
        if sequence.text:
            sequence.on_token = self._tell

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self._has_ended.is_set()

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.sequence.prompt)

    @property
    def prefix_hit_tokens(self) -> int:
        """Tokens of the prompt that were not computed, because the cache held them."""
        return self.sequence.n_reused

    def cancel(self) -> None:
        """End it before the next step; what was said so far stays."""
        self.sequence.is_cancelled = True
        self._worker.poke()

    def take(self) -> Piece:
        """What is new, at once, be it nothing."""
        sequence = self.sequence
        finish_reason = sequence.finish_reason if self.is_done else ""
        start, end, text = self._n_tokens, len(sequence.logprobs), sequence.shown
        first = len(sequence.prompt) + start
        piece = Piece(
            text=text[self._n_text :],
            tokens=tuple(sequence.tokens[first : first + end - start]),
            logprobs=tuple(sequence.logprobs[start:end]),
            alternatives=tuple(sequence.alternatives[start:end]),
            finish_reason=finish_reason,
        )
        self._n_text, self._n_tokens = len(text), end
        return piece

    def __iter__(self) -> Iterator[Piece]:
        """Pieces as they come; the last one has a finish_reason. Leaving early does not cancel."""
        while True:
            self._news.wait()
            self._news.clear()
            piece = self.take()
            if piece.text or piece.tokens or piece.finish_reason:
                yield piece
            if piece.finish_reason:
                self._raise()
                return

    def result(self, timeout: float | None = None) -> Completion:
        """The whole completion, when it has ended; TimeoutError where that takes longer."""
        if not self._has_ended.wait(timeout):
            raise TimeoutError(f"the request has not ended after {timeout} seconds")
        self._raise()
        return self._complete(self.sequence)

    def _raise(self) -> None:
        if failure := self.sequence.failure:
            raise RuntimeError(f"the engine failed: {failure}") from failure

    def _tell(self) -> None:
        self._news.set()
        if self._on_news:
            self._on_news()

    def _end(self) -> None:
        self._has_ended.set()
        self._news.set()
        for call in (self._on_news, self._on_end):
            if call:
                call()


class Worker:
    """Runs an engine on a thread of its own, made when first needed."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self.engine: Engine | None = None
        self._make = make
        self._inbox: list[Sequence] = []
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._changed = threading.Condition()
        atexit.register(_close, weakref.ref(self))

    @property
    def n_arriving(self) -> int:
        """Requests that the engine has not seen yet."""
        return len(self._inbox)

    def submit(self, sequences: list[Sequence]) -> None:
        """Hand sequences to the engine; starts the thread where none runs."""
        with self._changed:
            if self._is_closing:
                raise RuntimeError("the engine is closed")
            self._inbox += sequences
            if not self._thread:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()
            self._changed.notify()

    def poke(self) -> None:
        """Let the thread look for cancelled requests."""
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """Cancel what runs, save what is cached, end the thread. Again is fine."""
        with self._changed:
            self._is_closing = True
            thread = self._thread
            self._changed.notify()
        if thread and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while (arrived := self._next()) is not None:
            try:
                if not self.engine:
                    self.engine = self._make()
                for sequence in arrived:
                    self.engine.add(sequence)
                start = time.perf_counter()
                ended = self.engine.step()
                self.engine.scheduler.pace.learn(time.perf_counter() - start)
            except Exception as error:
                logger.exception("a step of the engine failed")
                ended = self._fail(error, arrived)
            self._tell(ended)

    def _next(self) -> list[Sequence] | None:
        """What has arrived, when there is something to do; None when the thread is to end."""
        while True:
            with self._changed:
                is_busy = self.engine is not None and self.engine.is_busy
                if self._is_closing:
                    self._cancel_all()
                if self._inbox or is_busy:
                    arrived, self._inbox = self._inbox, []
                    return arrived
            if self.engine and self._save_one():
                continue
            with self._changed:
                if not self._inbox and not self._is_closing:
                    self._changed.wait(LINGER)
                if not self._inbox:
                    self._thread = None
                    return None

    def _save_one(self) -> bool:
        assert self.engine
        return self.engine.scheduler.save_one()

    def _cancel_all(self) -> None:
        running = [*self.engine.scheduler.running, *self.engine.scheduler.waiting] if self.engine else []
        for sequence in (*running, *self._inbox):
            sequence.is_cancelled = True

    def _fail(self, error: Exception, arrived: list[Sequence]) -> list[Sequence]:
        """End all requests with the error; where the engine could not even be made, those that arrived."""
        ended = self.engine.abandon(str(error)) if self.engine else arrived
        for sequence in ended:
            sequence.finish_reason, sequence.error, sequence.failure = "error", str(error), error
        return ended

    def _tell(self, ended: list[Sequence]) -> None:
        spoke = [one for one in self.engine.spoke if not one.finish_reason] if self.engine else []
        for call in [one.on_token for one in spoke if one.on_token] + [one.on_end for one in ended if one.on_end]:
            try:
                call()
            except Exception:
                logger.exception("a listener to the engine failed; the engine goes on")


def _close(reference: "weakref.ref[Worker]") -> None:
    if worker := reference():
        worker.close()
