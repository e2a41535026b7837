"""SimpleQA: short factual questions; correct, not attempted or incorrect, `simple_qa_test_set.csv`.

Corrected: rules (the target named, not denied), and where a judge is given, the judge decides what the rules call
incorrect. Parity: simple-evals' rubric to a judge, whose first A, B or C counts, else C. The report's figure is F1.
"""

import ast
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from phidelity.eval.benchmark import Benchmark, DataFile, GradingContext, Row, Texts
from phidelity.eval.files import read_csv
from phidelity.eval.folder import find
from phidelity.grading import simple_evals, simpleqa
from phidelity.grading.judge import attempt_prompt, parse_attempt
from phidelity.problems import prompts
from phidelity.records import Problem, Score

FILE = DataFile("simple_qa_test_set.csv", "simple_qa_test_set.csv of openai/simple-evals", 4_326)
GRADES = {"A": "correct", "B": "incorrect", "C": "not attempted"}


def load(folder: Path) -> list[Problem]:
    """The rows of simple_qa_test_set.csv; ids are row numbers."""
    rows = read_csv(find(folder, "simpleqa", FILE, "simple_qa_*.csv"), ("metadata", "problem", "answer"))
    return [
        Problem(
            id=str(number),
            prompt=prompts.simpleqa(row["problem"]),
            reference=row["answer"],
            checker="text",
            meta={"topic": _topic(row["metadata"]), "question": row["problem"]},
        )
        for number, row in enumerate(rows)
    ]


def official(problem: Problem, texts: Texts) -> str:
    """The bare question, as simple-evals asks."""
    return simple_evals.as_pandas(problem.meta["question"])


def corrected(problem: Problem, response: str, context: GradingContext) -> Score:
    """1 if correct; the explanation is the grade, so that what was not attempted can be counted apart."""
    said = response.strip()
    given = simpleqa.grade(said, problem.reference)
    if given != "incorrect" or context.judge is None:
        return _score(said, given)
    reply = context.judge.ask(attempt_prompt(problem.meta.get("question", problem.prompt), problem.reference, said))
    judged = None if reply is None else parse_attempt(reply)
    return _undetermined(said, reply) if judged is None else _score(said, judged)


def parity(problem: Problem, response: str, context: GradingContext) -> Score:
    """What simple-evals reads in its judge's reply to its rubric."""
    if context.judge is None or "simpleqa" not in context.texts:
        lacking = "a judge" if context.judge is None else "the imported prompt `simpleqa`"
        return Score(value=None, extracted=response, explanation=f"undetermined: needs {lacking}")
    filled = {"question": official(problem, {}), "target": simple_evals.as_pandas(problem.reference)}
    reply = context.judge.ask(context.texts["simpleqa"].format(**filled, predicted_answer=response))
    if reply is None:
        return _undetermined(response, reply)
    return _score(response, GRADES[simple_evals.simpleqa_letter(reply)])


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """The three shares, and F1: the harmonic mean of the share correct and the share correct of what was attempted."""
    counts, n = Counter(score.explanation for _, score in rows), len(rows)
    attempted = counts["correct"] + counts["incorrect"]
    shares = {
        "correct": counts["correct"] / n,
        "incorrect": counts["incorrect"] / n,
        "not_attempted": 1 - attempted / n,
        "correct_given_attempted": counts["correct"] / attempted if attempted else 0.0,
        "f1": 2 * counts["correct"] / (n + attempted),
    }
    return {name: round(100 * share, 4) for name, share in shares.items()} if n else {}


def _score(said: str, given: str) -> Score:
    return Score(value=float(given == "correct"), extracted=said, explanation=given)


def _undetermined(said: str, reply: str | None) -> Score:
    why = "the judge has not answered" if reply is None else f"the judge's reply is no grade: {reply[:200]}"
    return Score(value=None, extracted=said, explanation=f"undetermined: {why}")


def _topic(metadata: str) -> str:
    try:
        return str(ast.literal_eval(metadata)["topic"])
    except (ValueError, SyntaxError, LookupError, TypeError):
        return ""


SIMPLEQA = Benchmark(
    name="simpleqa",
    title="SimpleQA",
    load=load,
    files=(FILE,),
    graders={"corrected": corrected, "parity": parity, "parity-2025": parity},
    official=official,
    judge_needs=("simpleqa",),
    measures=measures,
    judged=("parity", "parity-2025"),
    source="Wei et al. 2024, MIT; simple_qa_test_set.csv of openai/simple-evals, 4,326 rows",
    deviations="graded by rules (the target named, not denied; a refusal); a judge, if given, sees what they refuse",
)
