"""One answer against one problem: `check` picks the grader that the problem names.

`number` and `letter` read the answer line, `text` reads it or, without one, the whole response, and `code` runs the
program in the sandbox against HumanEval-like tests: `meta["test"]` defines `check(candidate)`,
`meta["entry_point"]` names the function, `meta["code"]` is the code that the prompt showed (imports, helpers, the
head of the function). `instructions` asks whether the response follows `meta["instructions"]` strictly.
"""

from collections.abc import Callable

from phidelity.grading import code, math, simpleqa
from phidelity.grading.answers import answer_line, letter
from phidelity.grading.instructions import follow
from phidelity.records import Problem, Score

DECIMAL_COMMA = ("de", "es", "fr", "ru")
"""Languages that write 1.000 for a thousand and 1,5 for three halves."""


def check(problem: Problem, response: str, allow_code: bool = False) -> Score:
    """Score a response by the problem's checker: 1, 0, or None where it cannot be decided (code not allowed)."""
    if problem.checker == "code":
        return check_code(problem, response, allow_code)
    return _CHECKERS[problem.checker](problem, response)


def check_number(problem: Problem, response: str) -> Score:
    """Whether the answer line equals the reference as text or as an exact number."""
    line = answer_line(response)
    if line is None:
        return Score(value=0.0, explanation="no answer line")
    right = math.equal(problem.reference, line, decimal_comma=problem.meta.get("language") in DECIMAL_COMMA)
    return _score(right, line, problem.reference)


def check_letter(problem: Problem, response: str) -> Score:
    """Whether the chosen option is the reference letter."""
    chosen = letter(response)
    if chosen is None:
        return Score(value=0.0, explanation="no letter found")
    return _score(chosen == problem.reference, chosen, problem.reference)


def check_text(problem: Problem, response: str) -> Score:
    """Whether the response names the reference; a refusal as reference wants a refusal."""
    said = answer_line(response) or response.strip()
    grade = simpleqa.grade(said, problem.reference)
    return Score(value=float(grade == "correct"), extracted=said, explanation=grade)


def check_code(problem: Problem, response: str, allow_code: bool) -> Score:
    """Whether the program in the response passes the problem's tests in the sandbox."""
    shown, entry_point = problem.meta["code"], problem.meta["entry_point"]
    source = code.program(shown, response, entry_point)
    if not allow_code:
        return Score(value=None, extracted=source, explanation="undetermined: running code was not allowed")
    outcome = code.run_program(source, problem.meta["test"], entry_point, preamble=code.complete(shown))
    value = None if outcome.passed is None else float(outcome.passed)
    return Score(value=value, extracted=source, explanation=outcome.explanation)


def check_instructions(problem: Problem, response: str) -> Score:
    """Whether the response follows all instructions that the problem names, by the strict reading."""
    followed = follow(response, problem.meta["instructions"], problem.meta["arguments"]).strict
    return Score(value=float(all(followed)), explanation=f"{sum(followed)} of {len(followed)} instructions followed")


_CHECKERS: dict[str, Callable[[Problem, str], Score]] = {
    "number": check_number,
    "letter": check_letter,
    "text": check_text,
    "instructions": check_instructions,
}


def _score(right: bool, extracted: str, reference: str) -> Score:
    explanation = "equal to the reference" if right else f"expected {reference}"
    return Score(value=float(right), extracted=extracted, explanation=explanation)
