"""Who says that an answer is right, where no reference can: a judge.

Exact answers, mathematical equality and unit tests in the sandbox are `grading.check`, by the checker of a problem.
A judge is any Completer; it is asked for the verdict of grading/judge.py, and its accuracy decides. What it says off
format is undetermined, never a default (phi-4 report §4.3 names tests and ground truth; the judge is *ours*).
"""

from phidelity.completion import Completer, SamplingParams
from phidelity.grading.judge import judge_prompt, parse_verdict
from phidelity.preference.rollouts import Oracle
from phidelity.records import Problem, Score

RIGHT = 4
"""Least accuracy, of 5, of a right answer (*ours*)."""


def by_judge(judge: Completer) -> Oracle:
    """An oracle that asks `judge` about each answer."""

    def oracle(problem: Problem, response: str) -> Score:
        prompt = judge_prompt(problem.prompt, problem.reference, problem.checker, response)
        (said,) = judge.complete([prompt], SamplingParams(max_tokens=64))
        verdict = parse_verdict(said.text)
        if verdict is None:
            return Score(value=None, explanation="the judge gave no verdict")
        return Score(value=float(verdict.accuracy >= RIGHT), explanation=f"accuracy {verdict.accuracy} of 5")

    return oracle
