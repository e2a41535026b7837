"""Problems: the same arguments give the same item, checkers recompute, and the splits never meet."""

import ast
import doctest
import re
import time

import pytest

from phidelity.data.decontaminate import words
from phidelity.problems import columns, prompts, world
from phidelity.problems import wordings as WORDINGS
from phidelity.problems.columns import BAND, result, sum_split, work
from phidelity.problems.families import (
    BENCHMARK,
    assistant_message,
    check,
    conversation,
    development_problem,
    family,
    held_out_problem,
    item,
    training_problem,
    user_message,
)
from phidelity.problems.families import (
    MINIATURES as FAMILIES,
)
from phidelity.problems.item import SPLITS

NAMES = tuple(one.name for one in FAMILIES)
NUMBERS = ("things_en", "things_de", "money_en", "money_de")


def items(name, split, n=300, seed=0):
    return [item(name, split, seed, index) for index in range(n)]


def grams(text, n=13):
    found = words(text)
    return {tuple(found[start : start + n]) for start in range(len(found) - n + 1)}


@pytest.mark.parametrize("name", NAMES)
def test_an_item_is_a_function_of_family_split_seed_and_index(name):
    for split in SPLITS:
        assert items(name, split, 20) == items(name, split, 20)
    assert items(name, "train", 20) != items(name, "train", 20, seed=1)
    assert item(name, "train", 0, 7).id == f"{name}/train/0/7"


@pytest.mark.parametrize("name", NAMES)
def test_the_checker_accepts_the_answer_and_refuses_another(name):
    for split in SPLITS:
        for one in items(name, split, 100):
            assert check(one, one.answer)
            assert check(one, assistant_message(one))
            assert not check(one, "")
            assert not check(one, "Answer: 7777")


@pytest.mark.parametrize("name", NAMES)
def test_no_held_out_question_is_a_training_question(name):
    training = {one.question for one in items(name, "train", 3000)}
    for split in ("development", "test"):
        assert not training & {one.question for one in items(name, split)}


@pytest.mark.parametrize("name", NUMBERS)
def test_no_sum_of_a_test_problem_is_worked_in_training(name):
    def sums(one):
        return [line.split(":")[0] for step in one.steps for line in [step] if ":" in line]

    asked = {sums(one)[0] for one in items(name, "test", 500)}
    worked = {done for other in NUMBERS for one in items(other, "train", 2000) for done in sums(one)}
    assert not asked & worked


def test_operands_of_the_band_never_occur_in_training():
    for name in NUMBERS:
        for one in items(name, "train", 2000):
            value = one.meta["operands"][0]
            for operation, operand in zip(one.meta["operations"], one.meta["operands"][1:], strict=True):
                assert not {value, operand} & BAND
                value = result(value, operation, operand)
    ranges = [one for one in items("things_en", "test") if one.stratum == "range"]
    assert all(BAND & set(one.meta["operands"]) for one in ranges)


@pytest.mark.parametrize("name", NAMES)
def test_held_out_wordings_occur_only_in_the_stratum_template(name):
    one_family = family(name)
    training = {one.template for one in items(name, "train", 1000)}
    held_out = {one.template for one in items(name, "test") if one.stratum == "template"}
    assert not training & held_out
    assert len(training) == one_family.wordings["train"]
    assert 1 <= len(held_out) <= one_family.wordings["template"]
    assert {one.stratum for one in items(name, "train", 100)} == {"seen"}


def test_no_thirteen_words_in_a_row_of_a_held_out_word_problem_stand_in_a_training_problem():
    for name in NUMBERS:
        training = set().union(*(grams(one.question) for one in items(name, "train", 3000)))
        assert not any(training & grams(one.question) for one in items(name, "test", 300)), name


