"""Python programs to be followed by hand: loops, conditions, lists, strings; the output is asked for.

The steps walk through the program as a reader does; the checker computes the output in closed form or by another
route, and `tests/test_topics.py` runs hundreds of the programs themselves, in one batch. A test program has other variable names.
"""

import random
import re
from collections.abc import Mapping
from typing import Any

from phidelity.problems.topic import Sketch, between, one_of, part, pick, topic

_WORDS = ("garden", "planet", "silver", "window", "rocket", "bottle", "market", "tunnel", "ribbon", "pepper", "summer",
          "letter", "castle", "winter", "orange")  # fmt: skip


def trace(rng: random.Random, held: bool, *, n_loops: int = 5, largest: int = 20) -> Sketch:
    """What a short program prints."""
    kind = one_of(rng, ("sum", "double", "filter", "string"))
    _, slots, steps, answer, meta = _PROGRAMS[kind](rng, held, n_loops, largest)
    if held:
        slots, steps = {"code": _renamed(slots["code"])}, tuple(map(_renamed, steps))
        meta = {**meta, "code": _renamed(meta["code"])}
    return Sketch("run", slots, steps, answer, meta)


_HELD_NAMES = {"total": "score", "i": "k", "x": "y", "n": "m", "numbers": "values", "found": "kept", "word": "text",
               "result": "answer"}  # fmt: skip
"""What variables are called in the test."""


def _renamed(text: str) -> str:
    return re.sub(r"\b[a-z]+\b", lambda found: _HELD_NAMES.get(found[0], found[0]), text)


def _sum(rng: random.Random, held: bool, n_loops: int, largest: int) -> tuple[Any, ...]:
    start, n, factor = pick(rng, 2, largest, held), between(rng, 3, n_loops), between(rng, 2, 6)
    code = f"total = {start}\nfor i in range(1, {n + 1}):\n    total = total + {factor} * i\nprint(total)"
    total, steps = start, [f"total starts at {start}; i takes the values 1 to {n}."]
    for i in range(1, n + 1):
        steps.append(f"i = {i}: total = {total} + {factor} * {i} = {total + factor * i}.")
        total += factor * i
    return "run", _slots(code), tuple(steps), str(total), {"kind": "sum", "n": (start, n, factor), "code": code}


def _double(rng: random.Random, held: bool, n_loops: int, largest: int) -> tuple[Any, ...]:
    start, limit, extra = pick(rng, 2, largest, held), between(rng, 40, 200), between(rng, 1, 9)
    code = f"x = {start}\nn = 0\nwhile x < {limit}:\n    x = 2 * x + {extra}\n    n = n + 1\nprint(n, x)"
    x, n, steps = start, 0, [f"x starts at {start}, n at 0."]
    while x < limit:
        n += 1
        steps.append(f"{x} < {limit}, so x = 2 * {x} + {extra} = {2 * x + extra} and n = {n}.")
        x = 2 * x + extra
    steps.append(f"{x} < {limit} is false, so the loop ends.")
    return "run", _slots(code), tuple(steps), f"{n} {x}", {"kind": "double", "n": (start, limit, extra), "code": code}


def _filter(rng: random.Random, held: bool, n_loops: int, largest: int) -> tuple[Any, ...]:
    numbers = [pick(rng, 2, 3 * largest, held) for _ in range(n_loops)]
    k = between(rng, 2, 4)
    code = f"numbers = {numbers}\nfound = [n for n in numbers if n % {k} == 0]\nprint(len(found), sum(found))"
    found = [n for n in numbers if n % k == 0]
    steps = [f"{n} % {k} = {n % k}, so {n} is {'kept' if n % k == 0 else 'left out'}." for n in numbers]
    steps.append(f"found is {found}: its length is {len(found)}, its sum {sum(found)}.")
    return (
        "run", _slots(code), tuple(steps), f"{len(found)} {sum(found)}",
        {"kind": "filter", "n": (numbers, k), "code": code},
    )  # fmt: skip


def _string(rng: random.Random, held: bool, n_loops: int, largest: int) -> tuple[Any, ...]:
    word, k = one_of(rng, part(_WORDS, held)), between(rng, 2, 3)
    code = f'word = "{word}"\nresult = ""\nfor letter in word[::{k}]:\n    result = letter + result\nprint(result)'
    letters, result, steps = word[::k], "", []
    steps.append(f"word[::{k}] takes every {'second' if k == 2 else 'third'} letter of {word}: {' '.join(letters)}.")
    for letter in letters:
        result = letter + result
    steps.append(f"Each letter is put in front of the result, so the order is reversed: {result}.")
    return "run", _slots(code), tuple(steps), result, {"kind": "string", "n": (word, k), "code": code}


def _slots(code: str) -> dict[str, str]:
    return {"code": f"```python\n{code}\n```"}


_PROGRAMS = {"sum": _sum, "double": _double, "filter": _filter, "string": _string}


def _trace(meta: Mapping[str, Any]) -> str:
    kind, n = meta["kind"], meta["n"]
    if kind == "sum":
        return str(n[0] + n[2] * n[1] * (n[1] + 1) // 2)
    if kind == "double":
        start, limit, extra = n
        loops = next(k for k in range(200) if (start + extra) * 2**k - extra >= limit)
        return f"{loops} {(start + extra) * 2**loops - extra}"
    if kind == "filter":
        kept = [number for number in n[0] if number // n[1] * n[1] == number]
        return f"{len(kept)} {sum(kept)}"
    word, k = n
    return "".join(word[place] for place in range((len(word) - 1) // k * k, -1, -k))


TRACE = topic(
    "trace", "Python", "Following a program", draw=trace, solve=_trace, checker="text",
    lesson=(
        "To know what a program prints, be the computer: keep a note of every variable, and change the notes line by line. "
        "In a loop, write one line for each round.",
        "A for loop runs once for each value; a while loop runs as long as its condition holds, which is tested before "
        "each round. Names keep the value that was given to them last.",
    ),
    wordings="""
run | What does this program print?\\n{code}
run | Follow this program by hand and give its output.\\n{code}
run | {code}\\nWhat is the output?
run | Read the program and tell what it prints.\\n{code}
run | Without running it, find the output of this code.\\n{code}
run ! Here is a piece of Python.\\n{code}\\nWhich line appears on the screen?
run ! {code}\\nSomebody runs this. What is shown?
""",
)  # fmt: skip

PROGRAMS = (TRACE,)
