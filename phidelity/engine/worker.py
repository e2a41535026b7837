"""The one thread that owns the engine, and the requests through which any other thread speaks with it.

The thread lives while there is work and a moment longer. A request keeps no queue: its reader has a place in the
sequence's own lists and takes what is new, so one that never reads costs nothing and holds nobody up.

Whoever is handed over is kept in one set until it is handed back, which happens once, whatever fails: a step, the
making of the engine, or the thread. A failure of the engine itself is raised to those whose requests it ended; later
requests begin anew, on a new thread where the old one died, and in a forked child.
"""

import atexit
import logging
import os
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
        self._worker.look_for_cancelled()

    def take(self) -> Piece:
        """What is new, at once, be it nothing. Who takes from a request that still runs is reading a stream."""
        sequence = self.sequence
        sequence.is_streamed = sequence.is_streamed or not self.is_done
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
        """Pieces as they come; the last one has a finish_reason, again if asked again. Leaving does not cancel."""
        self.sequence.is_streamed = True
        while True:
            if not self.is_done:
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
        self._live: dict[Sequence, None] = {}
        """Handed over and not handed back."""
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._changed = threading.Condition()
        self._process = os.getpid()
        _WORKERS.add(self)

    @property
    def n_arriving(self) -> int:
        """Requests that the engine has not seen yet."""
        return len(self._inbox)

    def submit(self, sequences: list[Sequence]) -> None:
        """Hand sequences to the engine; starts the thread where none runs."""
        self._begin_in_child()
        with self._changed:
            if self._is_closing:
                raise RuntimeError("the engine is closed")
            if not self._thread:
                thread = threading.Thread(target=self._run, name="engine", daemon=True)
                thread.start()  # waits for the lock; where it cannot start, nothing was taken
                self._thread = thread
            self._inbox += sequences
            self._live.update(dict.fromkeys(sequences))
            self._changed.notify()

    def look_for_cancelled(self) -> None:
        """Let the engine look for requests that are to end, before its next step."""
        if self.engine:
            self.engine.has_cancelled = True

    def close(self) -> None:
        """Cancel what runs, save what is cached, end the thread. Again is fine."""
        self._begin_in_child()
        with self._changed:
            self._is_closing = True
            thread = self._thread
            self._changed.notify()
        if thread and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        try:
            while (arrived := self._next()) is not None:
                try:
                    ended = self._step(arrived)
                except Exception as error:
                    logger.exception("a step of the engine failed")
                    ended = self._fail(error)
                self._hand_back(ended)
        except BaseException as error:
            logger.exception("the engine's thread ended; the next request starts anew")
            with self._changed:
                self._thread, self.engine, self._inbox = None, None, []
                lost = list(self._live)
            self._hand_back(_failed(lost, error))

    def _step(self, arrived: list[Sequence]) -> list[Sequence]:
        if not self.engine:
            self.engine = self._make()
        for sequence in arrived:
            self.engine.add(sequence)
        start = time.perf_counter()
        ended = self.engine.step()
        self.engine.scheduler.pace.learn(time.perf_counter() - start)
        return ended

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
            if self.engine and self.engine.scheduler.save_one():
                continue
            with self._changed:
                if not self._inbox and not self._is_closing:
                    self._changed.wait(LINGER)
                if not self._inbox:
                    self._thread = None
                    return None

    def _cancel_all(self) -> None:
        for sequence in self._live:
            sequence.is_cancelled = True
        self.look_for_cancelled()

    def _fail(self, error: Exception) -> list[Sequence]:
        """All requests that the engine had; those that had not ended by themselves end with the error."""
        try:
            if self.engine:
                self.engine.abandon()
        except Exception:
            logger.exception("the engine cannot go on; another is made for later requests")
            self.engine = None
        with self._changed:
            to_come = set(self._inbox)
            lost = [sequence for sequence in self._live if sequence not in to_come]
        return _failed(lost, error)

    def _hand_back(self, ended: list[Sequence]) -> None:
        """Tell those that go on of their tokens, and those that ended of their end, each once."""
        spoke = self.engine.spoke if self.engine else []
        calls = [one.on_token for one in spoke if one.on_token]
        with self._changed:
            ended = [one for one in ended if one in self._live]
            for one in ended:
                del self._live[one]
        calls += [one.on_end for one in ended if one.on_end]
        for call in calls:
            try:
                call()
            except Exception:
                logger.exception("a listener to the engine failed; the engine goes on")

    def _begin_in_child(self) -> None:
        """After a fork: no thread is here, and an engine that may have been in the middle of a step is of no use."""
        if self._process == os.getpid():
            return
        self._process, self._changed = os.getpid(), threading.Condition()
        self._thread, self.engine, self._inbox = None, None, []
        error = RuntimeError("the process was forked, and the request stayed with its parent")
        self._hand_back(_failed(list(self._live), error))


def _failed(lost: list[Sequence], error: BaseException) -> list[Sequence]:
    """All of them, those that had not ended by themselves with the error."""
    for sequence in lost:
        if not sequence.finish_reason:
            sequence.error, sequence.failure = str(error) or type(error).__name__, error
            sequence.finish_reason = "error"
    return lost


_WORKERS: "weakref.WeakSet[Worker]" = weakref.WeakSet()


def _close_all() -> None:
    for worker in list(_WORKERS):
        worker.close()


atexit.register(_close_all)
