"""What may not stay: exact duplicates, and whatever repeats an evaluation problem; each reason is counted.

Long problems are found by phi-4's n-gram rule (`data/decontaminate.py`). That rule cannot see a problem of fewer
than seven words, such as `What is 23 + 48?`; those are looked for word by word, signs included.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from phidelity.data.decontaminate import SHORT, build_index, contaminated, words

R = TypeVar("R")

_TOKEN = re.compile(r"\w+|[-+*]")


class Sieve:
    """Lets clean records pass once; `dropped` counts the others by reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        problems = tuple(problems)
        self.dropped: Counter[str] = Counter()
        self._index = build_index(problems)
        self._short = {tuple(_tokens(text)) for text in problems if len(words(text)) < SHORT}
        self._lengths = sorted({len(gram) for gram in self._short})
        self._seen: set[str] = set()

    def passed(self, records: Iterable[R], text: Callable[[R], str], kind: str) -> Iterator[R]:
        """The records that may stay, in order; `kind` names them in the counts."""
        for record in records:
            reason = self.reason(text(record))
            if reason:
                self.dropped[f"{kind}/{reason}"] += 1
            else:
                yield record

    def reason(self, text: str) -> str:
        """Why a text must go: `duplicate`, `13-gram`, `7-gram`, `question`; empty if it may stay."""
        if text in self._seen:
            return "duplicate"
        self._seen.add(text)
        if hit := contaminated(self._index, text):
            return hit.rule
        return "question" if self._asks(text) else ""

    def _asks(self, text: str) -> bool:
        tokens = _tokens(text)
        return any(
            tuple(tokens[start : start + length]) in self._short
            for length in self._lengths
            for start in range(len(tokens) - length + 1)
        )


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())
