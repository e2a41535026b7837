"""What a problem is: `item = f(family, split, seed, index)`, and the rules that keep the splits apart.

Two things keep a held-out problem out of training by construction, whatever the seed. Its *key* (the operands,
the fact, the parameters) falls into a bucket by a fixed hash, and each bucket belongs to one split. Beyond that a test
problem may use a wording that training never uses (stratum `template`) or values that training never uses
(stratum `range`); with neither it is stratum `seen`: familiar words and values, a new combination. Families made by
`topic.py` go further: their test problems have both, values and wordings of their own.
"""

import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Split = Literal["train", "development", "test"]
Stratum = Literal["seen", "range", "template", "both"]
Checker = Literal["number", "letter", "text", "code", "instructions"]

SPLITS: tuple[Split, ...] = ("train", "development", "test")


@dataclass(frozen=True, slots=True)
class Item:
    """One problem with its worked solution."""

    family: str
    id: str
    language: str
    split: Split
    question: str
    steps: tuple[str, ...]
    """The worked solution, a line each; the last line `Answer: ...` is not among them."""
    answer: str
    template: int
    """Number of the wording within its family."""
    stratum: Stratum
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What the checker recomputes the answer from, and what a benchmark file needs besides."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a family draws; `Family.item` adds whose it is."""

    question: str
    steps: tuple[str, ...]
    answer: str
    template: int
    stratum: Stratum
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of problem: how one is drawn, how an answer to it is checked, in how many wordings it is put."""

    name: str
    language: str
    checker: Checker
    draw: Callable[[random.Random, Split], Draft]
    check: Callable[[Item, str], bool]
    """Whether an answer is right, recomputed from the item's meta."""
    wordings: Mapping[str, int]
    """How many wordings training uses and how many are held out: keys `train` and `template`."""
    area: str = ""
    title: str = ""
    lesson: tuple[str, ...] = ()
    """Ways to explain the method, for textbooks."""
    difficulty: Mapping[str, Any] = field(default_factory=dict)
    """The named parameters and their values."""

    def item(self, split: Split, seed: int, index: int) -> Item:
        """Problem `index` of a split: a function of the arguments alone."""
        rng = random.Random(f"{seed}/{self.name}/{split}/{index}")
        draft = self.draw(rng, split)
        name = f"{self.name}/{split}/{seed}/{index}"
        return Item(
            self.name, name, self.language, split, draft.question, draft.steps, draft.answer,
            draft.template, draft.stratum, draft.meta,
        )  # fmt: skip


def split_of(*key: object, test: int = 12, development: int = 4) -> Split:
    """The split that a combination of values belongs to, `test` and `development` of 100 combinations held out."""
    bucket = zlib.crc32("/".join(map(str, key)).encode()) % 100
    return "test" if bucket < test else "development" if bucket < test + development else "train"


def draw_stratum(rng: random.Random, split: Split) -> Stratum:
    """The stratum of the next problem: in the test split a third each, elsewhere always `seen`."""
    return rng.choice(("seen", "range", "template")) if split == "test" else "seen"
