import re

import pytest

from phidelity.eval.benchmark import GradingContext
from phidelity.eval.benchmarks.drop import DROP
from phidelity.eval.suite import BENCHMARKS, benchmark
from phidelity.grading import drop_official, simple_evals
from phidelity.records import Problem

LETTER_PROBES = [  # text, MMLU 2024, MMLU 2025, GPQA 2024, GPQA 2025
    ("Answer: B", "B", "B", "B", "B"),
    ("Answer: $B$", "B", "B", None, "B"),
    ("Answer:\nB", "B", None, "B", None),
    ("**Answer:** C", "C", "C", None, None),
    ("Answer: **C**", "C", "C", None, None),
    ("Answer: (C)", None, None, None, None),
    ("Answer: \\boxed{C}", "C", "C", None, None),
    ("answer: b", "b", "b", "b", "b"),
    ("Answer: Because", "B", "B", "B", "B"),
    ("Answer: A. No, Answer: B", "A", "A", "A", "A"),
    ("Antwort:\nAntwort B", "A", None, None, None),
    ("الإجابة: ب", "B", "B", None, None),
    ("答案：Ｄ", "D", "D", None, None),
    ("উত্তর: অ", "A", "A", None, None),
    ("الجواب النهائي: ج", None, "C", None, None),
    ("B", None, None, None, None),
    ("", None, None, None, None),
]


@pytest.mark.parametrize(("text", "mmlu_2024", "mmlu_2025", "gpqa_2024", "gpqa_2025"), LETTER_PROBES)
def test_letters_are_read_as_both_revisions_read_them(text, mmlu_2024, mmlu_2025, gpqa_2024, gpqa_2025):
    assert simple_evals.mmlu_letter(text, "2024") == mmlu_2024
    assert simple_evals.mmlu_letter(text, "2025") == mmlu_2025
    assert simple_evals.gpqa_letter(text, "2024") == gpqa_2024
    assert simple_evals.gpqa_letter(text, "2025") == gpqa_2025


def test_a_letter_beyond_the_four_of_arabic_or_bengali_is_kept_as_it_is():
    assert simple_evals.mmlu_letter("الإجابة: ت", "2024") == "ت"


@pytest.mark.parametrize(
    ("text", "word", "read"),
    [
        ("Answer: 18", "Answer", "18"),
        ("Answer 18", "Answer", "18"),
        ("ANSWER: 18", "Answer", ""),
        ("18", "Answer", ""),
        ("Answer: 1,000", "Answer", "1000"),
        ("Answer: 1 000", "Answer", "000"),
        ("Answer: 5.", "Answer", "5"),
        ("Answer: 18 dollars and 50 cents", "Answer", "50"),
        ("Antwort: 2.125", "Antwort", "2.125"),
        ("Answer: 3\nAnswer: 4", "Answer", "4"),
        ("উত্তর: ১২", "উত্তর", "১২"),
        ("答え: １８", "答え", "１８"),
    ],
)
def test_mgsm_takes_the_last_number_after_the_last_answer_word(text, word, read):
    assert simple_evals.mgsm_number(text, word) == read


def test_mgsm_compares_texts_without_commas_and_zero_decimals():
    assert simple_evals.mgsm_equal("1,200", "1200.00")
    assert not simple_evals.mgsm_equal("12", "১২")
    assert not simple_evals.mgsm_equal("12", "012")


def test_the_first_answer_line_counts_and_keeps_its_dressing():
    assert simple_evals.answer("Answer: **7**\nAnswer: 8") == "**7**"
    assert simple_evals.answer("answer :\n\n 7 ") == "7 "
    assert simple_evals.answer("7") is None


@pytest.mark.parametrize(
    ("reply", "letter"), [("CORRECT", "C"), ("INCORRECT", "C"), ("NOT_ATTEMPTED", "A"), ("Answer: B", "A"), ("x", "C")]
)
def test_a_chatty_grader_is_misread_as_there(reply, letter):
    assert simple_evals.simpleqa_letter(reply) == letter


def test_only_yes_is_yes():
    assert simple_evals.says_yes(" YES\n")
    assert not simple_evals.says_yes("Yes.")


def test_the_completion_is_cut_behind_the_signature_or_loses_its_first_character():
    assert simple_evals.humaneval_completion("```python\ndef f(x):\n    return x\n```") == "    return x\n"
    assert simple_evals.humaneval_completion("```py\nreturn x```") == "``py\nreturn x```"
    assert simple_evals.humaneval_completion("") == ""


def test_a_missing_value_of_pandas_is_printed_as_nan():
    assert [simple_evals.as_pandas(text) for text in ("None", "NA", "", "none", "0")] == [
        "nan",
        "nan",
        "nan",
        "none",
        "0",
    ]


@pytest.mark.parametrize(
    ("said", "accepted", "exact", "f1"),
    [
        ("5.3", "5.3", 1, 1),
        ("5.3.", "5.3", 0, 0),
        ("5.3%", "5.3", 0, 0),
        ("**5.3**", "5.3", 0, 0),
        ("5.", "5", 1, 1),
        ("5 yards", "5", 0, 0.6667),
        ("The answer is 5", "5", 0, 0.5),
        ("5\nyards", "5", 0, 0),
        ("red-hot", "hot red", 0, 1),
        ("the house", "House", 1, 1),
        ("the", "a", 1, 1),
        ("", "red", 0, 0),
        ("4", "five|4", 1, 1),
    ],
)
def test_official_drop_scores_with_their_flaws(said, accepted, exact, f1):
    found = drop_official.grade(said, accepted)
    assert (found.exact, round(found.f1, 4)) == (exact, f1)


def test_a_final_stop_costs_drop_in_parity_only():
    problem = Problem(id="0", prompt="", reference="5.3", checker="drop")
    values = {name: grade(problem, "Answer: 5.3.", GradingContext()).value for name, grade in DROP.graders.items()}
    assert values == {"corrected": 1.0, "parity": 0.0, "parity-2025": 0.0}


def test_every_benchmark_of_the_card_has_all_profiles_and_its_page():
    for one in BENCHMARKS:
        assert set(one.graders) == {"corrected", "parity", "parity-2025"}
        assert one.official is not None
    assert {one.name for one in BENCHMARKS if one.judged} == {"math", "simpleqa"}


def test_gpqa_options_move_with_the_repeat(tmp_path):
    head = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3,Record ID\n"
    (tmp_path / "gpqa_diamond.csv").write_text(head + "".join(f"Why {n}?,right,a,b,c,r{n}\n" for n in range(9)))
    one = benchmark("gpqa")
    problems = one.load(tmp_path)
    asked = [[one.vary(problem, repeat) for problem in problems] for repeat in range(4)]
    assert len({tuple(problem.reference for problem in repeat) for repeat in asked}) == 4
    for problem in (problem for repeat in asked for problem in repeat):
        assert re.search(rf"^{problem.reference}\) right$", problem.prompt, re.MULTILINE)
