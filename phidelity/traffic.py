"""What passes between us and an endpoint: how long to wait, how fast to ask, what it cost, and a log of it.

`Pacer` spreads requests and tokens evenly over the minute. `wait_before` says how long to wait before another try:
the endpoint's own `Retry-After` where it sends one, else a step of the caller's patience with jitter. The jitter is
a function of the request and the try, so no random state is shared between threads.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

PATIENCE = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between tries when an endpoint is busy or out of reach, before jitter (*ours*)."""
LONGEST_WAIT = 120.0
"""An endpoint that asks for a longer wait than this many seconds has refused (*ours*)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an endpoint lets us do in a minute; None is no limit."""

    requests: float | None = None
    tokens: float | None = None
    """Read and written together; a request counts with its longest possible answer until it has ended."""


@dataclass(slots=True)
class Totals:
    """What has passed so far; cost in the currency of the prices, 0 without prices."""

    requests: int = 0
    retries: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


class Pacer:
    """Holds back requests so that neither limit is passed, counted from the first request on."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock, self._lock = limits, clock, threading.Lock()
        self._next_request = self._next_token = 0.0

    def reserve(self, tokens: int) -> float:
        """Seconds to wait before a request of about `tokens` tokens may go out; its place is taken."""
        with self._lock:
            now = self._clock()
            at = max(now, self._next_request, self._next_token)
            if self._limits.requests:
                self._next_request = at + 60 / self._limits.requests
            if self._limits.tokens:
                self._next_token = max(now, self._next_token) + 60 * tokens / self._limits.tokens
            return at - now

    def settle(self, reserved: int, used: int) -> None:
        """Give back what a request did not use of its reservation, or take what it used more."""
        if self._limits.tokens:
            with self._lock:
                self._next_token += 60 * (used - reserved) / self._limits.tokens


@dataclass(slots=True)
class RequestLog:
    """One JSON line a try: when, which request, status, seconds, tokens, and what went wrong. No key, no prompt."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, **row: Any) -> None:
        """Append one line."""
        line = json.dumps({"time": round(time.time(), 3), **row}, ensure_ascii=False) + "\n"
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)


def wait_before(step: float, headers: Mapping[str, str], request: str, tried: int) -> float:
    """Seconds before the next try: Retry-After (seconds or a date) and a little more, else 50 to 100 % of `step`."""
    digest = hashlib.sha256(f"{request}/{tried}".encode()).digest()
    jitter = int.from_bytes(digest[:4], "big") / 2**32
    asked = _retry_after(headers.get("retry-after", ""))
    return step * (0.5 + jitter / 2) if asked is None else asked + jitter * min(1.0, step)


def _retry_after(text: str) -> float | None:
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
