"""DROP: questions on a passage, `drop_v0_dev.jsonl.gz` in simple-evals' format; the score is F1."""

from pathlib import Path

from phidelity.eval.benchmark import Benchmark, GradingContext
from phidelity.eval.files import read_jsonl
from phidelity.grading import drop
from phidelity.problems import prompts
from phidelity.records import Problem, Score


def load(folder: Path) -> list[Problem]:
    """The rows of drop_v0_dev.jsonl.gz; ids are row numbers, and the questions on one passage are a cluster."""
    rows = read_jsonl(folder / "drop_v0_dev.jsonl.gz", ("context", "completion", "ref_text"))
    return [
        Problem(
            id=str(number),
            prompt=prompts.drop(row["context"]),
            reference=row["ref_text"],
            checker="drop",
            meta={"cluster": row["context"].partition("\nQuestion:")[0]},
        )
        for number, row in enumerate(rows)
    ]


def corrected(problem: Problem, response: str, context: GradingContext) -> Score:
    """F1 of the answer line, or of the whole response where there is none."""
    said = drop.extract(response)
    score = drop.grade(said, problem.reference)
    explanation = f"F1 {score.f1:.2f}, exact {score.exact:.0f}; expected {problem.reference}"
    return Score(value=score.f1, extracted=said, explanation=explanation)


DROP = Benchmark(
    name="drop",
    title="DROP",
    load=load,
    graders={"corrected": corrected},
    source="Dua et al. 2019, CC BY-SA 4.0; drop_v0_dev.jsonl.gz of openai/simple-evals, 9,536 rows",
    deviations="own prompt without exemplars; the last answer line counts; numbers keep their value under punctuation",
    graded=True,
)
