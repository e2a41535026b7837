"""What synthetic texts are grown from: training problems, each handed out once, and the provenance of a text.

A `Bank` numbers the problems of every family and gives each number to one taker, so that what a document shows is
never what a conversation or a preference prompt asks. In the large families a question is asked once in all;
the small ones (facts, functions) repeat, which is how they are memorised.
"""

import random
from dataclasses import dataclass, field
from typing import Any

from phidelity.config import UserError
from phidelity.problems.families import family
from phidelity.problems.item import Item
from phidelity.records import Document

SOURCE = "synthetic"
LARGE = frozenset({"things_en", "things_de", "money_en", "money_de", "passage", "choice_sum", "choice_largest"})
"""Families with so many questions that none need be asked twice."""
_PATIENCE = 10_000


@dataclass(slots=True)
class Bank:
    """Hands out the training problems of a seed, the next ones of a family to whoever asks."""

    seed: int
    _next: dict[str, int] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)

    def take(self, name: str) -> Item:
        """The next problem of a family; of a large one, the next that nobody was asked."""
        source = family(name)
        start = self._next.get(name, 0)
        for index in range(start, start + _PATIENCE):
            item = source.item("train", self.seed, index)
            if name not in LARGE or item.question not in self._asked:
                self._next[name] = index + 1
                self._asked.add(item.question)
                return item
        raise UserError(f"The problems {name!r} have no new question left after {start}; expected more. Ask for fewer.")

    def rng(self, purpose: str, index: int) -> random.Random:
        """The random stream of one text: a function of seed, purpose and number."""
        return random.Random(f"{self.seed}/{purpose}/{index}")


def word_family(rng: random.Random, german: float) -> str:
    """A family of word problems: `german` of them in German; things twice as often as money."""
    language = "de" if rng.random() < german else "en"
    return f"{'things' if rng.random() < 2 / 3 else 'money'}_{language}"


def document(pipeline: str, group: str, text: str, bank: Bank, index: int, **meta: Any) -> Document:
    """A synthetic document with its provenance; `meta` adds family, language and the like."""
    provenance = {
        "pipeline": pipeline,
        "group": group,
        "language": "en",
        "seed": bank.seed,
        "index": index,
        "teacher": "rules",
    }
    return Document(id=f"{pipeline}/{index}", text=text, source=SOURCE, meta=provenance | meta)
