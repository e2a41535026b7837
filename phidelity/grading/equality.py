"""Whether two LaTeX expressions are equal, by math-verify in worker processes with a deadline.

Both sides are wrapped in dollars (unwrapped, three wrong answers of 65 count as right), the gold one first (the
comparison is not symmetric); length, nesting, digits and exponents are capped before anything is parsed; one process
takes one question at a time and is killed at the deadline. Workers start when first needed and are shared; threads
wait for a free one.
"""

import atexit
import functools
import json
import os
import queue
import re
import select
import subprocess
import sys
from pathlib import Path

from phidelity.grading.sandbox.values import receive, send

MAX_CHARS, MAX_DEPTH, MAX_DIGITS, MAX_EXPONENT = 500, 24, 40, 5
"""Longer answers, deeper brackets, longer numbers, exponents of more digits are not parsed (*ours*)."""
DEADLINE, COLD_START = 6.0, 60.0
"""Seconds for one question, and for a worker to import SymPy on a busy machine (*ours*)."""
N_WORKERS = 2

_START = "import sys; sys.path.insert(0, sys.argv.pop()); from phidelity.grading import math_worker; math_worker.main()"
_LONG_NUMBER = re.compile(rf"\d{{{MAX_DIGITS},}}")
_TOWER = re.compile(rf"\^[{{\s(]*[^{{}}^]*\^|\d\s*!|\^[{{\s(]*[-+]?\d{{{MAX_EXPONENT},}}")


def is_safe(text: str) -> bool:
    """Whether an expression is small enough to be parsed."""
    if len(text) > MAX_CHARS or _LONG_NUMBER.search(text) or not text.strip():
        return False
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return deepest <= MAX_DEPTH and not _TOWER.search(text)


class Workers:
    """A few math-verify processes; `equal` may be called from several threads."""

    def __init__(self, n: int = N_WORKERS, deadline: float = DEADLINE) -> None:
        self.deadline = deadline
        self._free: queue.Queue[subprocess.Popen[bytes] | None] = queue.Queue()
        for _ in range(n):
            self._free.put(None)

    def equal(self, gold: str, answer: str) -> bool | None:
        """Whether they are equal; None where either is not read, too large, or the time was up."""
        if not (is_safe(gold) and is_safe(answer)):
            return None
        worker = self._free.get()
        try:
            worker = worker or _started()
            reply = _ask(worker, [gold, answer], self.deadline)
            if reply is None:
                _end(worker)
                worker = None
        finally:
            self._free.put(worker)
        return reply if isinstance(reply, bool) else None

    def close(self) -> None:
        """End all workers."""
        for _ in range(self._free.qsize()):
            if worker := self._free.get():
                _end(worker)
            self._free.put(None)


@functools.cache
def workers() -> Workers:
    """The workers of this process."""
    found = Workers()
    atexit.register(found.close)
    return found


def _started() -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath, "PYTHONHASHSEED": "0"},
        start_new_session=True,
    )
    if _reply(worker, COLD_START) != "ready":
        _end(worker)
        raise OSError("math-verify did not start; is it installed?")
    return worker


def _ask(worker: subprocess.Popen[bytes], question: list[str], deadline: float) -> bool | str | None:
    """The reply; "unread" for an expression that is none; None where the worker is lost."""
    assert worker.stdin
    try:
        send(worker.stdin.fileno(), json.dumps(question).encode())
    except OSError:
        return None
    return _reply(worker, deadline)


def _reply(worker: subprocess.Popen[bytes], seconds: float) -> bool | str | None:
    assert worker.stdout
    ready = select.select([worker.stdout.fileno()], [], [], seconds)[0]
    try:
        said = json.loads(receive(worker.stdout.fileno())) if ready else None
    except (OSError, ValueError):
        return None
    return "unread" if ready and said is None else said


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.communicate()
