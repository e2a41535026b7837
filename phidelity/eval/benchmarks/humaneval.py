"""HumanEval: functions to be completed from their docstring, run against tests in the sandbox.

Parity puts behind the prompt what simple-evals cuts out of a reply (`simple_evals.humaneval_completion`) and runs that:
a fence without `python`, a helper or import before the function, another indentation or a body alone fail there.
"""

from collections.abc import Sequence
from pathlib import Path

from phidelity.eval.benchmark import Benchmark, DataFile, GradingContext, Row, Texts, check_corrected
from phidelity.eval.files import read_jsonl
from phidelity.eval.folder import find
from phidelity.grading import code, simple_evals
from phidelity.problems import prompts
from phidelity.records import Problem, Score
from phidelity.statistics import pass_at_k

FILE = DataFile(
    "HumanEval.jsonl.gz",
    "data/HumanEval.jsonl.gz of openai/human-eval",
    164,
    "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
)
FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
KS = (1, 2, 5)
NOT_ALLOWED = "undetermined: running code was not allowed"


def load(folder: Path) -> list[Problem]:
    """The rows of HumanEval.jsonl.gz; ids are the task ids."""
    rows = read_jsonl(find(folder, "humaneval", FILE), FIELDS)
    return [
        Problem(
            id=row["task_id"],
            prompt=prompts.humaneval(row["prompt"]),
            reference=row["canonical_solution"],
            checker="code",
            meta={"code": row["prompt"], "entry_point": row["entry_point"], "test": row["test"]},
        )
        for row in rows
    ]


def official(problem: Problem, texts: Texts) -> str:
    """simple-evals' message."""
    return texts["humaneval"] + problem.meta["code"]


def parity(problem: Problem, response: str, context: GradingContext) -> Score:
    """Whether prompt and cut-out completion pass the tests."""
    shown, entry_point = problem.meta["code"], problem.meta["entry_point"]
    source = shown + simple_evals.humaneval_completion(response)
    if not context.allow_code:
        return Score(value=None, extracted=source, explanation=NOT_ALLOWED)
    outcome = code.run_program(source, problem.meta["test"], entry_point, preamble=code.complete(shown))
    value = None if outcome.passed is None else float(outcome.passed)
    return Score(value=value, extracted=source, explanation=outcome.explanation)


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """pass@k for the k that every problem has samples for."""
    passed: dict[str, list[float]] = {}
    for problem, score in rows:
        passed.setdefault(problem.id, []).append(score.value or 0.0)
    fewest = min(map(len, passed.values()), default=0)
    estimates = {k: [pass_at_k(len(one), round(sum(one)), k) for one in passed.values()] for k in KS if k <= fewest}
    return {f"pass@{k}": round(100 * sum(values) / len(values), 4) for k, values in estimates.items()}


HUMANEVAL = Benchmark(
    name="humaneval",
    title="HumanEval",
    load=load,
    files=(FILE,),
    graders={"corrected": check_corrected, "parity": parity, "parity-2025": parity},
    official=official,
    needs=("humaneval",),
    measures=measures,
    repeats=5,
    source="Chen et al. 2021, MIT; HumanEval.jsonl.gz of openai/human-eval, 164 rows",
    deviations="own prompt unless imported; any fence, helpers and imports are read; arguments are copies",
)
