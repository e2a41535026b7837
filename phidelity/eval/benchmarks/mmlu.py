"""MMLU: four options in 57 subjects, `mmlu.csv` as simple-evals reads it."""

from pathlib import Path

from phidelity.eval.benchmark import Benchmark
from phidelity.eval.files import check_answer, read_csv
from phidelity.problems.prompts import LETTERS, multiple_choice
from phidelity.records import Problem

COLUMNS = ("Question", *LETTERS, "Answer", "Subject")


def load(folder: Path) -> list[Problem]:
    """The rows of mmlu.csv; their ids are row numbers. An option "None" is a word, not a missing value."""
    path = folder / "mmlu.csv"
    return [_problem(path, number, row) for number, row in enumerate(read_csv(path, COLUMNS))]


def _problem(path: Path, number: int, row: dict[str, str]) -> Problem:
    return Problem(
        id=str(number),
        prompt=multiple_choice(row["Question"], [row[letter] for letter in LETTERS]),
        reference=check_answer(path, number, "Answer", row["Answer"], LETTERS),
        checker="letter",
        meta={"subject": row["Subject"]},
    )


MMLU = Benchmark(
    name="mmlu",
    title="MMLU",
    load=load,
    source="Hendrycks et al. 2021, MIT; mmlu.csv of openai/simple-evals, 14,042 rows",
    deviations="own prompt; the last answer line counts, lower-case letters and dressing are read",
    chance=1 / 4,
)
