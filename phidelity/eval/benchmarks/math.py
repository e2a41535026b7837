"""MATH: competition problems with a boxed answer, `math_test.csv` as simple-evals reads it."""

from pathlib import Path

from phidelity.eval.benchmark import Benchmark
from phidelity.eval.files import read_csv
from phidelity.problems import prompts
from phidelity.records import Problem


def load(folder: Path) -> list[Problem]:
    """The rows of math_test.csv; their ids are row numbers."""
    rows = read_csv(folder / "math_test.csv", ("Question", "Answer"))
    return [
        Problem(id=str(number), prompt=prompts.math(row["Question"]), reference=row["Answer"], checker="number")
        for number, row in enumerate(rows)
    ]


MATH = Benchmark(
    name="math",
    title="MATH",
    load=load,
    source="Hendrycks et al. 2021, MIT; math_test.csv of openai/simple-evals, 5,000 rows",
    deviations="own prompt; equality by text and exact numbers instead of a judge, unreduced numbers are equal",
)
