"""GPQA diamond: hard questions with four options, `gpqa_diamond.csv`.

The options are shuffled as simple-evals does it: one `random.Random(0)`, one `sample(range(4), 4)` per row in the
file's order, over (correct, incorrect 1, 2, 3).
"""

import random
from pathlib import Path

from phidelity.eval.benchmark import Benchmark
from phidelity.eval.files import read_csv
from phidelity.problems.prompts import LETTERS, multiple_choice
from phidelity.records import Problem

OPTIONS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def load(folder: Path) -> list[Problem]:
    """The rows of gpqa_diamond.csv; their ids are the record ids."""
    rows = read_csv(folder / "gpqa_diamond.csv", ("Question", *OPTIONS, "Record ID"))
    return [_problem(row, order) for row, order in zip(rows, orders(len(rows)), strict=True)]


def orders(n: int) -> list[list[int]]:
    """The order of options for each of `n` rows in one repeat."""
    rng = random.Random(0)
    return [rng.sample(range(4), 4) for _ in range(n)]


def _problem(row: dict[str, str], order: list[int]) -> Problem:
    options = [row[OPTIONS[place]] for place in order]
    return Problem(
        id=row["Record ID"],
        prompt=multiple_choice(row["Question"], options),
        reference=LETTERS[order.index(0)],
        checker="letter",
    )


GPQA = Benchmark(
    name="gpqa",
    title="GPQA",
    load=load,
    source="Rein et al. 2023, CC BY 4.0; gpqa_diamond.csv, 198 rows",
    deviations="own prompt; one repeat; the last answer line counts, lower-case letters and dressing are read",
    chance=1 / 4,
)
