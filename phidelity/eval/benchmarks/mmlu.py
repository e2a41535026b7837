"""MMLU: four options in 57 subjects, `mmlu.csv` as simple-evals reads it, or Hendrycks' files by subject.

Parity reads the response without bold and dollars, by the first of 41 answer words that matches (42 in 2025), and
compares the letter with its case. Pandas prints an option "None" as nan;
the official message keeps that, ours does not.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from phidelity.eval.benchmark import Benchmark, DataFile, Grader, GradingContext, Row, Texts, check_corrected
from phidelity.eval.files import check_answer, read_csv
from phidelity.eval.folder import find, grouped
from phidelity.grading import simple_evals
from phidelity.grading.simple_evals import as_pandas
from phidelity.problems.prompts import LETTERS, multiple_choice
from phidelity.records import Problem, Score

COLUMNS = ("Question", *LETTERS, "Answer", "Subject")
FILE = DataFile("mmlu.csv", "mmlu.csv of openai/simple-evals or test/*_test.csv of hendrycks/test", 14_042)
CATEGORIES = {
    "stem": (
        "abstract_algebra astronomy college_biology college_chemistry college_computer_science college_mathematics "
        "college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics "
        "high_school_biology high_school_chemistry high_school_computer_science high_school_mathematics "
        "high_school_physics high_school_statistics machine_learning"
    ),
    "humanities": (
        "formal_logic high_school_european_history high_school_us_history high_school_world_history international_law "
        "jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law "
        "world_religions"
    ),
    "social_sciences": (
        "econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics "
        "high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations "
        "security_studies sociology us_foreign_policy"
    ),
}
"""The four groups of the data set's authors; whatever is in none is `other`."""
_CATEGORY = {subject: name for name, subjects in CATEGORIES.items() for subject in subjects.split()}


def load(folder: Path) -> list[Problem]:
    """The rows of mmlu.csv, or of the files by subject in their order; ids are row numbers. "None" is a word."""
    path = find(folder, "mmlu", FILE, "test/*_test.csv")
    rows = read_csv(path, COLUMNS) if path.name == FILE.name else _by_subject(path.parent)
    return [_problem(path, number, row) for number, row in enumerate(rows)]


def official(problem: Problem, texts: Texts) -> str:
    """simple-evals' message."""
    options = {letter: as_pandas(text) for letter, text in zip(LETTERS, problem.meta["options"], strict=True)}
    return texts["multiple_choice"].format(Question=as_pandas(problem.meta["question"]), **options)


def parity(revision: simple_evals.Revision) -> Grader:
    """The grader of a revision."""

    def grade(problem: Problem, response: str, context: GradingContext) -> Score:
        letter = simple_evals.mmlu_letter(response, revision)
        explanation = f"expected {problem.reference}" if letter else "no answer word with a letter"
        return Score(value=float(letter == problem.reference), extracted=letter, explanation=explanation)

    return grade


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """The score of each of the four groups."""
    return grouped([(_CATEGORY.get(one.meta["subject"], "other"), score.value or 0.0) for one, score in rows])


def _by_subject(folder: Path) -> list[dict[str, str]]:
    """Hendrycks' six columns, with the header that some copies add (whose answers are numbers)."""
    rows = []
    for path in sorted(folder.glob("*_test.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            cells = [row for row in csv.reader(file) if len(row) == 6 and row[0] != "question"]
        for question, *options, answer in cells:
            named = dict(zip(LETTERS, options, strict=True))
            letter = LETTERS[int(answer)] if answer in ("0", "1", "2", "3") else answer
            rows.append({"Question": question, **named, "Answer": letter, "Subject": path.name[: -len("_test.csv")]})
    return rows


def _problem(path: Path, number: int, row: dict[str, str]) -> Problem:
    options = [row[letter] for letter in LETTERS]
    return Problem(
        id=str(number),
        prompt=multiple_choice(row["Question"], options),
        reference=check_answer(path, number, "Answer", row["Answer"], LETTERS),
        checker="letter",
        meta={"subject": row["Subject"], "question": row["Question"], "options": options},
    )


MMLU = Benchmark(
    name="mmlu",
    title="MMLU",
    load=load,
    files=(FILE,),
    graders={"corrected": check_corrected, "parity": parity("2024"), "parity-2025": parity("2025")},
    official=official,
    needs=("multiple_choice",),
    measures=measures,
    source="Hendrycks et al. 2021, MIT; mmlu.csv of openai/simple-evals, 14,042 rows",
    deviations="own prompt unless imported; the last answer line counts, lower-case letters and dressing are read",
    chance=1 / 4,
)
