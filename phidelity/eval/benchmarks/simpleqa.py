"""SimpleQA: short factual questions; correct, not attempted or incorrect, `simple_qa_test_set.csv`."""

import ast
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from phidelity.eval.benchmark import Benchmark, GradingContext, Row
from phidelity.eval.files import read_csv
from phidelity.grading import simpleqa
from phidelity.problems import prompts
from phidelity.records import Problem, Score


def load(folder: Path) -> list[Problem]:
    """The rows of simple_qa_test_set.csv; ids are row numbers."""
    rows = read_csv(folder / "simple_qa_test_set.csv", ("metadata", "problem", "answer"))
    return [
        Problem(
            id=str(number),
            prompt=prompts.simpleqa(row["problem"]),
            reference=row["answer"],
            checker="text",
            meta={"topic": _topic(row["metadata"])},
        )
        for number, row in enumerate(rows)
    ]


def corrected(problem: Problem, response: str, context: GradingContext) -> Score:
    """1 if correct; the explanation is the grade, so that what was not attempted can be counted apart."""
    said = response.strip()
    given = simpleqa.grade(said, problem.reference)
    return Score(value=float(given == "correct"), extracted=said, explanation=given)


def attempts(rows: Sequence[Row]) -> dict[str, float]:
    """The three shares, and F1: the harmonic mean of the share correct and the share correct of what was attempted."""
    counts = Counter(score.explanation for _, score in rows)
    n, attempted = len(rows), counts["correct"] + counts["incorrect"]
    return {
        "correct": 100 * counts["correct"] / n,
        "incorrect": 100 * counts["incorrect"] / n,
        "not_attempted": 100 * (1 - attempted / n),
        "f1": 200 * counts["correct"] / (n + attempted),
    }


def _topic(metadata: str) -> str:
    try:
        return str(ast.literal_eval(metadata)["topic"])
    except (ValueError, SyntaxError, LookupError, TypeError):
        return ""


SIMPLEQA = Benchmark(
    name="simpleqa",
    title="SimpleQA",
    load=load,
    graders={"corrected": corrected},
    measures=attempts,
    source="Wei et al. 2024, MIT; simple_qa_test_set.csv of openai/simple-evals, 4,326 rows",
    deviations="graded by rules (the target named, not denied; or a refusal) instead of a judge",
)
