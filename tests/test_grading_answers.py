from fractions import Fraction

import pytest

from phidelity.grading.answers import MAX_ANSWER, answer_line, letter, normalise, number


@pytest.mark.parametrize(
    ("response", "line"),
    [
        ("Answer: 42", "42"),
        ("3 + 4 = 7\nAnswer: 7.", "7"),
        ("**Answer:** 42", "42"),
        ("**Answer: 42**", "42"),
        ("Answer: $42$", "42"),
        ("Answer: \\boxed{42}", "42"),
        ("Answer: $\\boxed{\\frac{1}{2}}$", "\\frac{1}{2}"),
        ("answer:42", "42"),
        ("Answer:\n42\n", "42"),
        ("Answer: 1\nNo, wait.\nAnswer: 2", "2"),
        ("Antwort: 17", "17"),
        ("उत्तर: 17", None),
        ("উত্তর: ১৭", "১৭"),
        ("答案：17", "17"),
        ("Réponse : 17", "17"),
        ("So the Answer: Anna Schmidt.", "Anna Schmidt"),
        ("my answer is 42", None),
        ("Answer:", None),
        ("", None),
    ],
)
def test_the_last_answer_line_is_read_without_its_dressing(response, line):
    assert answer_line(response) == line


def test_a_megabyte_after_the_answer_word_is_no_answer():
    assert answer_line("Answer: " + "9" * 1_000_000) is None
    assert number("9" * 1_000_000) != Fraction(9)
    assert MAX_ANSWER < 10_000


@pytest.mark.parametrize(
    ("response", "chosen"),
    [
        ("Answer: B", "B"),
        ("Answer: (B)", "B"),
        ("Answer: B) Paris", "B"),
        ("Answer: B. Paris", "B"),
        ("Answer: **C**", "C"),
        ("**Answer:** C", "C"),
        ("Answer: $D$", "D"),
        ("Answer: \\boxed{A}", "A"),
        ("Answer: \\text{A}", "A"),
        ("Answer: b", "B"),
        ("Answer: option B", "B"),
        ("Answer: Ｂ", "B"),
        ("Antwort: C", "C"),
        ("The answer is (B).", "B"),
        ("B", "B"),
        ("Answer: A\nAnswer: B", "B"),
        ("Answer: Because it is", None),
        ("Answer: A cat", None),
        ("Answer: E", None),
        ("Antwort:\nAntwort", None),
        ("I like A and B", None),
        ("", None),
    ],
)
def test_the_chosen_letter_is_read_from_many_forms(response, chosen):
    assert letter(response) == chosen


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("-3", -3),
        ("−3", -3),
        ("1,000", 1000),
        ("1 000", 1000),
        ("1\u202f000", 1000),
        ("1,234,567", 1234567),
        ("$18.00", 18),
        ("42 apples", 42),
        ("2.5", Fraction(5, 2)),
        ("3/4", Fraction(3, 4)),
        ("3 + 4 = 7", 7),
        ("১৭", 17),
        ("４２", 42),
        ("1/0", None),
        ("18 dollars and 50 cents", None),
        ("25 or 36", None),
        ("none", None),
    ],
)
def test_one_number_is_read_and_several_are_none(text, value):
    assert number(text) == value


def test_german_numbers_are_grouped_by_dots():
    assert number("2.125", decimal_comma=True) == 2125
    assert number("2,5", decimal_comma=True) == Fraction(5, 2)
    assert number("2.125") == Fraction(17, 8)


def test_texts_are_compared_without_case_punctuation_and_articles():
    assert normalise("The  Eiffel Tower.") == normalise("eiffel tower")
    assert normalise("120,000") == normalise("120000.0")
    assert normalise("3.5") != normalise("35")
