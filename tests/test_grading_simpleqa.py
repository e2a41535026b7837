import pytest

from phidelity.grading.simpleqa import grade, is_refusal


@pytest.mark.parametrize(
    ("response", "target", "expected"),
    [
        ("Anna", "Anna", "correct"),
        ("The miller of Brook is Anna.", "Anna", "correct"),
        ("It has 120,000 people.", "120000", "correct"),
        ("I am not sure, but Anna.", "Anna", "correct"),
        ("It is Bert.", "Anna", "incorrect"),
        ("It is not Anna.", "Anna", "incorrect"),
        ("Anna or Bert", "Anna", "incorrect"),
        ("Hanna", "Anna", "incorrect"),
        ("I do not know.", "Anna", "not attempted"),
        ("I don't know.", "Anna", "not attempted"),
        ("Das weiß ich nicht.", "Anna", "not attempted"),
        ("我不知道。", "Anna", "not attempted"),
        ("", "Anna", "not attempted"),
        ("I do not know.", "I do not know.", "correct"),
        ("It is Bert.", "I do not know.", "incorrect"),
        ("", "I do not know.", "not attempted"),
    ],
)
def test_responses_are_correct_incorrect_or_not_attempted(response, target, expected):
    assert grade(response, target) == expected


def test_refusals_are_known_in_several_languages():
    assert all(map(is_refusal, ("I do not know.", "Ich weiß es nicht.", "Je ne sais pas.", "Не знаю.")))
    assert not is_refusal("The number is known: 7.")
