"""What a benchmark is: a value that loads official files, asks, and grades.

A benchmark is one file in `benchmarks/` and one line in `suite.BENCHMARKS`. The prompts are the project's own
words (`problems.prompts`) and the grading is the *corrected* reading; `deviations` says what differs from the
official tool. Nothing here knows a model: `evaluate` brings questions and answers together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from phidelity.grading.check import check
from phidelity.records import Problem, Score


def grade_by_checker(problem: Problem, response: str, allow_code: bool) -> Score:
    """Grade by the problem's own checker, as rollouts and judges do."""
    return check(problem, response, allow_code=allow_code)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark: where its problems come from, how they are asked and graded."""

    name: str
    title: str
    load: Callable[[Path], list[Problem]]
    """The problems of a folder, in the file's order; ids are the dataset's own, else row numbers from 0.
    `prompt` is the user's message, `meta["cluster"]` what items share, where they share anything."""
    source: str
    """Where the official files come from, and under which licence."""
    deviations: str
    """What differs from the official tool."""
    grade: Callable[[Problem, str, bool], Score] = grade_by_checker
    """Score of (problem, response, whether code may run)."""
    chance: float = 0.0
    """Expected score of a random answer, between 0 and 1."""
    max_tokens: int = 2048
    """Most tokens of an answer in the official setting."""
    graded: bool = False
    """Whether scores lie between 0 and 1 rather than being either."""
