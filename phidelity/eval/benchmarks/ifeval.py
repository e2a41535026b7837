"""IFEval: 541 prompts with 834 verifiable instructions of 25 kinds, `input_data.jsonl`.

The score is prompt-level strict, the usual reading of the report's 63.0 (it does not say which of the four it is);
the other three stand beside it. Both profiles are the official checks, which `grading.instructions` implements anew.
"""

from collections.abc import Sequence
from pathlib import Path

from phidelity.eval.benchmark import Benchmark, DataFile, GradingContext, Row
from phidelity.eval.files import read_jsonl
from phidelity.eval.folder import find
from phidelity.grading.instructions import INSTRUCTIONS, follow
from phidelity.records import Problem, Score

FILE = DataFile(
    "input_data.jsonl",
    "instruction_following_eval/data/input_data.jsonl of google-research/google-research",
    541,
    "67ffeee0fcb87c317c5b08a2de85557b4a7e96ada6178aa645b4954fe4b53d49",
)
MAX_CHARS = 32_000
"""Longer responses follow nothing: the official patterns take time that grows with the square (*ours*)."""


def load(folder: Path) -> list[Problem]:
    """The rows of input_data.jsonl; ids are the keys."""
    rows = read_jsonl(find(folder, "ifeval", FILE), ("key", "prompt", "instruction_id_list", "kwargs"))
    return [
        Problem(
            id=str(row["key"]),
            prompt=row["prompt"],
            reference=", ".join(row["instruction_id_list"]),
            checker="instructions",
            meta={"instructions": row["instruction_id_list"], "arguments": row["kwargs"]},
        )
        for row in rows
    ]


def grade(problem: Problem, response: str, context: GradingContext) -> Score:
    """1 if every instruction is followed strictly; the counts of the other readings are the parts."""
    names = problem.meta["instructions"]
    if unknown := [name for name in names if name not in INSTRUCTIONS]:
        return Score(value=None, explanation=f"undetermined: unknown instruction {', '.join(unknown)}")
    if len(response) > MAX_CHARS:
        return Score(value=0.0, explanation=f"longer than the {MAX_CHARS:,} characters that are checked")
    found = follow(response, names, problem.meta["arguments"])
    missed = [name for name, right in zip(names, found.strict, strict=True) if not right]
    parts = {
        "n": float(len(names)),
        "strict": float(sum(found.strict)),
        "loose": float(sum(found.loose)),
    }
    explanation = f"not followed: {', '.join(missed)}" if missed else "all instructions followed"
    return Score(value=float(not missed), explanation=explanation, parts=parts)


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """The four official numbers."""
    parts = [score.parts for _, score in rows if score.parts]
    if not parts:
        return {}
    n = sum(part["n"] for part in parts)
    shares = {
        "prompt_strict": sum(part["strict"] == part["n"] for part in parts) / len(parts),
        "prompt_loose": sum(part["loose"] == part["n"] for part in parts) / len(parts),
        "instruction_strict": sum(part["strict"] for part in parts) / n,
        "instruction_loose": sum(part["loose"] for part in parts) / n,
    }
    return {name: round(100 * share, 4) for name, share in shares.items()}


IFEVAL = Benchmark(
    name="ifeval",
    title="IFEval",
    load=load,
    files=(FILE,),
    graders={"corrected": grade, "parity": grade},
    measures=measures,
    source="Zhou et al. 2023, Apache-2.0; input_data.jsonl of google-research, 541 rows",
    deviations="sentences and capital words are split by rules, not a trained splitter; language detection has a seed",
    temperature=0.0,
)
