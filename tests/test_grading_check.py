from typing import get_args

import pytest

from phidelity.grading.check import _CHECKERS, check
from phidelity.grading.code import complete, program
from phidelity.problems.item import Checker
from phidelity.records import Problem

HEAD = 'def double(x):\n    """Return twice x."""\n'
TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate([1]) == [1, 1]\n"
CODE = Problem(
    id="c", prompt="", reference="    return 2 * x\n", checker="code",
    meta={"code": HEAD, "entry_point": "double", "test": TEST},
)  # fmt: skip


def problem(checker, reference, **meta):
    return Problem(id="p", prompt="", reference=reference, checker=checker, meta=meta)


@pytest.mark.parametrize("checker", ["number", "letter", "text", "code"])
def test_empty_answer_scores_zero(checker):
    one = CODE if checker == "code" else problem(checker, {"number": "7", "letter": "B", "text": "Anna"}[checker])
    assert check(one, "", allow_code=True).value == 0.0


def test_every_checker_that_problems_may_name_is_known():
    assert set(get_args(Checker)) == {*_CHECKERS, "code"}


def test_instructions_are_all_to_be_followed():
    one = problem("instructions", "", instructions=["punctuation:no_comma"], arguments=[{}])
    assert check(one, "No commas here.").value == 1.0
    assert check(one, "Well, one.").explanation == "0 of 1 instructions followed"


def test_a_number_needs_an_answer_line():
    assert check(problem("number", "7"), "3 + 4 = 7\nAnswer: 7").value == 1.0
    assert check(problem("number", "7"), "7").explanation == "no answer line"


def test_a_german_thousand_is_a_thousand():
    assert check(problem("number", "1000", language="de"), "Antwort: 1.000").value == 1.0


def test_a_score_says_what_was_extracted_and_why():
    score = check(problem("letter", "B"), "Answer: C")
    assert (score.value, score.extracted, score.explanation) == (0.0, "C", "expected B")


def test_a_text_is_found_in_a_sentence_or_an_answer_line():
    assert check(problem("text", "Anna"), "The miller is Anna.").value == 1.0
    assert check(problem("text", "Anna"), "Bert is the baker.\nAnswer: Anna").value == 1.0
    assert check(problem("text", "I do not know."), "I do not know.").value == 1.0


def test_code_is_undetermined_unless_it_may_run():
    score = check(CODE, "```python\ndef double(x):\n    return 2 * x\n```")
    assert score.value is None
    assert "not allowed" in score.explanation


SHAPES = {
    "function in a python fence": "```python\ndef double(x):\n    return 2 * x\n```",
    "whole prompt in a fence": f"Here it is.\n```python\n{HEAD}    return 2 * x\n```\nDone.",
    "py fence": "```py\ndef double(x):\n    return 2 * x\n```",
    "Python fence": "```Python\ndef double(x):\n    return 2 * x\n```",
    "fence without tag": "```\ndef double(x):\n    return 2 * x\n```",
    "unclosed fence": "```python\ndef double(x):\n    return 2 * x",
    "no fence": "def double(x):\n    return 2 * x",
    "body only": "    return 2 * x",
    "body that lost its indent": "y = 2 * x\n    return y",
    "two spaces": "```python\ndef double(x):\n  return 2 * x\n```",
    "helper before": "```python\ndef help(x):\n    return 2 * x\n\ndef double(x):\n    return help(x)\n```",
    "helper after": "```python\ndef double(x):\n    return help(x)\n\ndef help(x):\n    return 2 * x\n```",
    "own import": "```python\nimport operator\n\ndef double(x):\n    return operator.mul(2, x)\n```",
    "comment after the signature": "```python\ndef double(x):\n    # twice\n\n    return 2 * x\n```",
    "other block first": "```\nsome text\n```\n```python\ndef double(x):\n    return 2 * x\n```",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_reply_shape_passes(shape):
    score = check(CODE, SHAPES[shape], allow_code=True)
    assert score.value == 1.0, score.explanation


def test_helpers_of_the_prompt_are_kept():
    shown = 'import math\n\ndef poly(x):\n    return x * x\n\ndef double(x):\n    """Twice."""\n'
    source = program(shown, "```python\ndef double(x):\n    return 2 * x\n```", "double")
    assert source.startswith(complete(shown))
    compile(source, "source", "exec")
