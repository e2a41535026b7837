"""HumanEval: functions to be completed from their docstring, run against tests in the sandbox."""

from pathlib import Path

from phidelity.eval.benchmark import Benchmark
from phidelity.eval.files import read_jsonl
from phidelity.problems import prompts
from phidelity.records import Problem

FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def load(folder: Path) -> list[Problem]:
    """The rows of HumanEval.jsonl.gz; ids are the task ids."""
    rows = read_jsonl(folder / "HumanEval.jsonl.gz", FIELDS)
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


HUMANEVAL = Benchmark(
    name="humaneval",
    title="HumanEval",
    load=load,
    source="Chen et al. 2021, MIT; HumanEval.jsonl.gz of openai/human-eval, 164 rows",
    deviations="own prompt; one sample; any fence, helpers and imports are read; arguments are copies",
)
