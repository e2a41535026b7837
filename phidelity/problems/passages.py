"""Reading passages with numbers, in the manner of DROP: how many in all, how many more, who.

The passage tells of three people and the question asks about two, so the first step of the answer is to find their
numbers; the second works the sum in columns. The same sums are held out as everywhere.
"""

import random
import re

from phidelity.problems.arithmetic import TINY, draw_operands
from phidelity.problems.columns import Operation, work
from phidelity.problems.item import Draft, Family, Item, Split, Stratum, draw_stratum
from phidelity.problems.lexicon import NAMES, things

Sale = tuple[str, int]
"""A person and how much was sold."""

_PASSAGES = (
    "{n} sold {x} {t}. {m} sold {y} {t}. {k} sold {z} {t}.",
    "On Monday {n} sold {x} {t}. {m} sold {y} {t}. {k} sold {z} {t}.",
    "There were {t} to sell. {n} sold {x} {t}, {m} sold {y} {t} and {k} sold {z} {t}.",
    "{n} sold {x} {t} on Monday, {m} sold {y} {t} and {k} sold {z} {t}.",
)
"""Three people and their numbers; the last is held out."""
_QUESTIONS: dict[str, tuple[str, str]] = {
    "total": ("How many {t} did {one} and {two} sell in all?", "{one} and {two} sold how many {t} in all?"),
    "more": ("How many more {t} did {one} sell than {two}?", "{one} sold how many more {t} than {two}?"),
    "who": ("Who sold more {t}, {one} or {two}?", "Of {one} and {two}, who sold more {t}?"),
}
"""For each kind the wording of training and the one held out."""


def draw(rng: random.Random, split: Split) -> Draft:
    """Draw a passage, a question about two of its three people, and the worked answer."""
    stratum = draw_stratum(rng, split)
    kind, held = rng.choice(tuple(_QUESTIONS)), stratum == "template"
    (first, a), (second, b), third = _sales(rng, kind, split, stratum)
    people = [(first, a), (second, b), third]
    rng.shuffle(people)
    (n, x), (m, y), (k, z) = people
    t = rng.choice(things("en"))
    wording = len(_PASSAGES) - 1 if held else rng.randrange(len(_PASSAGES) - 1)
    passage = _PASSAGES[wording].format(n=n, m=m, k=k, x=x, y=y, z=z, t=t)
    question = _QUESTIONS[kind][held].format(one=first, two=second, t=t)
    steps, answer = _solve(kind, (first, a), (second, b))
    meta = {"passage": passage, "asked": question, "kind": kind, "sold": dict(people), "about": [first, second]}
    return Draft(f"{passage}\n{question}", steps, answer, wording, stratum, meta)


def check(item: Item, answer: str) -> bool:
    """Whether the last word of `answer` is what the sales in the item's meta give."""
    one, two = item.meta["about"]
    a, b = item.meta["sold"][one], item.meta["sold"][two]
    right = {"total": a + b, "more": abs(a - b), "who": one if a > b else two}[item.meta["kind"]]
    words = re.findall(r"\w+", answer)
    return bool(words) and words[-1] == str(right)


def _sales(rng: random.Random, kind: str, split: Split, stratum: Stratum) -> tuple[Sale, Sale, Sale]:
    """Whom the question names, in its order, with their numbers; and a third who is not asked about."""
    operation: Operation = "+" if kind == "total" else "-"
    a, b = draw_operands(rng, (operation,), split, "range" if stratum == "range" else "seen", TINY)
    if kind != "more" and rng.random() < 0.5:
        a, b = b, a
    first, second, third = rng.sample(NAMES, 3)
    other = rng.choice([number for number in range(11, 43) if number not in (a, b)])
    return (first, a), (second, b), (third, other)


def _solve(kind: str, one: Sale, two: Sale) -> tuple[tuple[str, ...], str]:
    """First the two numbers, as the passage tells them; then the work."""
    (first, a), (second, b) = one, two
    found = f"{first} sold {a}. {second} sold {b}."
    if kind == "who":
        return (f"{found} {max(a, b)} is more than {min(a, b)}.",), first if a > b else second
    done = work(a, "+" if kind == "total" else "-", b)
    return (found, done.text), str(done.value)


PASSAGE = Family("passage", "en", "number", draw, check, {"train": 3, "template": 1})
