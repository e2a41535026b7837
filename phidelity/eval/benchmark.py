"""What a benchmark is: a value that loads official files, says how to ask, and grades under several profiles.

A benchmark is one file in `benchmarks/` and one line in `suite`. It asks in the project's own words
(`problem.prompt`) or, where the official texts have been imported (`eval.prompts`), in theirs; the answers of one
store are graded under every profile that it has. `corrected` reads answers as a person would; `parity` is simple-evals
of November 2024 (a8e85cc), the newest when the phi-4 report appeared, its bugs kept; `parity-2025` is its last
revision (ee3b031). Nothing here knows a model: `evaluate` brings questions and answers together.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from phidelity.config import UserError
from phidelity.grading.check import check
from phidelity.grading.referee import Referee
from phidelity.records import Message, Problem, Score

Profile = Literal["corrected", "parity", "parity-2025"]
PROFILES: tuple[Profile, ...] = ("corrected", "parity", "parity-2025")
Texts = Mapping[str, str]
"""Imported official texts by name; empty where none were imported."""
Row = tuple[Problem, Score]
ROUNDS = 3
"""Times that graders may ask the judge again, in batches, before what is open stays undetermined (*ours*)."""


@dataclass(frozen=True, slots=True)
class GradingContext:
    """What graders may use."""

    allow_code: bool = False
    """Whether programs in answers may run, in the sandbox."""
    judge: Referee | None = None
    """Who decides what rules cannot; without one it is undetermined."""
    texts: Texts = field(default_factory=dict)
    """The official texts; parity needs those of its judges."""


Grader = Callable[[Problem, str, GradingContext], Score]


class DataFile(NamedTuple):
    """An official file: its name, where it comes from, how many rows and which SHA-256 it has, where known."""

    name: str
    origin: str
    rows: int | None = None
    sha256: str = ""


def check_corrected(problem: Problem, response: str, context: GradingContext) -> Score:
    """Grade by the problem's own checker, as rollouts and judges do."""
    return check(problem, response, allow_code=context.allow_code)


def as_loaded(problem: Problem, repeat: int) -> Problem:
    """Every repeat asks the same."""
    return problem


def no_measures(rows: Sequence[Row]) -> dict[str, float]:
    """Nothing beyond the score."""
    return {}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark: where its problems come from, how they are asked and graded."""

    name: str
    title: str
    load: Callable[[Path], list[Problem]]
    """The problems of a folder (or of its subfolder `name`), in the file's order; ids are the dataset's own, else row
    numbers from 0. `prompt` is the user's message in our words, `meta["cluster"]` what items share, where they do."""
    source: str
    """Who made it, under which licence."""
    deviations: str
    """What differs from the official tool in the corrected profile, and what parity cannot give."""
    files: tuple[DataFile, ...] = ()
    graders: Mapping[Profile, Grader] = field(default_factory=lambda: {"corrected": check_corrected})
    """Score of (problem as asked, response, context) under each profile; a value of None is undetermined."""
    vary: Callable[[Problem, int], Problem] = as_loaded
    """The problem as it is asked, and graded, in a repeat (GPQA's options move)."""
    official: Callable[[Problem, Texts], str] | None = None
    """The official user's message from the imported texts; None where the official words are not public."""
    needs: tuple[str, ...] = ()
    """Names of the texts that `official` uses."""
    judge_needs: tuple[str, ...] = ()
    """Names of the texts that the parity graders show a judge."""
    measures: Callable[[Sequence[Row]], dict[str, float]] = no_measures
    """Further figures in per cent from (problem, decided score) pairs: groups, pass@k, F1."""
    repeats: int = 1
    """Answers per problem in the official setting as the phi-4 report will have used it."""
    temperature: float = 0.5
    max_tokens: int = 2048
    """Most tokens of an answer in the official setting."""
    stop: tuple[str, ...] = ()
    chance: float = 0.0
    """Expected score of a random answer, between 0 and 1."""
    cluster: str = "problem"
    """What standard errors are clustered by."""
    graded: bool = False
    """Whether scores lie between 0 and 1 rather than being either."""
    judged: tuple[Profile, ...] = ()
    """Profiles that decide nothing, or not all, without a judge."""


def check_wording(one: Benchmark, texts: Texts | None) -> None:
    """A `UserError` where the official words are wanted and not all there."""
    if texts is None or one.official is None:
        return
    if lacking := [name for name in one.needs if name not in texts]:
        raise UserError(
            f"{one.title} in the official words needs {', '.join(lacking)}, which the imported prompts lack. "
            "Run `phi import-prompts DIR --data FOLDER` on a checkout of openai/simple-evals, with the same FOLDER."
        )


def messages(one: Benchmark, problem: Problem, texts: Texts | None = None) -> tuple[Message, ...]:
    """What a chat model is asked: our words, or the official ones after their system message if `texts` are given."""
    if texts is None or one.official is None:
        return (Message(role="user", content=problem.prompt),)
    check_wording(one, texts)
    asked = Message(role="user", content=one.official(problem, texts))
    return (Message(role="system", content=texts["system"]), asked) if texts.get("system") else (asked,)


def grade(one: Benchmark, profile: Profile, problem: Problem, response: str, context: GradingContext) -> Score:
    """One answer under one profile; whatever goes wrong inside a grader is an explained, undetermined score."""
    try:
        return one.graders[profile](problem, response, context)
    except (ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        return Score(value=None, explanation=f"undetermined: the grader failed ({type(error).__name__}: {error})")


def grade_all(
    one: Benchmark,
    profile: Profile,
    answers: Sequence[tuple[Problem, str]],
    context: GradingContext,
    n_workers: int = 2,
) -> list[Score]:
    """The scores of all answers, in order; what the judge is to be asked is gathered and asked in batches."""

    def graded(place: int) -> Score:
        problem, response = answers[place]
        return grade(one, profile, problem, response, context)

    with ThreadPoolExecutor(n_workers) as pool:
        scores = list(pool.map(graded, range(len(answers))))
        for _ in range(ROUNDS):
            if context.judge is None or not context.judge.settle():
                break
            still_open = [place for place, score in enumerate(scores) if score.value is None]
            for place, score in zip(still_open, pool.map(graded, still_open), strict=True):
                scores[place] = score
    return scores
