"""GPQA diamond: hard questions with four options, `gpqa_diamond.csv`.

The options are shuffled as simple-evals does it: one `random.Random(0)`, one `sample(range(4), 4)` per repeat and row
in order, over (correct, incorrect 1, 2, 3); so each repeat asks in another order. Parity strips nothing: bold or a
bracket around the letter makes a right answer wrong. The items are not to be published; tests use made-up ones.
"""

import functools
from pathlib import Path

from phidelity.eval.benchmark import Benchmark, DataFile, Grader, GradingContext, Texts, check_corrected
from phidelity.eval.files import read_csv
from phidelity.eval.folder import find
from phidelity.grading import simple_evals
from phidelity.grading.simple_evals import as_pandas
from phidelity.problems.prompts import LETTERS, multiple_choice
from phidelity.records import Problem, Score

OPTIONS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
FILE = DataFile("gpqa_diamond.csv", "gpqa_diamond.csv of openai/simple-evals or idavidrein/gpqa", 198)


def load(folder: Path) -> list[Problem]:
    """The rows of gpqa_diamond.csv; their ids are the record ids, or row numbers where there are none."""
    rows = read_csv(find(folder, "gpqa", FILE), ("Question", *OPTIONS))
    return [_problem(row, number, len(rows)) for number, row in enumerate(rows)]


def orders(n: int, repeats: int = 1) -> list[list[int]]:
    """The order of options for each of `n` rows in each repeat, one repeat after the other."""
    return [list(order) for order in simple_evals.option_orders(n, repeats)]


def vary(problem: Problem, repeat: int) -> Problem:
    """The problem with its options in the order of a repeat."""
    return _ordered(problem, _orders(problem.meta["of"], repeat)[problem.meta["row"]]) if repeat else problem


def official(problem: Problem, texts: Texts) -> str:
    """simple-evals' message."""
    options = {letter: as_pandas(text) for letter, text in zip(LETTERS, problem.meta["options"], strict=True)}
    return texts["multiple_choice"].format(Question=problem.meta["question"], **options)


def parity(revision: simple_evals.Revision) -> Grader:
    """The grader of a revision."""

    def grade(problem: Problem, response: str, context: GradingContext) -> Score:
        letter = simple_evals.gpqa_letter(response, revision)
        explanation = f"expected {problem.reference}" if letter else "no letter right after `Answer:`"
        return Score(value=float(letter == problem.reference), extracted=letter, explanation=explanation)

    return grade


@functools.lru_cache(maxsize=32)
def _orders(n: int, repeat: int) -> list[list[int]]:
    return orders(n, repeat + 1)[n * repeat :]


def _problem(row: dict[str, str], number: int, n: int) -> Problem:
    meta = {"question": row["Question"], "answers": [row[name] for name in OPTIONS], "row": number, "of": n}
    bare = Problem(id=row.get("Record ID") or str(number), prompt="", reference="", checker="letter", meta=meta)
    return _ordered(bare, _orders(n, 0)[number])


def _ordered(problem: Problem, order: list[int]) -> Problem:
    answers = problem.meta["answers"]
    options = [answers[place] for place in order]
    return problem.model_copy(
        update={
            "prompt": multiple_choice(problem.meta["question"], options),
            "reference": LETTERS[options.index(answers[0])],
            "meta": problem.meta | {"options": options},
        }
    )


GPQA = Benchmark(
    name="gpqa",
    title="GPQA",
    load=load,
    files=(FILE,),
    graders={"corrected": check_corrected, "parity": parity("2024"), "parity-2025": parity("2025")},
    vary=vary,
    official=official,
    needs=("multiple_choice",),
    repeats=10,
    source="Rein et al. 2023, CC BY 4.0; gpqa_diamond.csv, 198 rows",
    deviations=(
        "own prompt unless imported; the last answer line counts, lower-case letters and dressing are read; never run "
        "here on the official items, which are not to be had"
    ),
    chance=1 / 4,
)
