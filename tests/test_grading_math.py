import pytest

from phidelity.grading.math import equal

EQUAL = [
    ("42", "42"), ("42", "42."), ("42", "42.0"), ("1000", "1,000"), ("1000", "1 000"), ("-3", "−3"), ("42", "$42$"),
    ("42", "\\boxed{42}"), ("42", "x = 42"), ("42", "42 apples"), ("42", "42 \\text{ apples}"), ("18", "\\$18.00"),
    ("1/2", "0.5"), ("\\frac12", "\\dfrac{1}{2}"), ("\\frac{1}{2}", "1/2"), ("\\frac{3}{2}", "1\\frac{1}{2}"),
    ("\\frac{-1}{2}", "-0.5"), ("50", "50%"), ("50\\%", "50"), ("90", "90^\\circ"), ("649", "3245/5"),
    ("1000000", "1e6"), ("3000", "3 \\times 10^3"), ("(1,2)", "(1, 2)"), ("(0.5,2)", "(1/2, 2)"),
    ("\\{1,2\\}", "\\{1, 2\\}"), ("2\\sqrt{3}", "2 \\sqrt{3}"), ("x^2+1", "x^2 + 1"), ("\\text{even}", "Even"),
    ("\\left(1,2\\right)", "(1,2)"), ("144\\pi", "144 \\pi"), ("Evelyn", "evelyn"), ("0", "-0"),
]  # fmt: skip
DIFFERENT = [
    ("42", "41"), ("42", ""), ("12", "12!"), ("25", "25 or 36"), ("144", "144\\pi"), ("144", "144 pi"),
    ("12", "12 dozen"),
    ("5", "5 million"), ("7", "3 + 4"), ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"), ("1/2", "2"), ("0", "1/0"),
    ("2", "1,2"),
    ("42", "4.2"), ("42", "420"), ("1", "10^100000000"), ("1", "__import__('os').system('true')"), ("9", "3^2"),
    ("x", "X"), ("5", "5x"), ("50", "0.5"), ("3", "9" * 100),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "answer"), EQUAL)
def test_equal_answers_are_equal(reference, answer):
    assert equal(reference, answer)


@pytest.mark.parametrize(("reference", "answer"), DIFFERENT)
def test_different_answers_are_different(reference, answer):
    assert not equal(reference, answer)


def test_hostile_text_is_decided_at_once():
    for hostile in ("\\frac{" * 300 + "}" * 300, "(" * 900, "9" * 1900, "1 " * 900, "\\boxed{" * 200, "1,000" * 300):
        assert not equal("1", hostile)


def test_german_numbers_are_read_as_german():
    assert equal("2125", "2.125", decimal_comma=True)
    assert not equal("2125", "2.125")
