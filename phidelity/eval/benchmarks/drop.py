"""DROP: questions on a passage, `drop_v0_dev.jsonl.gz` in simple-evals' format; the score is F1.

The official message shows three solved passages drawn from the training file. simple-evals draws them inside its
threads, so its prompts change from run to run; ours are those of a run with one thread (`Random(42)`, three
per row, in order). Without the training file they come from other passages of the file itself, and `meta` says so.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phidelity.eval.benchmark import Benchmark, DataFile, GradingContext, Row, Texts
from phidelity.eval.files import read_jsonl
from phidelity.eval.folder import find
from phidelity.grading import drop, drop_official, simple_evals
from phidelity.problems import prompts
from phidelity.records import Problem, Score

FILE = DataFile("drop_v0_dev.jsonl.gz", "drop_v0_dev.jsonl.gz of openai/simple-evals", 9_536)
TRAIN = "drop_v0_train.jsonl.gz"
FIELDS = ("context", "completion", "ref_text")
SEED, SHOTS = 42, 3
"""Of simple-evals."""


def load(folder: Path) -> list[Problem]:
    """The rows of drop_v0_dev.jsonl.gz; ids are row numbers, and the questions on one passage are a cluster."""
    path = find(folder, "drop", FILE, "drop_v0_dev*.jsonl.gz")
    rows = read_jsonl(path, FIELDS)
    train = read_jsonl(path.with_name(TRAIN), FIELDS) if path.with_name(TRAIN).is_file() else []
    rng = random.Random(SEED)
    return [_problem(number, row, *_shots(rng, row, train, rows)) for number, row in enumerate(rows)]


def official(problem: Problem, texts: Texts) -> str:
    """simple-evals' message: head, three solved passages, the passage, the request."""
    shown = [texts["drop/passage"].format(context) + answer + "\n" for context, answer in problem.meta["exemplars"]]
    asked = texts["drop/passage"].format(problem.meta["context"])
    head = texts["drop/head"] + texts["drop/examples"]
    return head + "".join(shown) + texts["drop/task"] + asked + texts["drop/tail"]


def corrected(problem: Problem, response: str, context: GradingContext) -> Score:
    """F1 of the last answer line, or of the whole response where there is none; numbers keep their value."""
    said = drop.extract(response)
    score = drop.grade(said, problem.reference)
    explanation = f"F1 {score.f1:.2f}, exact {score.exact:.0f}; expected {problem.reference}"
    return Score(value=score.f1, extracted=said, explanation=explanation, parts={"exact": score.exact})


def parity(problem: Problem, response: str, context: GradingContext) -> Score:
    """Official F1 of the first answer line, or of the whole response where there is none."""
    line = simple_evals.answer(response)
    said = response if line is None else line
    score = drop_official.grade(said, problem.reference)
    explanation = f"F1 {score.f1:.4f}, exact {score.exact:.0f}; expected {problem.reference}"
    parts = {"exact": score.exact, "lenient": score.lenient}
    return Score(value=score.f1, extracted=said, explanation=explanation, parts=parts)


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """Exact match, and in parity the lenient score that simple-evals calls `score`."""
    names = ("exact", "lenient") if rows and "lenient" in rows[0][1].parts else ("exact",)
    return {name: round(100 * sum(score.parts.get(name, 0.0) for _, score in rows) / len(rows), 4) for name in names}


def _shots(
    rng: random.Random, row: dict[str, Any], train: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]
) -> tuple[list[list[str]], str]:
    if train:
        drawn = rng.sample(train, min(SHOTS, len(train)))
    else:
        others = [one for one in rng.sample(rows, min(8 * SHOTS, len(rows))) if _passage(one) != _passage(row)]
        drawn = others[:SHOTS]
    return [[one["context"], one["completion"]] for one in drawn], "train" if train else "dev (no training file)"


def _passage(row: dict[str, Any]) -> str:
    return row["context"].partition("\nQuestion:")[0]


def _problem(number: int, row: dict[str, Any], exemplars: list[list[str]], origin: str) -> Problem:
    return Problem(
        id=str(number),
        prompt=prompts.drop(row["context"]),
        reference=row["ref_text"],
        checker="drop",
        meta={
            "cluster": _passage(row),
            "context": row["context"],
            "exemplars": exemplars,
            "exemplars_from": origin,
        },
    )


DROP = Benchmark(
    name="drop",
    title="DROP",
    load=load,
    files=(FILE,),
    graders={"corrected": corrected, "parity": parity, "parity-2025": parity},
    official=official,
    needs=("drop/head", "drop/examples", "drop/passage", "drop/task", "drop/tail"),
    measures=measures,
    source="Dua et al. 2019, CC BY-SA 4.0; drop_v0_dev.jsonl.gz of openai/simple-evals, 9,536 rows",
    deviations=(
        "own prompt without exemplars unless imported; the last answer line counts; numbers keep their value under "
        "punctuation; exemplars are those of a run with one thread"
    ),
    cluster="passage",
    graded=True,
)
