"""Whatever a response is, every grader of every benchmark gives a score with an explanation, soon."""

import time

import pytest

from phidelity.eval.benchmark import GradingContext, grade
from phidelity.eval.suite import BENCHMARKS, FURTHER
from phidelity.records import Problem

META = {
    "question": "Why?", "options": ["a", "b", "c", "d"], "subject": "colours", "language": "en", "answer": "7",
    "n_options": 10, "category": "maths", "code": "def f(x):\n",
    "entry_point": "f", "test": "def check(c):\n    c(1)\n",
    "instructions": ["punctuation:no_comma", "length_constraints:number_sentences", "detectable_format:title",
                     "change_case:capital_word_frequency", "detectable_format:multiple_sections",
                     "language:response_language"],
    "arguments": [{}, {"relation": "at least", "num_sentences": 3}, {}, {"capital_relation": "at least",
                  "capital_frequency": 2}, {"section_spliter": "Part", "num_sections": 2}, {"language": "en"}],
}  # fmt: skip
REFERENCE = {
    "simpleqa": "Anna",
    "mmlu": "B",
    "gpqa": "B",
    "mmlu_pro": "B",
    "humaneval": "    return x\n",
    "humaneval_plus": "    return x\n",
}
MEGABYTES = {
    "letters": "a" * 1_000_000, "spaces": "Answer:" + " " * 1_000_000, "answers": "Answer: " * 125_000,
    "braces": "{" * 500_000 + "}" * 500_000, "digits": "Answer: " + "7" * 1_000_000,
    "commas": "Answer: " + "7," * 500_000,
    "lines": "\n" * 1_000_000, "fences": "```python\n" * 100_000, "words": "word " * 200_000, "stars": "*" * 1_000_000,
    "boxes": "\\boxed{" * 140_000, "marks": "<" * 1_000_000, "dots": ". " * 500_000, "brackets": "[" * 1_000_000,
}  # fmt: skip
ODD = {"empty": "", "nul": "\x00", "surrogate": "Answer: \udcff\udcfe", "right to left": "\u202eAnswer: C",
       "nan": "Answer: nan",
       "not text": bytes(range(256)).decode("utf-8", "replace")}  # fmt: skip
EVERY = [(one, profile) for one in BENCHMARKS + FURTHER for profile in one.graders if profile != "parity-2025"]


def problem_of(one):
    reference = REFERENCE.get(one.name, "7")
    checker = {"mmlu": "letter", "gpqa": "letter", "humaneval": "code", "simpleqa": "text"}.get(one.name, "number")
    return Problem(id="0", prompt="", reference=reference, checker=checker, meta=META)


@pytest.mark.parametrize(("one", "profile"), EVERY, ids=lambda value: getattr(value, "name", value))
def test_a_megabyte_is_graded_soon_and_explained(one, profile):
    for kind, response in MEGABYTES.items():
        started = time.monotonic()
        score = grade(one, profile, problem_of(one), response, GradingContext())
        assert time.monotonic() - started < 20, kind
        assert score.value in (0.0, None) or one.name in ("drop", "ifeval"), kind
        assert score.explanation, kind


@pytest.mark.parametrize(("one", "profile"), EVERY, ids=lambda value: getattr(value, "name", value))
def test_odd_texts_are_graded_and_explained(one, profile):
    for kind, response in ODD.items():
        score = grade(one, profile, problem_of(one), response, GradingContext())
        assert score.value in (0.0, None), kind
        assert score.explanation, kind
