"""The inside of a math-verify worker: length-prefixed JSON in, length-prefixed JSON out, until the pipe closes.

Runs in a process of its own, because a hostile expression can hold SymPy for ever or eat memory: the parent kills it
at a deadline, the limits here end it first where memory is the trouble. Only math-verify's LaTeX grammar is used;
its reader of plain expressions, which evaluates Python, is replaced by one that refuses.
"""

import json
import logging
import os
import resource
import sys
from typing import Any

from phidelity.grading.sandbox.values import receive, send

MEMORY = 2 << 30
SECONDS = 2
"""How long math-verify may take to parse or compare, by its own alarm (*ours*)."""


def main() -> None:
    """Answer questions [gold, answer] by true, false, or null where either cannot be read."""
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    logging.disable(logging.CRITICAL)
    compare = _comparer()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    send(answers, b'"ready"')
    while True:
        try:
            question = receive(0)
        except OSError:
            return
        send(answers, json.dumps(_answered(compare, question)).encode())


def _answered(compare: Any, question: bytes) -> bool | None:
    try:
        return compare(*json.loads(question))
    except (Exception, MemoryError, RecursionError):  # any failure inside is "cannot be read"
        return None


def _comparer() -> Any:
    import math_verify
    from math_verify import parser

    def refuse(*_: Any) -> None:
        raise ValueError("plain expressions are not evaluated")

    parser.parse_expr = parser.parse_expr_cached = refuse
    sys.setrecursionlimit(2_000)
    latex = [math_verify.LatexExtractionConfig()]

    def read(text: str) -> Any:
        return math_verify.parse(f"${text}$", latex, fallback_mode="no_fallback", parsing_timeout=SECONDS)

    def compare(gold: str, answer: str) -> bool | None:
        wanted, said = read(gold), read(answer)
        return bool(math_verify.verify(wanted, said, timeout_seconds=SECONDS)) if wanted and said else None

    return compare