@pytest.mark.parametrize("name", ["THINGS_EN", "THINGS_DE", "MONEY_EN", "MONEY_DE"])
def test_whatever_thirteen_words_two_wordings_share_holds_what_only_one_split_has(name):
    """Over all wordings, so for every seed: a person beside a thing, two things, or the first sum in the same words."""

    def cut(text):
        found = [word.lower() for word in re.findall(r"\{\w\}|\w+", text)]
        return [found[start : start + 13] for start in range(len(found) - 12)]

    def form(window):
        return tuple(FORMS.get(word, word) for word in window)

    wordings = getattr(WORDINGS, name)
    training = [(one, window) for one in (*wordings.one, *wordings.two) for window in cut(one.text)]
    for one in (*wordings.one, *wordings.two, *wordings.held_out):
        for window in cut(one.text):
            for other, alike in training:
                two_things = all({"{t}", "{s}"} <= set(each) for each in (window, alike))
                if form(window) == form(alike) and not two_things and not {"person", "thing"} <= set(form(window)):
                    slots = [word for word in window if word in FORMS]
                    assert slots == [word for word in alike if word in FORMS]
                    assert {"{a}", "{b}"} <= set(slots), window
                    assert one.operations[0] == other.operations[0], window


FORMS = dict.fromkeys(("{n}", "{m}"), "person") | dict.fromkeys(("{t}", "{s}"), "thing")
FORMS |= dict.fromkeys(("{a}", "{b}", "{c}"), "number")


@pytest.mark.parametrize("operation", ["+", "-", "*"])
def test_every_worked_sum_is_right_in_every_step(operation):
    for a in range(2, 100):
        for b in range(2, 100 if operation == "+" else a + 1 if operation == "-" else 10):
            done = work(a, operation, b)
            assert done.value == result(a, operation, b)
            for left, right in re.findall(r"([\d +*-]+) = (\d+)", done.text):
                assert _evaluate(left) == int(right), done.text


def test_a_sum_is_worked_from_the_least_digit_with_the_carry_written():
    assert work(23, "+", 48).text == "23 + 48: 3 + 8 = 11, write 1, carry 1. 2 + 4 = 6, 6 + 1 = 7. So 23 + 48 = 71."
    assert work(71, "-", 48).text == ("71 - 48: 1 < 8, borrow 1, 11 - 8 = 3. 7 - 4 = 3, 3 - 1 = 2. So 71 - 48 = 23.")
    assert work(24, "*", 3).text == ("24 * 3: 4 * 3 = 12, write 2, carry 1. 2 * 3 = 6, 6 + 1 = 7. So 24 * 3 = 72.")
    assert work(7, "+", 5).text == "7 + 5 = 12."
    assert work(23, "+", 48, "de").text.startswith("23 + 48: 3 + 8 = 11, schreibe 1, übertrage 1.")


def test_a_sum_belongs_to_one_split_whatever_the_order():
    for a in range(2, 100):
        assert sum_split(a, "+", 50) == sum_split(50, "+", a)
    shares = [sum_split(a, "-", b) for a in range(10, 100) for b in range(2, a)]
    assert 0.08 < shares.count("test") / len(shares) < 0.16
    assert all(sum_split(a, "*", b) == "train" for a in range(10) for b in range(10))


def test_solutions_of_functions_pass_their_tests_and_examples():
    for split in SPLITS:
        for one in items("function", split, 300):
            namespace = {}
            exec(one.meta["prompt"] + one.meta["canonical_solution"] + one.meta["test"], namespace)
            namespace["check"](namespace[one.meta["entry_point"]])
            examples = doctest.DocTestFinder().find(namespace[one.meta["entry_point"]], globs=namespace)
            assert sum(doctest.DocTestRunner().run(example).attempted for example in examples) == 1
            assert doctest.DocTestRunner().failures == 0
            ast.parse(one.answer)


def test_a_wrong_function_fails_its_test():
    one = item("function", "train", 0, 0)
    namespace = {}
    exec(f"{one.meta['signature']}    return None\n{one.meta['test']}", namespace)
    with pytest.raises(AssertionError):
        namespace["check"](namespace[one.meta["entry_point"]])


