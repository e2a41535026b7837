"""Reading passages with numbers, in the manner of DROP: how many in all, how many more, who.

The passage tells more than is asked, so the first step of the answer is to find the two numbers; the second works
the sum in columns. The same sums are held out as everywhere.
"""

import random
import re

from phidelity.problems.arithmetic import TINY, draw_operands
from phidelity.problems.columns import Operation, work
from phidelity.problems.item import Draft, Family, Item, Split, Stratum, draw_stratum
from phidelity.problems.lexicon import NAMES, things

_PASSAGES = (
    "{n} sold {x} {t} on Monday and {y} {t} on Friday. {m} sold {z} {t} on Monday.",
    "On Monday {n} sold {x} {t}. On Friday {n} sold {y} {t}. {m} sold {z} {t} on Monday.",
    "{m} sold {z} {t} on Monday. {n} sold {x} {t} on Monday. {n} sold {y} {t} on Friday.",
    "On Monday {m} sold {z} {t} and {n} sold {x} {t}. On Friday {n} sold {y} {t}.",
)
"""x and y are the numbers of the first person on two days, z that of the second; the last is held out."""
_QUESTIONS: dict[str, tuple[str, ...]] = {
    "total": ("How many {t} did {n} sell in all?", "How many {t} did {n} sell on both days?"),
    "days": (
        "How many more {t} did {n} sell on {more} than on {less}?",
        "On {more}, how many more {t} did {n} sell than on {less}?",
    ),
    "people": (
        "How many more {t} did {first} sell on Monday than {second}?",
        "On Monday, how many more {t} did {first} sell than {second}?",
    ),
    "who": ("Who sold more {t} on Monday?", "On Monday, who sold more {t}?"),
}


def draw(rng: random.Random, split: Split) -> Draft:
    """Draw a passage, a question and the worked answer."""
    stratum = draw_stratum(rng, split)
    kind = rng.choice(tuple(_QUESTIONS))
    x, y, z, a, b = _numbers(rng, kind, split, stratum)
    (n, m), t = rng.sample(NAMES, 2), rng.choice(things("en"))
    held = stratum == "template"
    passage = len(_PASSAGES) - 1 if held else rng.randrange(len(_PASSAGES) - 1)
    first, second = (n, m) if x > z else (m, n)
    more, less = ("Monday", "Friday") if x > y else ("Friday", "Monday")
    slots = {"n": n, "m": m, "t": t, "x": x, "y": y, "z": z}
    question = _QUESTIONS[kind][held].format(**slots, first=first, second=second, more=more, less=less)
    steps, answer = _solve(kind, slots, a, b)
    meta = {
        "passage": _PASSAGES[passage].format(**slots), "asked": question, "kind": kind,
        "sold": [[n, "Monday", x], [n, "Friday", y], [m, "Monday", z]], "operands": [a, b],
    }  # fmt: skip
    text = f"{meta['passage']}\n{question}"
    return Draft(text, steps, answer, passage, stratum, meta)


def check(item: Item, answer: str) -> bool:
    """Whether the last word of `answer` is what the sales in the item's meta give."""
    (n, _, x), (_, _, y), (m, _, z) = item.meta["sold"]
    right = {"total": x + y, "days": abs(x - y), "people": abs(x - z), "who": n if x > z else m}[item.meta["kind"]]
    words = re.findall(r"\w+", answer)
    return bool(words) and words[-1] == str(right)


def _numbers(rng: random.Random, kind: str, split: Split, stratum: Stratum) -> tuple[int, int, int, int, int]:
    """The three numbers of the passage and the two that the question works with, the larger first."""
    operation: Operation = "+" if kind == "total" else "-"
    a, b = draw_operands(rng, (operation,), split, "range" if stratum == "range" else "seen", TINY)
    other = rng.choice([number for number in range(11, 43) if number not in (a, b)])
    one, two = (a, b) if rng.random() < 0.5 else (b, a)
    x, y, z = (one, two, other) if kind in ("total", "days") else (one, other, two)
    return x, y, z, (one if kind == "total" else a), (two if kind == "total" else b)


def _solve(kind: str, slots: dict[str, object], a: int, b: int) -> tuple[tuple[str, ...], str]:
    x, y, z, n, m = (slots[key] for key in "xyznm")
    if kind in ("total", "days"):
        found = f"{n} sold {x} on Monday and {y} on Friday."
    else:
        found = f"On Monday {n} sold {x} and {m} sold {z}."
    if kind == "who":
        winner = str(n if a == x else m)
        return (f"{found} {a} is more than {b}.",), winner
    done = work(a, "+" if kind == "total" else "-", b)
    return (found, done.text), str(done.value)


PASSAGE = Family("passage", "en", "number", draw, check, {"train": 3, "template": 1})
