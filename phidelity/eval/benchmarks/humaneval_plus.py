"""HumanEval+: the same 164 functions with some 750 further inputs each (evalplus), `HumanEvalPlus.jsonl.gz`.

What the program must give is what the reference solution gives, run beside it in the process of the tests; numbers
agree to 1e-6 where the reference gives floats, and a root of `find_zero` is put into its polynomial, as in evalplus.
There each input has a limit of its own; here all of them together have LIMIT seconds of processor time.
"""

import json
from pathlib import Path
from typing import Any

from phidelity.eval.benchmark import Benchmark, DataFile, GradingContext
from phidelity.eval.benchmarks.humaneval import NOT_ALLOWED, measures
from phidelity.eval.files import read_jsonl
from phidelity.eval.folder import find
from phidelity.grading import code
from phidelity.problems import prompts
from phidelity.records import Problem, Score

FILE = DataFile(
    "HumanEvalPlus.jsonl.gz",
    "HumanEvalPlus.jsonl.gz of evalplus/humanevalplus_release v0.1.10",
    164,
    "272720b90ac375502c8ed23cd791c2a93dfb22a911641a494da74a426c09f101",
)
FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")
LIMIT = 20.0
"""Seconds of processor time for all inputs, reference included (*ours*)."""

_TESTS = """
import copy, json, math
REFERENCE, NAME, ATOL = {{}}, {name!r}, {atol!r}
exec({solution!r}, REFERENCE)

def is_floats(value):
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(one, float) for one in value)
    return isinstance(value, float)

def close(said, wanted, atol):
    if isinstance(wanted, (list, tuple)):
        return len(said) == len(wanted) and all(close(a, b, atol) for a, b in zip(said, wanted))
    return said == wanted or abs(said - wanted) <= atol + 1e-7 * abs(wanted)

def agree(said, wanted, given):
    if NAME == "find_zero":
        return abs(sum(c * said ** i for i, c in enumerate(given[0]))) <= (ATOL or 1e-6)
    atol = ATOL or (1e-6 if is_floats(wanted) else 0)
    return said == wanted or bool(atol) and type(said) is type(wanted) and close(said, wanted, atol)

def check(candidate):
    for number, given in enumerate(json.loads({inputs!r})):
        wanted = REFERENCE[NAME](*copy.deepcopy(given))
        said = candidate(*given)
        assert agree(said, wanted, given), f"input {{number}}: {{str(said)[:60]}}, expected {{str(wanted)[:60]}}"
"""


def load(folder: Path) -> list[Problem]:
    """The rows of HumanEvalPlus.jsonl.gz (or of the Mini file, about seven further inputs each)."""
    rows = read_jsonl(find(folder, "humaneval_plus", FILE, "HumanEvalPlus-Mini.jsonl.gz"), FIELDS)
    return [
        Problem(
            id=row["task_id"],
            prompt=prompts.humaneval(row["prompt"]),
            reference=row["canonical_solution"],
            checker="code",
            meta={"code": row["prompt"], "entry_point": row["entry_point"], "test": _tests(row)},
        )
        for row in rows
    ]


def corrected(problem: Problem, response: str, context: GradingContext) -> Score:
    """Whether the program in the response agrees with the reference on every input."""
    shown, entry_point = problem.meta["code"], problem.meta["entry_point"]
    source = code.program(shown, response, entry_point)
    if not context.allow_code:
        return Score(value=None, extracted=source, explanation=NOT_ALLOWED)
    outcome = code.run_program(source, problem.meta["test"], entry_point, timeout=LIMIT)
    value = None if outcome.passed is None else float(outcome.passed)
    return Score(value=value, extracted=source, explanation=outcome.explanation)


def _tests(row: dict[str, Any]) -> str:
    solution = row["prompt"] + row["canonical_solution"]
    inputs = json.dumps(row["base_input"] + row["plus_input"])
    return _TESTS.format(name=row["entry_point"], atol=row["atol"], solution=solution, inputs=inputs)


HUMANEVAL_PLUS = Benchmark(
    name="humaneval_plus",
    title="HumanEval+",
    load=load,
    files=(FILE,),
    graders={"corrected": corrected},
    measures=measures,
    source="Liu et al. 2023, Apache-2.0; HumanEvalPlus.jsonl.gz of evalplus/humanevalplus_release, 164 rows",
    deviations="own prompt; one time limit for all inputs; the report's protocol is not public",
    temperature=0.0,
)
