import pytest

from phidelity.grading.drop import extract, grade, normalise


def test_numbers_keep_their_value_under_punctuation():
    for answer in ("5.3", "5.3.", "$5.3", "5.3%", "**5.3**", "5.30"):
        assert grade(extract(answer), "5.3") == (1.0, 1.0), answer
    assert normalise("1,200 men") == "1200.0 men"


def test_articles_case_and_hyphens_do_not_count():
    assert normalise("The well-known Anna") == "well known anna"
    assert grade("the red house", "Red House").exact == 1.0


def test_f1_is_worked_by_hand():
    # {is, red, house} against {red, house}: precision 2/3, recall 1
    assert grade("is red house", "red house") == (0.0, 0.8)


def test_a_wrong_number_scores_zero_however_many_words_agree():
    assert grade("4 red houses", "5 red houses").f1 == 0.0
    assert grade("5 blue houses", "5 red houses").f1 == pytest.approx(0.67)


def test_the_best_alternative_counts():
    assert grade("49.7", "50.6|49.7") == (1.0, 1.0)


def test_nothing_scores_nothing():
    assert grade("", "Anna") == (0.0, 0.0)
    assert grade(extract(""), "5") == (0.0, 0.0)


def test_the_answer_line_is_graded_or_else_the_whole_response():
    assert extract("12 - 5 = 7\nAnswer: 7.") == "7"
    assert extract("seven") == "seven"
