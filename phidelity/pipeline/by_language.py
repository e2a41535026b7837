"""What the report says of each language: how many bytes a token holds, and how many word problems are answered.

Bytes per token are those of the course's lessons, which tell the same in eight languages; word problems are those of
mini-MGSM, whose languages have one wording each. A language that was not asked has no score.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from phidelity.eval.store import Graded, read_graded
from phidelity.pipeline.evidence import Run
from phidelity.pipeline.scoreboard import Scoreboard
from phidelity.statistics import Estimate, estimate

ASKED = "mgsm"
RATE = "course_bytes_per_token/"


class Language(NamedTuple):
    """A row of the table."""

    name: str
    bytes_per_token: float | None
    n_problems: int
    cells: list[Estimate | None]
    """In per cent, for each model of the scoreboard."""


def by_language(run: Run, board: Scoreboard | None) -> list[Language]:
    """A row for each language that was taught or asked, English first."""
    told = run.summary("tokenizer") or {}
    rates = {key.removeprefix(RATE): rate for key, rate in told.items() if key.startswith(RATE)}
    models = [row.name for row in board.rows if row.is_model] if board else []
    asked = [_scores(run, model) for model in models]
    names = sorted({*rates, *(name for one in asked for name in one)}, key=lambda name: (name != "en", name))
    return [
        Language(
            name,
            rates.get(name),
            max((one[name].n for one in asked if name in one), default=0),
            [one.get(name) for one in asked],
        )
        for name in names
    ]


def _scores(run: Run, model: str) -> dict[str, Estimate]:
    path = run.file("evaluate", f"{model}/{ASKED}/graded.jsonl")
    return _estimates(read_graded(path.parent)) if path else {}


def _estimates(graded: Sequence[Graded]) -> dict[str, Estimate]:
    values: dict[str, list[float]] = defaultdict(list)
    for one in graded:
        if (value := one.scores["corrected"].value) is not None:
            values[one.id.split("/")[0]].append(value)
    found = {name: estimate(each) for name, each in values.items()}
    return {
        name: Estimate(100 * one.mean, 100 * one.stderr, one.n, 100 * one.low, 100 * one.high)
        for name, one in found.items()
    }
