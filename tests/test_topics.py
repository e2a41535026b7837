"""The course: answers found a second time, splits that share no thirteen words, text that reads well."""

import re
import subprocess
import sys

import pytest

from phidelity.config import UserError
from phidelity.data.decontaminate import words
from phidelity.problems.families import COURSE, assistant_message, check, family, problem, user_message
from phidelity.problems.polyglot import HEADS, LANGUAGES, tongue
from phidelity.problems.topic import at, final, pick

AREAS = {
    "arithmetic", "number theory", "algebra", "geometry", "probability", "units and dates", "logic", "graphs",
    "reading", "tables", "world state", "facts", "Python", "languages",
}  # fmt: skip
HELD_LETTERS = re.compile(r"[{}]")


def items(one, split, n=300, seed=0):
    return [one.item(split, seed, index) for index in range(n)]


def grams(text, n=13):
    found = words(text)
    return {tuple(found[start : start + n]) for start in range(len(found) - n + 1)}


def test_the_course_has_families_in_every_area_and_in_eight_languages():
    assert {one.area for one in COURSE} == AREAS
    assert len({one.name for one in COURSE}) == len(COURSE) >= 60
    assert {one.language for one in COURSE if one.area == "languages"} == set(LANGUAGES) == set(HEADS)


@pytest.mark.parametrize("one", COURSE, ids=lambda one: one.name)
def test_the_second_method_finds_the_same_answer_and_no_other_passes(one):
    answers = set()
    for split in ("train", "development", "test"):
        for item in items(one, split, 150):
            assert check(item, item.answer), item
            assert check(item, assistant_message(item))
            assert not check(item, "")
            assert not check(item, f"{item.answer}7")
            answers.add(item.answer)
    assert len(answers) > 1


@pytest.mark.parametrize("one", COURSE, ids=lambda one: one.name)
def test_every_wording_is_used_and_filled_and_reads_as_sentences(one):
    drawn = [*items(one, "train", 400), *items(one, "test", 200)]
    used = {item.template for item in drawn}
    assert len(used) == one.wordings["train"] + one.wordings["template"]
    for item in drawn:
        text = "\n".join((item.question, *item.steps))
        code = item.family == "trace"
        assert not HELD_LETTERS.search(text), text
        assert "  " not in text or code, text
        if item.language not in ("hi", "ja") and not code:
            assert item.question[0].isupper() or item.question[0].isdigit() or item.question[0] in "¿|À", text
        assert item.question.rstrip()[-1] in "?.।。！？`|" or code, text
        assert not re.search(r"\b1 (days|weeks|hours|minutes)\b|\ba [aeiou]\w+ ", text), text


@pytest.mark.parametrize("one", COURSE, ids=lambda one: one.name)
def test_test_problems_have_wordings_and_numbers_that_training_never_uses(one):
    train, test = items(one, "train", 1500), items(one, "test", 300)
    assert {item.stratum for item in train} == {"seen"}
    assert {item.stratum for item in test} == {"both"}
    assert not {item.template for item in train} & {item.template for item in test}
    shown = set().union(*(grams(item.question) for item in train))
    assert not any(shown & grams(item.question) for item in test)


def test_an_item_is_a_function_of_family_split_seed_and_index():
    for one in COURSE:
        assert one.item("train", 3, 7) == one.item("train", 3, 7)
        assert items(one, "train", 5) != items(one, "train", 5, seed=1)


def test_difficulty_is_named_and_an_unknown_name_is_refused():
    harder = at(family("equation"), largest_root=900)
    assert harder.difficulty["largest_root"] == 900
    assert max(int(item.answer) for item in items(harder, "train")) > 300
    assert all(harder.check(item, item.answer) for item in items(harder, "test"))
    with pytest.raises(UserError, match="largest_root"):
        at(family("equation"), size=3)


def test_the_band_is_never_drawn_for_training_and_always_for_the_test():
    import random

    rng = random.Random(0)
    train = {pick(rng, 2, 41, held=False) for _ in range(2000)}
    test = {pick(rng, 2, 41, held=True) for _ in range(500)}
    assert len(train) == 32
    assert len(test) == 8
    assert train | test == set(range(2, 42))
    assert not train & test


def test_programs_print_what_is_claimed_when_they_are_run():
    drawn = items(family("trace"), "train", 500) + items(family("trace"), "test", 200)
    source = "\nprint('---')\n".join(item.meta["code"] for item in drawn)
    out = subprocess.run([sys.executable, "-I", "-c", source], capture_output=True, text=True, check=True).stdout
    assert out.strip().split("\n---\n") == [item.answer for item in drawn]


def test_every_language_has_the_same_parts():
    for language in LANGUAGES:
        words_of = tongue(language)
        for topic in ("shop", "share", "journey", "together"):
            assert words_of[topic].keys() == tongue("en")[topic].keys()
            kinds = [line.split()[:2] for line in words_of[topic]["wordings"].strip().splitlines()]
            assert kinds == [line.split()[:2] for line in tongue("en")[topic]["wordings"].strip().splitlines()]
        assert len(set(words_of["names"])) >= 20
        assert len(words_of["things"]) >= 12


def test_the_course_asks_its_bare_question_and_ends_with_the_answer_word():
    item = family("shop_es").item("train", 0, 0)
    assert user_message(item) == item.question
    assert assistant_message(item).endswith(f"Respuesta: {item.answer}")
    assert problem(item).meta["benchmark"] == "course"
    assert final("Erst rechnen.\nAntwort: 71.", "de") == "71"
