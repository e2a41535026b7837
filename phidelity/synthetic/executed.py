"""Pipeline g: code with tests, and science with a calculation, validated by running them (phi-4 §2.2).

Programs must pass the tests that came with them, and the tests must fail a function that gives nothing. A science
problem's answer must be the number that its calculation gives when run. All of it runs in the sandbox; where nothing
can isolate it, the job is dropped as undetermined.
"""

from collections.abc import Iterator, Sequence

from phidelity.grading.answers import number
from phidelity.grading.code import Outcome, run_program
from phidelity.records import Document
from phidelity.synthetic.desk import Desk, Excerpt, Job
from phidelity.synthetic.replies import code, sections

TOLERANCE = 5e-3
"""Relative difference of a science answer to its calculation (*ours*): answers are rounded to three digits."""
_NEAR = """
def check(f):
    value, claimed = f(), {claimed!r}
    assert isinstance(value, (int, float)) and not isinstance(value, bool), "the calculation gives no number"
    assert abs(value - claimed) <= {tolerance} * max(abs(claimed), 1e-12), f"the calculation gives {{value!r}}"
"""


def programs(desk: Desk, excerpts: Sequence[Excerpt], n: int) -> Iterator[Document]:
    """Exercises in Python with a solution that passes tests which can fail."""
    jobs = desk.jobs("programs", excerpts, n)
    for job, reply in desk.one(jobs, "program", lambda job: {"passage": job.excerpt.text}):
        found = sections(reply, "exercise", "solution", "tests")
        if found is None or "def solve(" not in found["solution"] or found["tests"].count("assert") < 2:
            desk.drop(job, "off_format")
            continue
        solution, tests = code(found["solution"]), _as_check(code(found["tests"]))
        if _kept(desk, job, run_program(solution, tests, "solve"), "fails_its_tests"):
            nothing = run_program("def solve(*arguments):\n    return None\n", tests, "solve")
            if nothing.passed is not False:
                desk.drop(job, "tests_prove_nothing")
                continue
            job.verdicts = {"tests": "passed", "tests_fail_an_empty_function": True}
            yield desk.document(job, f"{found['exercise']}\n\n{solution}", "code")


def science(desk: Desk, excerpts: Sequence[Excerpt], n: int) -> Iterator[Document]:
    """Problems with a number for an answer that a calculation confirms."""
    jobs = desk.jobs("science", (excerpt for excerpt in excerpts if not excerpt.is_code), n)
    for job, reply in desk.one(jobs, "science", lambda job: {"passage": job.excerpt.text}):
        found = sections(reply, "problem", "solution", "answer", "calculation")
        claimed = number(found["answer"]) if found else None
        if found is None or claimed is None:
            desk.drop(job, "off_format")
            continue
        tests = _NEAR.format(claimed=float(claimed), tolerance=TOLERANCE)
        if _kept(desk, job, run_program(code(found["calculation"]), tests, "result"), "calculation_differs"):
            job.verdicts = {"calculation": "agrees"}
            text = f"{found['problem']}\n\n{found['solution']}\nAnswer: {found['answer']}"
            yield desk.document(job, text, "synthetic")


def _kept(desk: Desk, job: Job, outcome: Outcome, reason: str) -> bool:
    if not outcome.passed:
        desk.drop(job, "undetermined" if outcome.passed is None else reason)
    return bool(outcome.passed)


def _as_check(asserts: str) -> str:
    """The tests as the function that the sandbox calls; `solve` in them is the candidate."""
    lines = "\n".join(f"    {line}" for line in asserts.splitlines())
    return f"def check(solve):\n{lines}\n"
