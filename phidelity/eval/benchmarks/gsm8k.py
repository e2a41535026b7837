"""GSM8K: school word problems, `test.jsonl` of openai/grade-school-math.

The report does not list it; it is here because its files come with answers of four models that people have graded.
Parity is the data set's own reading: what stands on the last line that begins with `A:` or `####`, compared as text
without commas.
"""

import re
from pathlib import Path

from phidelity.eval.benchmark import Benchmark, DataFile, GradingContext, check_corrected
from phidelity.eval.files import read_jsonl
from phidelity.eval.folder import find
from phidelity.grading.answers import answer_line, last_box
from phidelity.problems import prompts
from phidelity.records import Problem, Score

FILE = DataFile(
    "test.jsonl",
    "grade_school_math/data/test.jsonl of openai/grade-school-math",
    1_319,
    "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
)
_SAID = re.compile(r"(?:####|\banswer is:?)[ \t*$]*(-?[\d.,]*\d)", re.IGNORECASE)
_MARKED = re.compile(r"^[ \t]*(?:####|A:)[ \t]*(-?[\d.,]+)", re.MULTILINE)


def load(folder: Path) -> list[Problem]:
    """The rows of test.jsonl; ids are row numbers. The reference is what follows `####`."""
    rows = read_jsonl(find(folder, "gsm8k", FILE), ("question", "answer"))
    return [
        Problem(
            id=str(number),
            prompt=prompts.math(row["question"]),
            reference=row["answer"].rpartition("####")[2].strip().replace(",", ""),
            checker="number",
            meta={"question": row["question"]},
        )
        for number, row in enumerate(rows)
    ]


def corrected(problem: Problem, response: str, context: GradingContext) -> Score:
    """The answer line; without one the data set's own mark, "the answer is ...", or the last box; as a number."""
    said = marked(response) or (_SAID.findall(response) or [last_box(response)])[-1]
    if answer_line(response) is None and said is not None:
        return check_corrected(problem, f"Answer: {said}", context)
    return check_corrected(problem, response, context)


def parity(problem: Problem, response: str, context: GradingContext) -> Score:
    """Whether the number that the response marks is the reference, as text."""
    said = marked(response)
    explanation = f"expected {problem.reference}" if said else "no line that begins with A: or ####"
    return Score(value=float(said == problem.reference), extracted=said, explanation=explanation)


def marked(response: str) -> str | None:
    """The number behind the last `A:` or `####` that begins a line, without commas."""
    found = _MARKED.findall(response)
    return found[-1].replace(",", "").rstrip(".") if found else None


GSM8K = Benchmark(
    name="gsm8k",
    title="GSM8K",
    load=load,
    files=(FILE,),
    graders={"corrected": corrected, "parity": parity},
    source="Cobbe et al. 2021, MIT; test.jsonl of openai/grade-school-math, 1,319 rows",
    deviations="own prompt, zero-shot, whose answer line parity does not read; equal as exact numbers",
    temperature=0.0,
)
