"""MMLU-Pro: three to ten options in fourteen categories; a JSON file of the questions, or of a model's outputs.

The public protocol (TIGER-AI-Lab/MMLU-Pro f418b11) asks with five worked examples of the category at temperature 0
and reads in three steps: "answer is (X)", "Answer: X", the last lone capital. Parity does so, and guesses where
nothing is found as its script does: a generator seeded anew each time, so the guess is a fixed option. The phi-4
report's own protocol is not public. Stored outputs (`generated_text`, `pred`) are read too: `phi grade` needs no model.
"""

import functools
import json
import random
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phidelity.config import UserError
from phidelity.eval.benchmark import Benchmark, DataFile, GradingContext, Row
from phidelity.eval.files import read_jsonl
from phidelity.eval.folder import find, grouped
from phidelity.grading.answers import answer_line, letter
from phidelity.problems.prompts import MULTIPLE_CHOICE
from phidelity.records import Problem, Score

LETTERS = "ABCDEFGHIJ"
FILE = DataFile("test.jsonl", "the test split of TIGER-Lab/MMLU-Pro as JSON lines", 12_032)
FIELDS = ("question_id", "question", "options", "answer", "category")
GUESS_SEED = 12_345
"""Of the official script."""
_SAID = re.compile(r"answer is \(?([A-J])\)?")
_MARKED = re.compile(r"[aA]nswer:(?=\s*([A-J]))")
_ALONE = re.compile(r"\b[A-J]\b")


def load(folder: Path) -> list[Problem]:
    """The questions; ids are the data set's, the cluster is the category. Options "N/A" are left out, as officially."""
    path = find(folder, "mmlu_pro", FILE, "*mmlu_pro*.jsonl", "model_outputs_*.zip", "model_outputs_*.json")
    rows = read_jsonl(path, FIELDS) if path.suffix == ".jsonl" else outputs(path)
    return [_problem(row) for row in rows]


def outputs(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of model outputs, or of a zip that holds one."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                rows = json.loads(archive.read(archive.namelist()[0]))
        else:
            rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, zipfile.BadZipFile, IndexError) as error:
        raise UserError(f"{path} is damaged ({error}); expected a list of questions in JSON. Get it again.") from None
    if lacking := [field for field in FIELDS if not rows or field not in rows[0]]:
        raise UserError(f"{path} lacks the fields {', '.join(lacking)}. Is it the official file?")
    return rows


def corrected(problem: Problem, response: str, context: GradingContext) -> Score:
    """The answer line or "the answer is (X)" in any case or dressing, else the three steps; no guess."""
    options = LETTERS[: problem.meta["n_options"]]
    chosen = letter(response, options) or (None if answer_line(response) else stepwise(_last_lines(response)))
    explanation = f"expected {problem.reference}" if chosen else "no letter found"
    return Score(value=float(chosen == problem.reference), extracted=chosen, explanation=explanation)


def parity(problem: Problem, response: str, context: GradingContext) -> Score:
    """The three official steps, else the official guess."""
    chosen = stepwise(response)
    guess = LETTERS[_guess(problem.meta["n_options"])]
    explanation = f"expected {problem.reference}" + ("" if chosen else f"; nothing found, guessed {guess}")
    return Score(value=float((chosen or guess) == problem.reference), extracted=chosen, explanation=explanation)


def stepwise(response: str, n_steps: int = 3) -> str | None:
    """The letter that the first `n_steps` official steps find; None without one.

    The steps are those of its patterns in linear time: the first "answer is", the last "Answer:" of the first line
    that has one, the last lone capital.
    """
    steps = (_said, _marked, _alone)
    return next((found for step in steps[:n_steps] if (found := step(response))), None)


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """The score of each category."""
    return grouped([(one.meta["category"], score.value or 0.0) for one, score in rows])


def _said(response: str) -> str | None:
    found = _SAID.search(response)
    return found.group(1) if found else None


def _marked(response: str) -> str | None:
    marks = list(_MARKED.finditer(response))
    if not marks:
        return None
    end = response.find("\n", marks[0].start())
    on_line = [mark for mark in marks if end < 0 or mark.start() < end]
    return on_line[-1].group(1)


def _alone(response: str) -> str | None:
    found = _ALONE.findall(response)
    return found[-1] if found else None


@functools.cache
def _guess(n_options: int) -> int:
    return random.Random(GUESS_SEED).randint(0, n_options - 1)


def _last_lines(response: str) -> str:
    """Where a conclusion stands: the last two lines with words."""
    return "\n".join([line for line in response.splitlines() if line.strip()][-2:])


def _problem(row: dict[str, Any]) -> Problem:
    options = [option for option in row["options"] if option != "N/A"]
    lines = "\n".join(f"{name}) {option}" for name, option in zip(LETTERS, options, strict=False))
    return Problem(
        id=str(row["question_id"]),
        prompt=MULTIPLE_CHOICE.format(question=row["question"], options=lines),
        reference=row["answer"],
        checker="letter",
        meta={"category": row["category"], "n_options": len(options)},
    )


MMLU_PRO = Benchmark(
    name="mmlu_pro",
    title="MMLU-Pro",
    load=load,
    files=(FILE,),
    graders={"corrected": corrected, "parity": parity},
    measures=measures,
    source="Wang et al. 2024, MIT; test split of TIGER-Lab/MMLU-Pro, 12,032 rows",
    deviations="own prompt, zero-shot; the report's protocol is not public; corrected does not guess",
    temperature=0.0,
    chance=0.1112,
)
