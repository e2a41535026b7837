"""How often a judge errs, measured on answers whose correctness is known (*ours*; the report tells no such figure).

An answer known to be right is the reference in the form that the question asks for, one known to be wrong the next
number, or the reference of another problem, in the same form; the problem's own checker must say so of both. They
differ in nothing but whether they are right. The judge sees both in both orders as any other couple, and errs where it
does not find the right one the more accurate twice.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from phidelity.completion import Completer, SamplingParams
from phidelity.grading.check import check
from phidelity.preference.judged import judge_couples, known_outcome
from phidelity.problems.prompts import UNKNOWN, last_line
from phidelity.records import Problem
from phidelity.statistics import wilson

CHECKERS = ("number", "letter", "text")
"""Checkers whose references are answers."""


class KnownCouple(NamedTuple):
    """A problem with an answer known to be right and one known to be wrong."""

    problem: Problem
    right: str
    wrong: str


def known_couples(problems: Sequence[Problem], n: int, rng: random.Random) -> list[KnownCouple]:
    """`n` couples, or as many as the problems give; each problem once."""
    usable = [one for one in problems if one.checker in CHECKERS and one.reference != UNKNOWN]
    alike: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for one in usable:
        alike[_form(one)].append(one.reference)
    found: list[KnownCouple] = []
    for one in rng.sample(usable, len(usable)):
        if len(found) == n:
            break
        right, wrong = _answer(one, one.reference), _answer(one, _another(one, alike[_form(one)], rng))
        if check(one, right).value == 1 and check(one, wrong).value == 0:
            found.append(KnownCouple(one, right, wrong))
    return found


def audit(couples: Sequence[KnownCouple], judge: Completer, params: SamplingParams, rng: random.Random) -> Counter[str]:
    """What `judge` made of them: right, wrong, tie, tie in one order, flipped, off format."""
    right_first = [rng.random() < 0.5 for _ in couples]
    asked = [
        (one.problem, *((one.right, one.wrong) if first else (one.wrong, one.right)))
        for one, first in zip(couples, right_first, strict=True)
    ]
    verdicts = judge_couples(asked, judge, params)
    return Counter(
        known_outcome(both, "first" if first else "second") for both, first in zip(verdicts, right_first, strict=True)
    )


def error_rate(counts: Mapping[str, int]) -> dict[str, Any]:
    """The counts, and the share of legible verdicts that did not find the right answer, with a 95 % interval."""
    legible = sum(counts.values()) - counts.get("off format", 0)
    errors = legible - counts.get("right", 0)
    low, high = wilson(errors, legible)
    return {
        "couples": sum(counts.values()),
        **{name.replace(" ", "_"): n for name, n in sorted(counts.items())},
        "error": round(errors / legible, 4) if legible else None,
        "error_95": [round(low, 4), round(high, 4)],
    }


def _form(problem: Problem) -> tuple[str, str]:
    """Problems whose answers look alike."""
    return problem.checker, str(problem.meta.get("language", "en"))


def _another(problem: Problem, alike: Sequence[str], rng: random.Random) -> str:
    """A reference that is not the problem's."""
    if problem.checker == "number" and problem.reference.isdigit():
        return str(int(problem.reference) + 1)
    return rng.choice(alike)


def _answer(problem: Problem, reference: str) -> str:
    return reference if problem.checker == "text" else last_line(reference, str(problem.meta.get("language", "en")))