def test_the_world_has_sixty_things_with_four_facts_each():
    assert len(world.ENTITIES) == 60
    assert len(world.FACTS) == 240
    names = [*world.TOWNS, *world.PEOPLE, *world.RIVERS, *world.NOWHERE]
    assert len(set(names)) == len(names)
    told = {attribute for kind in ("town", "person", "river") for attribute in world.attributes(kind)}
    assert not told & set(world.UNTOLD)


def test_a_fact_is_not_right_when_other_values_are_named_too():
    one = item("fact", "train", 0, 0)
    others = world.values(one.meta["kind"], one.meta["attribute"])
    assert not check(one, " ".join(others))
    assert not check(one, "I do not know.")
    assert not check(item("unknown", "train", 0, 0), "The song is red.")


@pytest.mark.parametrize("name", ["choice_sum", "choice_largest", "choice_fact", "choice_chain"])
def test_options_differ_and_every_letter_is_right_about_equally_often(name):
    drawn = items(name, "train", 800)
    assert all(len(set(one.meta["options"])) == 4 for one in drawn)
    for letter in prompts.LETTERS:
        assert 0.18 < sum(one.answer == letter for one in drawn) / len(drawn) < 0.32


def test_a_worked_choice_goes_through_the_options_up_to_the_right_one():
    drawn = items("choice_sum", "train", 100)
    one = next(one for one in drawn if one.answer == "B")
    first, second = one.meta["options"][:2]
    assert one.steps[-1] == f"A) {first} no. B) {second} yes."


def test_numbers_are_spread_so_that_no_constant_answer_is_often_right():
    drawn = [one.answer for one in items("things_en", "test", 1000)]
    assert max(drawn.count(answer) for answer in set(drawn)) < 50


@pytest.mark.parametrize("name", NAMES)
def test_message_and_answer_fit_a_small_context_and_end_as_graders_read(name):
    for one in items(name, "test", 100):
        assert len(user_message(one)) + len(assistant_message(one)) < 700
        if BENCHMARK[name] in ("math", "mgsm", "mmlu", "gpqa", "drop"):
            word = "Antwort" if one.language == "de" else "Answer"
            assert assistant_message(one).split("\n")[-1] == f"{word}: {one.answer}"
        if BENCHMARK[name] == "humaneval":
            assert assistant_message(one).startswith("```python\ndef ")


def test_the_message_of_a_passage_is_made_from_the_context_of_the_file():
    context = "Passage: Tom sold 2 cups.\nQuestion: How many cups?\nAnswer:"
    assert prompts.drop(context) == 'Tom sold 2 cups.\nHow many cups?\nEnd with "Answer: " and the answer.'
    one = item("passage", "test", 0, 0)
    assert user_message(one).startswith(one.question)


def test_records_of_the_three_splits_carry_prompt_reference_and_checker():
    made = [
        training_problem("things_en", 0, 3),
        development_problem("passage", 0, 3),
        held_out_problem("function", 0, 3),
    ]
    assert [one.meta["split"] for one in made] == ["train", "development", "test"]
    assert made[0].checker == "number"
    assert made[2].checker == "code"
    assert {"code", "test", "entry_point"} <= set(made[2].meta)
    who = next(one for one in (training_problem("passage", 0, n) for n in range(50)) if not one.reference.isdigit())
    assert who.checker == "text"
    assert [message.role for message in conversation(item("fact", "train", 0, 0), "x").messages] == [
        "user",
        "assistant",
    ]


def test_five_thousand_items_a_second_are_drawn():
    started = time.process_time()
    for name in NAMES:
        items(name, "train", 300)
    assert 300 * len(NAMES) / (time.process_time() - started) > 5000


def test_the_band_is_inside_the_range_of_training():
    assert min(BAND) > 11
    assert max(BAND) < 99
    assert columns.in_band(12, 45)


def _evaluate(text):
    """A chain of + and -, or one product."""
    if "*" in text:
        left, right = text.split("*")
        return int(left) * int(right)
    return sum(int(sign + digits) for sign, digits in re.findall(r"([+-]?) ?(\d+)", text.strip()))
