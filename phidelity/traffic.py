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


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in all; None is no cap. A request whose longest answer could pass a cap does not go out."""

    tokens: int | None = None
    """Read and written together."""
    cost: float | None = None
    """In the currency of the prices."""


@dataclass(slots=True)
class Totals:
    """What has passed so far; cost in the currency of the prices, 0 without prices."""

    requests: int = 0
    retries: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def spend(self, prompt_tokens: int, completion_tokens: int, prices: tuple[float, float]) -> None:
        """Add tokens at prices per million."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.cost += (prompt_tokens * prices[0] + completion_tokens * prices[1]) / 1e6


class Purse:
    """Keeps a run within its budget: what is under way counts with its longest answer until it has ended."""

    def __init__(self, budget: Budget, prices: tuple[float, float], spent: Totals) -> None:
        self._budget, self._prices, self._spent, self._lock = budget, prices, spent, threading.Lock()
        self._held_tokens, self._held_cost = 0, 0.0

    def hold(self, prompt_tokens: int, completion_tokens: int) -> str | None:
        """Set a request's longest answer aside; None when that was done, what the budget says if it never can be, and
        an empty text while only requests that are under way stand against it."""
        tokens, cost = prompt_tokens + completion_tokens, self._cost(prompt_tokens, completion_tokens)
        with self._lock:
            spent = self._spent.prompt_tokens + self._spent.completion_tokens
            checks = (
                ("tokens", spent, self._held_tokens, tokens, self._budget.tokens),
                ("money", self._spent.cost, self._held_cost, cost, self._budget.cost),
            )
            for name, used, held, more, cap in checks:
                if cap is not None and used + held + more > cap:
                    over = f"the budget of {cap:g} in {name} is used up: {used:g} spent, and up to {more:g} are asked"
                    return over if used + more > cap or not held else ""
            self._held_tokens, self._held_cost = self._held_tokens + tokens, self._held_cost + cost
        return None

    def release(self, prompt_tokens: int, completion_tokens: int) -> None:
        """A request that was set aside has ended; what it cost is in the totals."""
        with self._lock:
            self._held_tokens -= prompt_tokens + completion_tokens
            self._held_cost -= self._cost(prompt_tokens, completion_tokens)

    def _cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self._prices[0] + completion_tokens * self._prices[1]) / 1e6


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
