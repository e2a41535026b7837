"""MATH: competition problems with a boxed answer, `math_test.csv` as simple-evals reads it.

Corrected: the last answer line or box is equal to the reference as text, as an exact number, by math-verify (in a
worker with a deadline), or, where a judge is given, by the judge. Parity: the first answer line is shown to a judge
with simple-evals' own few-shot prompt, and only "yes" counts; without prompt or judge it is undetermined.
"""

from pathlib import Path

from phidelity.eval.benchmark import Benchmark, DataFile, GradingContext, Texts
from phidelity.eval.files import read_csv
from phidelity.eval.folder import find
from phidelity.grading import math, simple_evals
from phidelity.grading.answers import last_box, raw_answer_line
from phidelity.grading.equality import workers
from phidelity.grading.judge import equality_prompt, parse_equality
from phidelity.problems import prompts
from phidelity.records import Problem, Score

FILE = DataFile("math_test.csv", "math_test.csv of openai/simple-evals", 5_000)


def load(folder: Path) -> list[Problem]:
    """The rows of math_test.csv (or of math_500_test.csv); their ids are row numbers."""
    rows = read_csv(find(folder, "math", FILE, "math_500_test.csv"), ("Question", "Answer"))
    return [
        Problem(
            id=str(number),
            prompt=prompts.math(row["Question"]),
            reference=row["Answer"],
            checker="number",
            meta={"question": row["Question"]},
        )
        for number, row in enumerate(rows)
    ]


def official(problem: Problem, texts: Texts) -> str:
    """simple-evals' message."""
    return texts["math"].format(Question=problem.meta["question"])


def corrected(problem: Problem, response: str, context: GradingContext) -> Score:
    """The ladder: text and numbers, math-verify, the judge."""
    line = raw_answer_line(response)
    said = line if line is not None and line.strip() else last_box(response)
    if said is None:
        return Score(value=0.0, explanation="no answer line and no box")
    said = said.strip()[:4_000]
    if math.equal(problem.reference, said):
        return Score(value=1.0, extracted=said, explanation="equal as text or as a number")
    if math.other_base(problem.reference, said):
        return Score(value=0.0, extracted=said, explanation=f"in another base; expected {problem.reference}")
    found = workers().equal(math.bare(problem.reference), math.bare(said))
    if found:
        return Score(value=1.0, extracted=said, explanation="equal by math-verify")
    if context.judge is not None:
        return _judged(problem, said, context)
    reason = "not equal by math-verify" if found is False else "not equal as text; not read by math-verify"
    return Score(value=0.0, extracted=said, explanation=f"{reason}; expected {problem.reference}")


def parity(problem: Problem, response: str, context: GradingContext) -> Score:
    """What simple-evals' equality checker says of the first answer line (of "None" where there is none)."""
    said = simple_evals.answer(response)
    if context.judge is None or "equality" not in context.texts:
        lacking = "a judge" if context.judge is None else "the imported prompt `equality`"
        return Score(value=None, extracted=said, explanation=f"undetermined: needs {lacking}")
    gold = simple_evals.as_pandas(problem.reference)
    reply = context.judge.ask(context.texts["equality"] % {"expression1": gold, "expression2": said})
    if reply is None:
        return Score(value=None, extracted=said, explanation="undetermined: the judge has not answered")
    return Score(value=float(simple_evals.says_yes(reply)), extracted=said, explanation=f"the judge says {reply[:200]}")


def _judged(problem: Problem, said: str, context: GradingContext) -> Score:
    assert context.judge is not None
    reply = context.judge.ask(equality_prompt(problem.meta.get("question", ""), problem.reference, said))
    verdict = None if reply is None else parse_equality(reply)
    if verdict is None:
        why = "the judge has not answered" if reply is None else f"the judge's reply is no verdict: {reply[:200]}"
        return Score(value=None, extracted=said, explanation=f"undetermined: {why}")
    return Score(value=float(verdict), extracted=said, explanation=f"the judge says {'equal' if verdict else 'other'}")


MATH = Benchmark(
    name="math",
    title="MATH",
    load=load,
    files=(FILE,),
    graders={"corrected": corrected, "parity": parity, "parity-2025": parity},
    official=official,
    needs=("math",),
    judge_needs=("equality",),
    judged=("parity", "parity-2025"),
    source="Hendrycks et al. 2021, MIT; math_test.csv of openai/simple-evals, 5,000 rows",
    deviations=(
        "own prompt unless imported; equality by text, numbers and math-verify, a judge only after them; unreduced "
        "numbers are equal; never run here on the official items, which are not to be had"
    ),
)
