"""Problems for the miniature experiment on pivotal tokens: chains of sums, with and without a planted choice.

*Natural*: three to five terms, the later ones of one digit, worked from left to right, one sum a step; the texts to learn
from slip in one step of ten and go on from the wrong sum. *Planted*: they begin either with `steps` and are worked so,
with few slips, or with `fast`, and then only the last sum stands there: one word decides how likely a right answer is.
Problems are split by a fixed hash of their terms, so that no held-out problem occurs in training, whatever the seed. In
rehearsals a model of this size learnt right steps to 99.8 %, which leaves nothing to search: hence slips. All *ours*.
"""

import random
from typing import Literal

from phidelity.problems.item import Split, split_of
from phidelity.records import Problem

Task = Literal["natural", "planted"]

WAYS = ("steps", "fast")
SLIPS: dict[Task, float] = {"natural": 0.1, "planted": 0.02}
"""Share of steps that go wrong in the texts to learn from."""


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
    """An answer in the manner of the task, as training reads it: right but for slips."""
    terms: list[int] = problem.meta["terms"]
    way = rng.choice(WAYS) if task == "planted" else ""
    if way == "fast":
        return f"{way}\nAnswer: {problem.reference}"
    lines, value = [way] if way else [], terms[0]
    for term in terms[1:]:
        total = value + term
        if rng.random() < SLIPS[task]:
            total += rng.choice([slip for slip in (-10, -1, 1, 10) if 0 <= total + slip <= 99])
        lines.append(f"{value}{'+' if term > 0 else '-'}{abs(term)}={total}")
        value = total
    return "\n".join((*lines, f"Answer: {value}"))
