"""Contests in the manner of AMC 10 and 12: five options, 6 points for a right letter, 1.5 for a blank, else 0.

The report's contests (phi-4 §5, November 2024: 78 questions, boxed letter or blank, many runs) are not public as a
file. `amc.jsonl` is a format of ours: a line a question with `id`, `test`, `question`, `options` (five) and `answer`
(A to E). The score is points over points to be had; a model that leaves all blank gets a quarter, as on paper. The
letter is read by rules where the report asks a model for it; an answer without any letter counts as left blank.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from phidelity.eval.benchmark import Benchmark, DataFile, GradingContext, Row
from phidelity.eval.files import check_answer, read_jsonl
from phidelity.eval.folder import find
from phidelity.records import Problem, Score

FILE = DataFile("amc.jsonl", "a file of your own: id, test, question, options (five), answer (A to E)")
LETTERS = ("A", "B", "C", "D", "E")
POINTS = {"right": 6.0, "blank": 1.5, "wrong": 0.0}
QUESTIONS = 25
"""Questions of a contest; its full score is 150."""

PROMPT = """This is one of the 25 questions of a contest. A right answer earns 6 points, a blank 1.5, a wrong one \
nothing.

{question}

{options}

Work it out step by step. End with \\boxed{{X}}, where X is the letter of your answer, or \\boxed{{}} to leave it \
blank."""

_BOXED = re.compile(r"\\boxed\{\s*(?:\\text(?:bf)?\{)?\s*\(?([A-Ea-e]?)\)?\s*\}*")
_LINE = re.compile(r"(?im)^\W*(?:final )?answer\W*\s*:?\W*\(?([A-E])\b")


def load(folder: Path) -> list[Problem]:
    """The rows of amc.jsonl."""
    path = find(folder, "amc", FILE)
    rows = read_jsonl(path, ("id", "test", "question", "options", "answer"))
    return [_problem(path, number, row) for number, row in enumerate(rows)]


def grade(problem: Problem, response: str, context: GradingContext) -> Score:
    """The last boxed letter, else the last answer line, against the key."""
    letter = chosen(response)
    outcome = "blank" if letter == "" else "right" if letter == problem.reference else "wrong"
    points = POINTS[outcome]
    told = f"{outcome}, {points:g} points; expected {problem.reference}"
    return Score(value=points / POINTS["right"], extracted=letter or None, explanation=told, parts={"points": points})


def chosen(response: str) -> str:
    """The letter of a response, empty where it was left blank."""
    found = _BOXED.findall(response) or _LINE.findall(response)
    return found[-1].upper() if found else ""


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """Points of a whole contest (150 at most): of each test and their mean, and the shares right, blank and wrong."""
    tests: dict[str, list[float]] = defaultdict(list)
    for problem, score in rows:
        tests[problem.meta["subject"]].append(score.parts["points"])
    points = {f"points {name}": QUESTIONS * sum(each) / len(each) for name, each in tests.items()}
    outcomes = [score.explanation.partition(",")[0] for _, score in rows]
    shares = {name: 100 * outcomes.count(name) / len(outcomes) for name in POINTS}
    return {"points": sum(points.values()) / len(points), **points, **shares}


def _problem(path: Path, number: int, row: dict) -> Problem:
    lines = "\n".join(f"({letter}) {option}" for letter, option in zip(LETTERS, row["options"], strict=True))
    return Problem(
        id=str(row["id"]),
        prompt=PROMPT.format(question=row["question"], options=lines),
        reference=check_answer(path, number, "answer", row["answer"], LETTERS),
        checker="letter",
        meta={"subject": str(row["test"]), "question": row["question"], "options": row["options"]},
    )


AMC = Benchmark(
    name="amc",
    title="AMC-style contests",
    load=load,
    files=(FILE,),
    graders={"corrected": grade},
    measures=measures,
    source="questions of the user's own; the format is ours",
    deviations="own prompt, one question at a time; the letter is read by rules; no official contest is here",
    repeats=10,
    chance=1 / 5,
    graded=True,
)
