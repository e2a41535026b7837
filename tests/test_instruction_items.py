"""Requests with a constraint: every answer follows by IFEval's own checks, and nothing of the test is trained on."""

import itertools
from collections import Counter

from phidelity.data.decontaminate import words
from phidelity.grading.instructions import INSTRUCTIONS, follow
from phidelity.problems.families import assistant_message, family, problem, user_message
from phidelity.problems.instruction import KINDS
from phidelity.problems.subjects import SUBJECTS

FAMILY = family("instruction")


def items(split, n):
    return [FAMILY.item(split, 0, index) for index in range(n)]


def grams(text, n=13):
    found = words(text)
    return {tuple(found[start : start + n]) for start in range(len(found) - n + 1)}


def test_every_answer_follows_its_instruction_strictly_and_no_empty_one_does():
    for split, n in (("train", 800), ("development", 200), ("test", 300)):
        for item in items(split, n):
            assert FAMILY.check(item, item.answer), item
            assert not FAMILY.check(item, "")


def test_a_number_is_no_word_in_capitals():
    item = FAMILY.item("train", 0, 9014)
    assert item.answer.startswith("PEOPLE FIRST STOOD THERE IN 1969. THERE")
    assert FAMILY.check(item, item.answer)


def test_all_25_official_kinds_occur_about_equally_often():
    drawn = Counter(item.meta["instructions"][0] for item in items("train", 4000))
    assert set(drawn) == set(INSTRUCTIONS)
    assert len(KINDS) == 27
    assert min(drawn.values()) > 80


def test_an_answer_to_another_kind_of_request_rarely_passes():
    drawn = [item for item in items("train", 400) if item.meta["instructions"][0] not in ("punctuation:no_comma",)]
    wrong = [FAMILY.check(one, other.answer) for one, other in itertools.pairwise(drawn)]
    assert sum(wrong) < len(wrong) / 3


def test_capitals_and_small_letters_pass_for_every_subject_whatever_the_language_detector_thinks():
    for said in SUBJECTS.values():
        text = " ".join(sorted(said))
        assert follow(text.upper(), ["change_case:english_capital"], [{}]).strict == [True]
        assert follow(text.lower(), ["change_case:english_lowercase"], [{}]).strict == [True]
        assert "," not in text


def test_test_requests_have_subjects_and_wordings_of_their_own():
    train, test = items("train", 3000), items("test", 400)
    assert not {item.template for item in train} & {item.template for item in test}
    shown = set().union(*(grams(item.question) for item in train))
    assert not any(shown & grams(item.question) for item in test)


def test_the_chat_is_the_bare_request_and_the_bare_answer():
    item = items("train", 1)[0]
    assert user_message(item) == item.question
    assert assistant_message(item) == item.answer
    assert problem(item).meta["instructions"] == item.meta["instructions"]
    assert problem(item).meta["benchmark"] == "ifeval"
