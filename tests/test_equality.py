import time

import pytest
from math_pairs import PAIRS

from phidelity.completion import ScriptedCompleter
from phidelity.eval.benchmark import GradingContext, grade_all
from phidelity.eval.benchmarks.math import MATH, corrected
from phidelity.grading.equality import Workers, is_safe, workers
from phidelity.grading.referee import Referee
from phidelity.records import Problem


def problem(reference):
    return Problem(id="m", prompt="", reference=reference, checker="number", meta={"question": "What is it?"})


def graded(reference, answer, context=GradingContext()):
    return corrected(problem(reference), f"We work.\nAnswer: {answer}", context)


@pytest.mark.parametrize(("reference", "answer", "right"), PAIRS)
def test_hand_made_pairs_are_graded_as_a_person_would(reference, answer, right):
    score = graded(reference, answer)
    assert score.value == float(right), score.explanation


def test_the_last_box_counts_where_there_is_no_answer_line():
    assert corrected(
        problem("\\frac{1}{2}"), "So it is \\boxed{1} or rather \\boxed{\\frac{2}{4}}.", GradingContext()
    ).value
    assert corrected(problem("2"), "It is \\boxed{2", GradingContext()).explanation == "no answer line and no box"


HOSTILE = {
    "power tower": "9^{9^{9^{9}}}", "factorials": "99999!!!", "brackets": "(" * 400 + "1" + ")" * 400,
    "long number": "9" * 100_000, "big sum": "\\sum_{k=1}^{10^9} \\frac{1}{k^k}", "binomials": "\\binom{10^9}{10^8}",
    "python": "__import__('os').system('touch /tmp/phidelity-was-here')", "integral": "\\int_0^1 x^{x^{x}} dx",
    "roots": "\\sqrt{" * 20 + "2" + "}" * 20, "a megabyte": "x+" * 500_000, "not unicode": "\udcff\udcfe 7 \x00",
    "fractions": "\\frac{1}{" * 22 + "2" + "}" * 22, "unbalanced": "\\frac{1}{\\left(2\\right",
    "product": "\\prod_{k=1}^{9999} k",
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_expressions_end_soon_with_an_explained_zero(kind):
    started = time.monotonic()
    score = graded("7", HOSTILE[kind])
    assert score.value == 0.0
    assert score.explanation
    assert time.monotonic() - started < 60


def test_a_worker_that_hangs_is_killed_and_replaced():
    hasty = Workers(1, deadline=0.0001)
    assert hasty.equal("x^2+2x+1", "(x+1)^2") is None
    hasty.deadline = 60
    assert hasty.equal("x^2+2x+1", "(x+1)^2") is True
    hasty.close()


def test_plain_python_is_never_evaluated(tmp_path):
    mark = tmp_path / "mark"
    for text in (f"open('{mark}','w')", f"\\text{{open('{mark}','w')}}", f"(lambda: open('{mark}','w'))()"):
        workers().equal("1", text)
    assert not mark.exists()


def test_caps_refuse_before_anything_is_parsed():
    assert is_safe("\\frac{1}{2}")
    assert is_safe("2^{2005}")
    assert not is_safe("2^{200500}")
    assert not is_safe("2^{3^{4}}")
    assert not is_safe("")


def judged(reply, answer="a half, roughly speaking"):
    referee = Referee(ScriptedCompleter(lambda *_: reply))
    (score,) = grade_all(MATH, "corrected", [(problem("7"), f"Answer: {answer}")], GradingContext(judge=referee))
    return score, referee


def test_the_judge_decides_what_the_ladder_does_not():
    assert judged('{"equal": true}')[0].value == 1.0
    assert judged('{"equal": false}')[0].value == 0.0
    assert judged('{"equal": true}', answer="7")[1].n_asked == 0


def test_a_reply_that_is_no_verdict_is_undetermined():
    score, _ = judged("Yes, they are equal.")
    assert score.value is None
    assert "no verdict" in score.explanation


def test_parity_needs_judge_and_prompt_and_takes_only_yes():
    parity, answer = MATH.graders["parity"], "Answer: 7\nAnswer: 8"
    assert parity(problem("7"), answer, GradingContext()).value is None
    texts = {"equality": "%(expression1)s | %(expression2)s"}
    seen = []

    def reply(prompt, _):
        seen.append(prompt.messages[-1].content)
        return "YES\n" if "| 7" in seen[-1] else "Yes."

    context = GradingContext(judge=Referee(ScriptedCompleter(reply)), texts=texts)
    scores = grade_all(MATH, "parity", [(problem("7"), answer), (problem("7"), "nothing")], context)
    assert seen == ["7 | 7", "7 | None"]
    assert [score.value for score in scores] == [1.0, 0.0]
