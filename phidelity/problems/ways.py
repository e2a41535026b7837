"""Problems for the miniature experiment on pivotal tokens: chains of sums, with and without a planted choice.

*Natural*: three to five terms, the later ones of one digit (with two digits a model of the experiment's size got 1 in
100 right), worked from left to right, one sum a step. *Planted*: the same problems, but the
texts to learn from begin either with `steps`, and then are worked so, or with `fast`, and then only the last sum stands
there: one word decides how likely a right answer is. Problems are split by a fixed hash of their terms, so that no held-out
problem occurs in training, whatever the seed. All of it is *ours*.
"""

import random
from typing import Literal

from phidelity.problems.item import Split, split_of
from phidelity.records import Problem

Task = Literal["natural", "planted"]

WAYS = ("steps", "fast")


def draw(split: Split, seed: int, index: int) -> Problem:
    """Problem `index` of a split: a function of the arguments alone."""
    rng = random.Random(f"{seed}/ways/{split}/{index}")
    while True:
        terms = [rng.randint(10, 89)] + [rng.choice((-1, 1)) * rng.randint(2, 9) for _ in range(rng.randint(2, 4))]
        partial_sums = [sum(terms[:end]) for end in range(1, len(terms) + 1)]
        if all(0 <= one <= 99 for one in partial_sums) and split_of("ways", *terms) == split:
            break
    shown = str(terms[0]) + "".join(f"{'+' if term > 0 else '-'}{abs(term)}" for term in terms[1:])
    return Problem(
        id=f"ways/{split}/{seed}/{index}", prompt=shown, reference=str(sum(terms)), checker="number",
        meta={"terms": terms},
    )  # fmt: skip


def solution(problem: Problem, task: Task, rng: random.Random) -> str:
    """A right answer in the manner of the task, as training reads it."""
    terms: list[int] = problem.meta["terms"]
    way = rng.choice(WAYS) if task == "planted" else ""
    lines, value = [way] if way else [], terms[0]
    if way != "fast":
        for term in terms[1:]:
            lines.append(f"{value}{'+' if term > 0 else '-'}{abs(term)}={value + term}")
            value += term
    return "\n".join((*lines, f"Answer: {problem.reference}"))
