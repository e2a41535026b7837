"""What long work tells whoever watches: a name, a total and how far it is. `SILENT` by default.

Library code takes a `progress: Progress = SILENT` and knows nothing of terminals; `cli` draws.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, n: float = 1, note: str = "") -> None:
        """Say that `n` more units are done; `note` is a few words such as a loss."""
        ...


class Progress(Protocol):
    """Draws or records tasks."""

    def task(self, name: str, total: float | None, unit: str = "") -> "TaskContext":
        """Begin a task of `total` units; use as a context manager that yields a `Task`."""
        ...


class TaskContext(Protocol):
    """What `Progress.task` returns."""

    def __enter__(self) -> Task: ...
    def __exit__(self, *exc: object) -> bool | None: ...


class _SilentTask:
    def advance(self, n: float = 1, note: str = "") -> None:
        pass


class _Silent:
    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator[Task]:
        yield _SilentTask()


SILENT: Progress = _Silent()
