"""A Completer behind an OpenAI-style endpoint: vLLM, SGLang, llama.cpp's server, our own, or a hosted API.

Chats go to /chat/completions, texts and ids to /completions. Every request has a deadline and a bounded number of
tries. What one request cannot get is a completion with finish_reason `error`; an endpoint that refuses (wrong key,
wrong model), that never answers or that stops answering is a `UserError`, and what came before has been handed to
`on_done`. A null content is an empty answer with finish_reason `null`; a prompt over the context is
`context_exceeded`. Log-probabilities of prompts need an endpoint that honours `echo`.
All tries of one request carry one `Idempotency-Key`, so an endpoint that knows the header charges for one of them.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from phidelity.completion import Capabilities, Completion, Prompt, SamplingParams, Usage, asked, check, require
from phidelity.config import UserError
from phidelity.traffic import (
    LONGEST_WAIT,
    PATIENCE,
    Budget,
    Limits,
    Pacer,
    Purse,
    RequestLog,
    Totals,
    wait_before,
)
from phidelity.wire import (
    Failure,
    Retry,
    Scored,
    cannot_score,
    judge,
    read_completion,
    read_scored,
    request_body,
)

MAX_REPLY = 64 << 20
"""Bytes of one reply that are read (*ours*)."""
MAX_FAILURES = 8
"""Requests in a row that may fail for good before the endpoint counts as dead (*ours*)."""

_STOPPED = Failure("stopped", True)
"""What becomes of requests that wait when another has shown that no answer will come."""


@dataclass(slots=True)
class HttpCompleter:
    """A Completer behind an OpenAI-style endpoint; `n_parallel` requests are under way at a time."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    n_parallel: int = 8
    patience: tuple[float, ...] = PATIENCE
    timeout: float = 600.0
    """Seconds that one try may take, the reading of a slow reply included."""
    limits: Limits = field(default_factory=Limits)
    prices: tuple[float, float] = (0.0, 0.0)
    """Per million tokens read and written."""
    budget: Budget = field(default_factory=Budget)
    """A hard cap on `totals`; whoever resumes a run adds to them what earlier runs paid."""
    log: Path | None = None
    """Where each try is logged."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of every request body."""
    totals: Totals = field(default_factory=Totals)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _pacer: Pacer = field(init=False, repr=False)
    _purse: Purse = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_url(self.url)
        self._purse = Purse(self.budget, self.prices, self.totals)
        self._pacer = Pacer(self.limits)

    @property
    def name(self) -> str:
        """The model at its endpoint; the key is no part of it."""
        return f"{self.model}@{self.url}"

    @property
    def capabilities(self) -> Capabilities:
        """Prompts of any kind; answers come as text, and scores where the endpoint honours `echo`."""
        return Capabilities(logprobs=True, ignored=frozenset({"prompt_logprobs"}))

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """`params.n` completions per prompt, in order; an endpoint that stays unwilling is a `UserError`."""
        check(params)
        require(self, prompts, params)
        bodies = [request_body(one.prompt, params, one.repeat) for one in asked(prompts, params)]
        completions = self._ask_all(bodies, read_completion, on_done)
        return [one.model_copy(update={"index": place % params.n}) for place, one in enumerate(completions)]

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """Log-probability of each token after the first, from an endpoint that scores prompts of token ids."""
        scored = self.score([list(prompt) for prompt in prompts])
        rows = [tuple(value for value in one.logprobs[1:] if value is not None) for one in scored]
        for prompt, row in zip(prompts, rows, strict=True):
            if len(row) != len(prompt) - 1:
                raise cannot_score(self.url, f"{len(row)} numbers for {len(prompt)} token ids")
        return rows

    def score(self, prompts: Sequence[str | list[int]]) -> list[Scored]:
        """Texts as the endpoint's own tokens with their log-probabilities, by /completions with `echo`."""
        bodies = [
            {"prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1} for prompt in prompts
        ]
        return self._ask_all(bodies, read_scored, None)

    def _ask_all(
        self, bodies: Sequence[dict[str, Any]], read: Callable[[Any, str], Any], on_done: Callable[..., None] | None
    ) -> list[Any]:
        """Keep `n_parallel` requests under way; stop at the first sign that the endpoint will not answer any more.

        What is under way when an endpoint refuses or a budget ends may be paid for, so it is waited for and handed on.
        """
        results: dict[int, Any] = {}
        stop = threading.Event()
        n_failed_in_a_row, first, fatal = 0, "", ""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        slots = httpx.Limits(max_connections=self.n_parallel, max_keepalive_connections=self.n_parallel)
        timeout = httpx.Timeout(self.timeout, connect=min(self.timeout, 15.0), pool=None)
        with (
            httpx.Client(base_url=self.url.rstrip("/") + "/", headers=headers, timeout=timeout, limits=slots) as client,
            ThreadPoolExecutor(self.n_parallel) as pool,
        ):
            jobs: dict[Future[Any], int] = {
                pool.submit(self._ask, client, stop, body, read, index): index for index, body in enumerate(bodies)
            }
            try:
                waiting = set(jobs)
                while waiting:
                    ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for job in sorted(ended, key=jobs.__getitem__):
                        index, result = jobs[job], job.result()
                        if result is _STOPPED:
                            continue
                        if isinstance(result, Failure):
                            n_failed_in_a_row, first = n_failed_in_a_row + 1, first or result.found
                            everything_failed = not results and n_failed_in_a_row == len(bodies)
                            fatal = fatal or (result.found if result.is_fatal else "")
                            if fatal:
                                continue
                            if everything_failed or n_failed_in_a_row >= MAX_FAILURES:
                                raise _unwilling(self.url, result.found, len(results), len(bodies))
                            continue
                        n_failed_in_a_row = 0
                        results[index] = result
                        if on_done:
                            on_done(index, result)
                if fatal:
                    raise _unwilling(self.url, fatal, len(results), len(bodies))
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                client.close()
                raise
        for index in range(len(bodies)):
            if index not in results:
                results[index] = _error(self.url, first, read)
                if on_done:
                    on_done(index, results[index])
        return [results[index] for index in range(len(bodies))]

    def _ask(
        self,
        client: httpx.Client,
        stop: threading.Event,
        body: dict[str, Any],
        read: Callable[[Any, str], Any],
        index: int,
    ) -> Any:
        """One request with its tries: what `read` makes of the reply, or why there is none."""
        path = "chat/completions" if "messages" in body else "completions"
        request = json.dumps({"model": self.model, **body, **self.extra})
        longest = len(request.encode()) // 2, body.get("max_tokens", 0)
        while (found := self._purse.hold(*longest)) is not None:
            if found:
                return self._failed(Failure(found, True), stop)
            if stop.wait(0.02):
                return _STOPPED
        try:
            return self._try(client, stop, path, request, body.get("max_tokens", 0), read, index)
        finally:
            self._purse.release(*longest)

    def _try(
        self,
        client: httpx.Client,
        stop: threading.Event,
        path: str,
        request: str,
        max_tokens: int,
        read: Callable[[Any, str], Any],
        index: int,
    ) -> Any:
        """The tries of one request that the budget allows."""
        reserved = len(request) // 4 + max_tokens
        found, headers = "", httpx.Headers()
        for tried, step in enumerate((0.0, *self.patience)):
            pause = wait_before(step, headers, request, tried) if tried else 0.0
            if pause > LONGEST_WAIT:
                return self._failed(Failure(f"it asks to wait {pause:.0f} s; {found}", True), stop)
            if stop.wait(pause + self._pacer.reserve(reserved)):
                return _STOPPED
            began = time.monotonic()
            status, headers, reply = _post(client, path, request, self.timeout)
            result = judge(status, reply, read, self.url)
            self._count(tried, result, reserved)
            self._log(index, tried, status, time.monotonic() - began, result)
            if not isinstance(result, Retry):
                return self._failed(result, stop) if isinstance(result, Failure) else result
            found = result.found
        return self._failed(Failure(found, False), stop)

    def _failed(self, failure: Failure, stop: threading.Event) -> Failure:
        """Count a request that is given up; a fatal one keeps those that wait from going out."""
        if failure.is_fatal:
            stop.set()
        with self._lock:
            self.totals.failures += 1
        return failure

    def _count(self, tried: int, result: Any, reserved: int) -> None:
        usage = result.usage if isinstance(result, Completion) else Usage(prompt_tokens=0, completion_tokens=0)
        used = usage.prompt_tokens + usage.completion_tokens
        if used:
            self._pacer.settle(reserved, used)
        with self._lock:
            totals = self.totals
            totals.requests += 1
            totals.retries += tried > 0
            totals.spend(usage.prompt_tokens, usage.completion_tokens, self.prices)

    def _log(self, index: int, tried: int, status: int, seconds: float, result: Any) -> None:
        if self.log:
            told = {"found": result.found} if isinstance(result, Failure | Retry) else {}
            used = {"usage": result.usage.model_dump()} if isinstance(result, Completion) else {}
            row = {"request": index, "try": tried, "status": status, "seconds": round(seconds, 3)}
            RequestLog(self.log, self._lock).write(**row, **used, **told)


def _error(url: str, found: str, read: Callable[[Any, str], Any]) -> Completion:
    """What stands in the place of one answer that could not be had."""
    if read is not read_completion:
        raise _unwilling(url, found, 0, 1)
    usage = Usage(prompt_tokens=0, completion_tokens=0)
    return Completion(text="", finish_reason="error", usage=usage, error=found)


def _unwilling(url: str, found: str, n_done: int, n: int) -> UserError:
    done = f" after {n_done} of {n} answers" if n_done else ""
    what = "Raise the budget" if found.startswith("the budget") else "Check url, model and key"
    return UserError(f"The endpoint {url} did not answer{done} ({found}). {what}, then go on.")


def check_url(url: str) -> None:
    """Refuse what is no endpoint, and keys in the address: it is written beside every answer."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UserError(f"{url!r} is no address ({error}); expected one such as http://localhost:8000/v1.") from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise UserError(f"{url!r} is no address of an endpoint; expected one such as http://localhost:8000/v1.")
    if parts.userinfo or parts.query:
        raise UserError("The address holds a user or a query, where keys would be kept; name the key by --key-env.")


def _post(client: httpx.Client, path: str, request: str, seconds: float) -> tuple[int, httpx.Headers, str]:
    """Status (0: none), headers and text of a reply that came whole within its deadline and size."""
    deadline = time.monotonic() + seconds
    key = hashlib.sha256(request.encode()).hexdigest()[:32]
    try:
        with client.stream(
            "POST", path, content=request.encode(), headers={"Content-Type": "application/json", "Idempotency-Key": key}
        ) as response:
            parts, size = [], 0
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_REPLY or time.monotonic() > deadline:
                    why = f"over {MAX_REPLY} bytes" if size > MAX_REPLY else f"not whole after {seconds:.0f} s"
                    return 0, response.headers, f"a reply {why}"
            return response.status_code, response.headers, b"".join(parts).decode("utf-8", "replace")
    except (httpx.TransportError, httpx.DecodingError) as error:
        return 0, httpx.Headers(), str(error) or type(error).__name__
    except RuntimeError as error:  # the client was closed because the run stops
        return 0, httpx.Headers(), str(error)
