"""What long work tells whoever watches: a name, a total and how far it is. `SILENT` by default.

Library code takes a `progress: Progress = SILENT` and knows nothing of terminals; `cli` draws. `Pace` is for those
who watch: how fast a task goes and what is left of it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, n: float = 1, note: str = "") -> None:
        """Say that `n` more units are done; `note` is a few words such as a loss."""
        ...


class Progress(Protocol):
    """Draws or records tasks."""

    def task(self, name: str, total: float | None, unit: str = "") -> AbstractContextManager[Task]:
        """Begin a task of `total` units; use as a context manager that yields a `Task`."""
        ...


class _SilentTask:
    def advance(self, n: float = 1, note: str = "") -> None:
        pass


class _Silent:
    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator[Task]:
        yield _SilentTask()


SILENT: Progress = _Silent()


class Pace:
    """Rate and time left of a task. Its first report sets the clock and counts for no speed, since a resumed
    task begins by reporting what stood before."""

    def __init__(self, total: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done = total, 0.0
        self._clock = clock
        self._first: tuple[float, float] | None = None

    def advance(self, n: float) -> None:
        """Count `n` more units."""
        self.done += n
        if self._first is None and n:
            self._first = (self.done, self._clock())

    @property
    def rate(self) -> float:
        """Units a second; 0.0 while unknown."""
        if self._first is None:
            return 0.0
        done, since = self._first
        elapsed = self._clock() - since
        return (self.done - done) / elapsed if elapsed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end at this rate; None while unknown."""
        if self.total is None or not self.rate:
            return None
        return max(self.total - self.done, 0.0) / self.rate


def readable_size(n_bytes: float) -> str:
    """`512 B`, `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
